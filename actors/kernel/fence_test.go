// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const protoactor = "github.com/asynkron/protoactor-go"

// neverUse is what the kernel does not touch, and why; see the TestTrap tests.
var neverUse = map[string]string{
	"Bounded":                       "blocks the sender in a busy loop",
	"BoundedDropping":               "spins for ever after an overflow",
	"NewExponentialBackoffStrategy": "is linear, without a cap",
	"SetReceiveTimeout":             "races with its own timer",
	"Stash":                         "comes back reversed, and only after a restart",
	"WithGuardian":                  "panics in the actor that reports a failure",
	"EscalateFailure":               "leaves the child suspended when it is resumed",
	"EscalateDirective":             "leaves the child suspended when it is resumed",
	"Shutdown":                      "stops no actor",
	"StopFuture":                    "lies to the second caller",
	"Poison":                        "waits for a back-off",
	"PoisonFuture":                  "waits for a back-off",
	"RequestFuture":                 "times out when the actor has stopped",
	"ReenterAfter":                  "runs with the instance of before a restart",
	"RestartChildren":               "resurrects a stopped actor",
}

// TestRepoActorFence holds the fence around protoactor: nobody but the kernel
// imports it, and the kernel only its actor package without what is dangerous.
func TestRepoActorFence(t *testing.T) {
	root := moduleRoot(t)
	kernel := filepath.Join("actors", "kernel")
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "vendor" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, breach := range breaches(rel, source, filepath.Dir(rel) == kernel) {
			t.Error(breach)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestFenceSeesBreaches(t *testing.T) {
	const head = "package x\nimport a \"" + protoactor
	cases := []struct {
		name     string
		source   string
		inKernel bool
		want     int
	}{
		{"an import outside", head + "/actor\"", false, 1},
		{"a blank import outside", "package x\nimport _ \"" + protoactor + "\"", false, 1},
		{"a package of another name", "package x\nimport \"" + protoactor + "x\"", false, 0},
		{"an import in the kernel", head + "/actor\"", true, 0},
		{"the router in the kernel", head + "/router\"", true, 1},
		{"a function", head + "/actor\"\nvar _ = a.BoundedDropping(3)", true, 1},
		{"a method", head + "/actor\"\nfunc f(c a.Context) { c.Stash(); c.SetReceiveTimeout(1) }", true, 2},
		{"not Go", "package", true, 1},
	}
	for _, c := range cases {
		if got := breaches("x.go", []byte(c.source), c.inKernel); len(got) != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if got := breaches("x_test.go", []byte(head+"/actor\"\nvar _ = a.BoundedDropping(3)"), true); len(got) != 0 {
		t.Errorf("the kernel's tests may show the traps: %v", got)
	}
}

func breaches(name string, source []byte, inKernel bool) (list []string) {
	mode := parser.ImportsOnly
	if inKernel {
		mode = 0
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, mode|parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if path != protoactor && !strings.HasPrefix(path, protoactor+"/") {
			continue
		}
		if !inKernel || path != protoactor+"/actor" {
			list = append(list, fmt.Sprintf("%s: imports %s", files.Position(spec.Pos()), path))
		}
	}
	if !inKernel || strings.HasSuffix(name, "_test.go") {
		return list
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && neverUse[s.Sel.Name] != "" {
			list = append(list, fmt.Sprintf("%s: %s %s", files.Position(s.Pos()), s.Sel.Name, neverUse[s.Sel.Name]))
		}
		return true
	})
	return list
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
