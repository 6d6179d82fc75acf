// SPDX-License-Identifier: MPL-2.0

package unixsocket

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestListen_ReplacesStaleSocketsOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	first, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	first.SetUnlinkOnClose(false) // as when the process is killed
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("a stale socket is not replaced: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(dir, "diary")
	if err := os.WriteFile(file, []byte("dear diary"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(t.Context(), path); !errors.Is(err, ErrNotASocket) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "dear diary" {
		t.Errorf("the file has %q, %v", content, err)
	}
}
