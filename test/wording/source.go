// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one place that breaks a rule.
type Finding struct {
	File string // relative to the root of the module, with slashes
	Line int
	Text string // what is wrong, and the better word when there is one
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// goFile is one parsed Go file.
type goFile struct {
	name string // relative to the root, with slashes
	set  *token.FileSet
	ast  *ast.File
}

func (f *goFile) line(p token.Pos) int { return f.set.Position(p).Line }

func (f *goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// parseGo parses one file, whose name only appears in findings.
func parseGo(name string, source []byte) (*goFile, error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return &goFile{name: name, set: set, ast: parsed}, nil
}

// load returns the Go files and the documents below root, without testdata and
// without folders whose names begin with a dot. A document is its name and its text.
func load(root string) (files []*goFile, documents map[string]string, err error) {
	documents = make(map[string]string)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"testdata", "bin", "mimird-data"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		switch filepath.Ext(path) {
		case ".go":
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			file, err := parseGo(name, source)
			if err != nil {
				return err
			}
			files = append(files, file)
		case ".md":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			documents[name] = string(text)
		}
		return nil
	})
	return files, documents, err
}
