// SPDX-License-Identifier: MPL-2.0

package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the packages into docs/architecture.md")

const (
	root   = "../.."
	page   = "docs/architecture.md"
	module = "github.com/mimird/mimird/"

	begin = "<!-- packages: written by go test ./test/architecture -update -->\n"
	end   = "<!-- end of packages -->\n"

	// maxFiles and maxLines bound a package without its tests.
	maxFiles = 27
	maxLines = 4000
)

// large are the packages that may be larger, with the reason.
var large = map[string]string{
	"cmd/mimird":     "one file for each command",
	"test/phone":     "a second implementation of the whole peer protocol",
	"actors/overlay": "three carriers share one packet demultiplexer and its limits",
	"actors/store":   "one schema: every record, operation and migration",
}

// pkg is what go list says of one of our packages.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string

	name    string   // the path below the module
	imports []string // of ours, the same way
	layer   int      // 0 imports none of ours
}

// list returns our packages by name, without those that are tests alone.
func list(t *testing.T) map[string]*pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "goolm", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &pkg{}
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || len(p.GoFiles) == 0 {
			continue
		}
		p.name = name
		for _, i := range p.Imports {
			if name, ours := strings.CutPrefix(i, module); ours {
				p.imports = append(p.imports, name)
			}
		}
		all[name] = p
	}
	if len(all) < 40 {
		t.Fatalf("go list names %d packages", len(all))
	}
	for _, p := range all {
		p.layer = layerOf(all, p)
	}
	return all
}

// layerOf is one more than the highest layer that a package imports. Go allows no
// cycles, so it ends.
func layerOf(all map[string]*pkg, p *pkg) int {
	layer := 0
	for _, i := range p.imports {
		layer = max(layer, 1+layerOf(all, all[i]))
	}
	return layer
}

// draw returns the packages as the page shows them, without those of test/.
func draw(all map[string]*pkg) string {
	var b strings.Builder
	b.WriteString("| package | imports of ours |\n|---|---|\n")
	packages := make([]*pkg, 0, len(all))
	for _, p := range all {
		if !strings.HasPrefix(p.name, "test/") {
			packages = append(packages, p)
		}
	}
	folder := func(p *pkg) string { name, _, _ := strings.Cut(p.name, "/"); return name }
	order := []string{"cmd", "bridge", "actors", "config", "proto"}
	slices.SortFunc(packages, func(a, b *pkg) int {
		if c := slices.Index(order, folder(a)) - slices.Index(order, folder(b)); c != 0 {
			return c
		}
		if a.layer != b.layer {
			return b.layer - a.layer
		}
		return strings.Compare(a.name, b.name)
	})
	for _, p := range packages {
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, strings.Join(p.imports, ", "))
	}
	return b.String()
}

// The page has a table of the packages and what they import, the highest layer of each
// folder first. A new import is a change of the architecture: it shows in the page, or
// this test fails.
func TestArchitecture_ImportsAreThoseOfThePage(t *testing.T) {
	file := filepath.Join(root, page)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(raw), begin)
	written, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the packages", page)
	}
	want := "\n" + draw(list(t)) + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	has, lines := strings.Split(written, "\n"), strings.Split(want, "\n")
	for _, line := range lines {
		if !slices.Contains(has, line) {
			t.Errorf("%s lacks: %s", page, line)
		}
	}
	for _, line := range has {
		if !slices.Contains(lines, line) {
			t.Errorf("%s has what is not so: %s", page, line)
		}
	}
	if !t.Failed() && written != want {
		t.Errorf("the rows of %s are in another order; see -update", page)
	}
}

// Every arrow between the folders goes one way.
func TestArchitecture_FoldersImportOneWay(t *testing.T) {
	allowed := map[string][]string{
		"cmd":    {"cmd", "bridge", "actors", "config", "proto", "test"}, // test: the demo alone
		"bridge": {"bridge", "actors", "proto"},
		"actors": {"actors", "proto"},
		"config": {"bridge", "actors", "proto"},
		"proto":  {"proto"},
	}
	for name, p := range list(t) {
		folder, _, _ := strings.Cut(name, "/")
		if folder == "test" || strings.HasSuffix(name, "test") {
			continue // helpers of tests use what they test
		}
		for _, i := range p.imports {
			if to, _, _ := strings.Cut(i, "/"); !slices.Contains(allowed[folder], to) {
				t.Errorf("%s imports %s", name, i)
			}
			if strings.HasPrefix(i, "test/") && name != "cmd/mimird-demo" {
				t.Errorf("%s imports the test helpers %s", name, i)
			}
		}
	}
}

// No package is larger than a person reads in an afternoon.
func TestArchitecture_PackagesAreSmall(t *testing.T) {
	for name, p := range list(t) {
		lines := 0
		for _, file := range p.GoFiles {
			raw, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(raw, []byte("\n"))
		}
		_, exempt := large[name]
		if tooLarge := len(p.GoFiles) > maxFiles || lines > maxLines; tooLarge != exempt {
			t.Errorf("%s has %d files and %d lines; more than %d or %d needs a reason in this test, less none", name, len(p.GoFiles), lines, maxFiles, maxLines)
		}
	}
}
