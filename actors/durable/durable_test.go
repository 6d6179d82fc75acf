// SPDX-License-Identifier: MPL-2.0

package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The key of an account is worth nothing if its directory is gone after a power cut:
// the parent of each directory that is created is synced, and nothing else.
func TestMkdirAll_SyncsTheParentOfEach(t *testing.T) {
	root := t.TempDir()
	var synced []string
	note := func(path string) error { synced = append(synced, path); return nil }
	dir := filepath.Join(root, "deep", "data", "keys")
	if err := mkdirAll(dir, note); err != nil {
		t.Fatal(err)
	}
	want := []string{dir, filepath.Join(root, "deep", "data"), filepath.Join(root, "deep")}
	if !slices.Equal(synced, want) {
		t.Errorf("synced the parents of %q, want %q", synced, want)
	}
	synced = nil
	if err := mkdirAll(dir, note); err != nil || len(synced) > 0 {
		t.Errorf("created again: synced the parents of %q, %v", synced, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestMkdirAll_FailsWhenAParentCannotBeSynced(t *testing.T) {
	failed := errors.New("failed")
	err := mkdirAll(filepath.Join(t.TempDir(), "new"), func(string) error { return failed })
	if !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if wanted, ok := want[entry.Name()]; !ok || wanted != string(content) {
			t.Errorf("%s has %q", entry.Name(), content)
		}
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", entry.Name(), info, err)
		}
		got++
	}
	if got != len(want) {
		t.Errorf("%d files, want %d", got, len(want))
	}
}

// allNamings are the ways to create a file on different file systems.
func allNamings() map[string]namings {
	fails := func(err error) func(from, to string) error {
		return func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: err} }
	}
	return map[string]namings{
		"hard links":            {os.Link, fails(errors.New("not called"))},
		"FAT":                   {fails(syscall.EPERM), renameNew},
		"FAT, not on Linux":     {fails(syscall.EPERM), fails(errors.ErrUnsupported)},
		"an old kernel":         {fails(syscall.ENOTSUP), fails(syscall.ENOSYS)},
		"a strange file system": {fails(syscall.ENOSYS), fails(syscall.EINVAL)},
	}
}

func TestCreate_NeverReplaces(t *testing.T) {
	for name, by := range allNamings() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			if err := create(path, text("first"), by); err != nil {
				t.Fatal(err)
			}
			if err := create(path, text("second"), by); !errors.Is(err, fs.ErrExist) {
				t.Errorf("error %v", err)
			}
			// Another process creates the file meanwhile.
			raced := filepath.Join(dir, "raced")
			err := create(raced, func(w io.Writer) error {
				return errors.Join(os.WriteFile(raced, []byte("theirs"), 0o600), text("ours")(w))
			}, by)
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("error %v", err)
			}
			wantFiles(t, dir, map[string]string{"key": "first", "raced": "theirs"})
		})
	}
}

func TestCreate_FailedWriteLeavesNothing(t *testing.T) {
	for name, by := range allNamings() {
		t.Run(name, func(t *testing.T) {
			dir, failed := t.TempDir(), errors.New("failed")
			err := create(filepath.Join(dir, "backup"), func(w io.Writer) error { return errors.Join(text("half")(w), failed) }, by)
			if !errors.Is(err, failed) {
				t.Errorf("error %v", err)
			}
			// The disk fails when the file gets its name.
			broken := func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EIO} }
			if err := create(filepath.Join(dir, "key"), text("key"), namings{broken, by.renameNew}); !errors.Is(err, syscall.EIO) {
				t.Errorf("error %v", err)
			}
			wantFiles(t, dir, nil)
		})
	}
}

func TestReplace_PrivateAndWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("a longer old content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, map[string]string{"secret": "new"})
	if err := Replace(filepath.Join(dir, "missing", "secret"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	wantFiles(t, dir, map[string]string{"secret": "new"})
}

func TestLinkOrCopy(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "below", "to")
	if err := LinkOrCopy(from, to, nil); err != nil {
		t.Fatal(err)
	}
	a, errA := os.Stat(from)
	b, errB := os.Stat(to)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("not linked: %v, %v", errA, errB)
	}
	// A file without a path to link, as on another file system, is copied.
	copied := filepath.Join(dir, "copied")
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("copy")), nil }
	if err := LinkOrCopy(filepath.Join(dir, "nowhere"), copied, open); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(copied); err != nil || string(content) != "copy" {
		t.Errorf("%q, %v", content, err)
	}
	if err := LinkOrCopy(from, to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := LinkOrCopy(filepath.Join(dir, "nowhere"), filepath.Join(dir, "new"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSyncDirIn_MissingDirectory(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if err := SyncDirIn(root, "."); err != nil {
		t.Errorf("error %v", err)
	}
	if err := SyncDirIn(root, "missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
