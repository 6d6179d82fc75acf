// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A phone that shares code with the node proves nothing. What it may import of this
// module is the carrier, and the type of node keys that the carrier speaks of.
func TestRepoPhoneSharesNoCode(t *testing.T) {
	const module = "github.com/mimird/mimird/"
	allowed := map[string]bool{
		"github.com/rogpeppe/go-internal/txtar": true,
		module + "actors/overlay":               true,
		module + "actors/overlay/memnet":        true,
		module + "proto/identity":               true, // for NodeKey, see below
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		isTest := strings.HasSuffix(name, "_test.go")
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(path, "/")
			standard := !strings.Contains(first, ".")
			switch {
			case standard, allowed[path], strings.HasPrefix(path, "golang.org/x/"):
			case isTest && (path == module+"test/phone" || path == "go.uber.org/goleak"):
			default:
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if from, ok := selector.X.(*ast.Ident); ok && from.Name == "identity" && selector.Sel.Name != "NodeKey" {
				t.Errorf("%s uses identity.%s", name, selector.Sel.Name)
			}
			return true
		})
	}
}
