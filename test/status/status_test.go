// SPDX-License-Identifier: MPL-2.0

package status_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../.."

// proofs are what a row is proved by: `folder.TestName` or `script/name`.
var proofs = regexp.MustCompile("`(?:(script)/([a-z0-9-]+)|([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+))`")

func TestEveryRowHasAProofThatExists(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "protocol-status.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, _, ok := strings.Cut(string(raw), "\n## Not yet\n")
	if !ok {
		t.Fatal("the page has no section for what is not proved")
	}
	rows := 0
	known := make(map[string]bool)
	for i, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasSuffix(line, "| proof |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for _, c := range cells {
			if strings.TrimSpace(c) == "" {
				t.Errorf("line %d has an empty cell: %s", i+1, line)
			}
		}
		last := cells[len(cells)-1]
		found := proofs.FindAllStringSubmatch(last, -1)
		if rest := strings.TrimSpace(proofs.ReplaceAllString(last, "")); len(found) == 0 || rest != "" {
			t.Errorf("line %d is not proved, or by something else: %s", i+1, last)
		}
		for _, p := range found {
			if missing := missing(known, p); missing != "" {
				t.Errorf("line %d: %s", i+1, missing)
			}
		}
	}
	if rows < 100 {
		t.Errorf("the page has %d rows: is it still the page that this test knows?", rows)
	}
}

// missing says what is missing of a proof; known are the tests seen so far.
func missing(known map[string]bool, proof []string) string {
	if proof[1] != "" {
		path := filepath.Join("test", "phone", "testdata", "script", proof[2]+".txtar")
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			return "there is no " + path
		}
		return ""
	}
	folder, name := proof[3], proof[4]
	if !known[folder] {
		known[folder] = true
		for _, test := range testsOf(folder) {
			known[folder+"."+test] = true
		}
	}
	if !known[folder+"."+name] {
		return fmt.Sprintf("there is no %s in %s", name, folder)
	}
	return ""
}

// testsOf lists the test functions of a folder.
func testsOf(folder string) (names []string) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		return nil
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says so
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
