// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
)

func TestOpenMakesPrivateDirectory(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "data", "store")
	r := newPeopledRig(t, store.Options{Dir: dir})
	must[store.Accepted](r, accept(1, "hello"))
	for _, path := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	r.stop()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.start()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that others could read stays so: %v, %v", info.Mode(), err)
	}
	if diff := cmp.Diff([]string{"hello"}, r.texts(alice, bob)); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

// Bar R15
func TestOpenRefusesSecondStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	r := newPeopledRig(t, store.Options{Dir: dir})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, dir + "/", link, filepath.Join(dir, "..", "store")} {
		if s, err := store.Open(store.Options{Dir: path}); !errors.Is(err, store.ErrInUse) || s != nil {
			t.Errorf("open %s again: %v", path, err)
		}
		if got := secondProcess(t, path); got != "in use" {
			t.Errorf("second process with %s: %s", path, got)
		}
	}
	must[store.Accepted](r, accept(1, "unharmed"))
	r.stop()
	if got := secondProcess(t, dir); got != "error: <nil>" {
		t.Errorf("second process after the first: %s", got)
	}
	r.start()
	if diff := cmp.Diff([]string{"unharmed"}, r.texts(alice, bob)); diff != "" {
		t.Error(diff)
	}
}

// secondProcess runs the test binary as another process that opens the store.
func secondProcess(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "MIMIRD_TEST_OPEN_STORE="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestOpenReportsFileSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": file, "below a file": filepath.Join(file, "store")} {
		if s, err := store.Open(store.Options{Dir: dir}); err == nil || errors.Is(err, store.ErrInUse) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if _, err := store.Open(store.Options{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no directory: %v", err)
	}
	locked := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(filepath.Join(locked, "LOCK"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Options{Dir: locked}); err == nil || errors.Is(err, store.ErrInUse) {
		t.Errorf("lock file cannot be created: %v", err)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	if err := r.store.Err(); err != nil {
		t.Error(err)
	}
	r.stop()
	if _, err := r.store.Account(alice); !errors.Is(err, store.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := r.store.Close(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("close: %v", err)
	}
	if err := r.store.Err(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("err: %v", err)
	}
}
