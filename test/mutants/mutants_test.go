// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every defect can be put into the code as it is: one whose place has changed would be
// found out only when all are tried, which takes hours.
func TestMutants_Apply(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants() {
		code, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.file)))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if n := strings.Count(string(code), m.before); n != 1 || m.before == m.after {
			t.Errorf("%s: what it replaces is %d times in %s", m.name, n, m.file)
		}
		if names[m.name] {
			t.Errorf("%s: two defects have the name", m.name)
		}
		names[m.name] = true
	}
}
