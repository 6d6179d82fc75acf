// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// Looking at a store that was killed with several logs changes no file of it, and
// sees everything; so does a copy.
func TestReadOnly_ChangesNothing(t *testing.T) {
	LeavesGoroutines(t)
	l := manyLogs(t)
	disk := copyFS(t, l.fs)
	before := hashes(t, disk, "store")
	opts := l.opts
	opts.FS = disk
	s, err := OpenReadOnly(opts)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, limit: 1000, opts: opts, store: s, writer: newWriter(s), durable: l.whole}
	r.compare()
	if problems, err := s.Check(); err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
	if _, err := OpenReadOnly(opts); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	r.writer.refresh()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if changed := cmp.Diff(before, hashes(t, disk, "store")); changed != "" {
		t.Errorf("looking has changed files: %s", changed)
	}
	if diff := cmp.Diff(before, hashes(t, disk, "copy")); diff != "" {
		t.Errorf("the copy is another one: %s", diff)
	}
	if whole, err := l.reads(t, disk); !whole || err != nil {
		t.Errorf("opened after that: whole %v, %v", whole, err)
	}
	l.opts.Dir = "copy"
	if whole, err := l.reads(t, disk); !whole || err != nil {
		t.Errorf("the copy: whole %v, %v", whole, err)
	}
}

func TestReadOnly_Refuses(t *testing.T) {
	mem := vfs.NewMem()
	if _, err := OpenReadOnly(Options{Dir: "store", FS: mem}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := mem.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(Options{Dir: "store", FS: mem}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	step := func(*pebble.DB, *pebble.Batch) error { return nil }
	s, err := open(Options{Dir: "store", FS: mem}, nil)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before := hashes(t, mem, "store")
	if _, err := openReadOnly(Options{Dir: "store", FS: mem}, []migration{{2, step}}); !errors.Is(err, ErrOlderSchema) {
		t.Errorf("an older schema: %v", err)
	}
	if changed := cmp.Diff(before, hashes(t, mem, "store")); changed != "" {
		t.Errorf("the refusal has changed files: %s", changed)
	}
	if s, err = open(Options{Dir: "store", FS: mem}, []migration{{2, step}}); err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before = hashes(t, mem, "store")
	if _, err := openReadOnly(Options{Dir: "store", FS: mem}, nil); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a newer schema: %v", err)
	}
	if _, err := open(Options{Dir: "store", FS: mem}, nil); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a newer schema: %v", err)
	}
	if changed := cmp.Diff(before, hashes(t, mem, "store")); changed != "" {
		t.Errorf("the refusal has changed files: %s", changed)
	}
}
