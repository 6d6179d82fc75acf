// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mimird/mimird/test/process"
)

// buildChanged builds mimird with other files in cmd/mimird, or with more of them.
// Nothing there is touched: the compiler is told with -overlay.
func buildChanged(t *testing.T, files map[string]string) (program string) {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	for name, content := range files {
		place, err := filepath.Abs(filepath.Join(commandDir, name))
		if err != nil {
			t.Fatal(err)
		}
		replace[place] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[place], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "mimird")
	if err := process.BuildMimird(t.Context(), program, "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return program
}

// commandDir is where the program is.
var commandDir = filepath.Join("..", "..", "cmd", "mimird")

func readTestdata(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
