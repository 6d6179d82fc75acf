// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
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
		t.Errorf("lock file cannot be made: %v", err)
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

var writeFixture = flag.Bool("fixture", false, "write testdata/store/v1 anew; only for a schema that was never released")

const fixture = "testdata/store/v1"

// fill writes what the fixture has.
func (r *rig) fill() {
	r.t.Helper()
	r.people()
	must[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldNickname, Nickname: "Bob"})
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(1), Time: 5})
	must[store.Accepted](r, accept(1, "first"))
	edit := accept(1, "first, edited")
	edit.EditTime = 7
	must[store.Accepted](r, edit)
	must[store.Accepted](r, accept(1, "a conflict"))
	must[store.Enqueued](r, enqueue(2, "delivered", "$a"))
	must[bool](r, store.MarkDelivered{Account: alice, Contact: bob, GUID: 2})
	must[store.Journaled](r, store.AppendJournal{Queue: "matrix", ID: "t1", Body: []byte("{}")})
	must[bool](r, store.FinishJournal{Queue: "matrix", Seq: 1})
	r.restart() // the part before is in a table, the part after in the log
	must[store.Enqueued](r, enqueue(3, "pending", "$b"))
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: bob, Seq: 6})
	must[store.Journaled](r, store.AppendJournal{Queue: "matrix", ID: "t2", Body: []byte("{}")})
	must[any](r, store.PutAddresses{Identity: bob, Addresses: []store.Address{{Node: nodeKey(1), Priority: 2}}})
	must[bool](r, store.SetContactState{Account: anna, Contact: carol, State: store.ContactBlocked})
}

// Bar R20
func TestFixtureOpens(t *testing.T) {
	if *writeFixture {
		mem := vfs.NewCrashableMem()
		newRig(t, store.Options{Dir: "v1", FS: mem}).fill()
		if err := os.RemoveAll(fixture); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(fixture), 0o750); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Clone(mem.CrashClone(vfs.CrashCloneCfg{}), vfs.Default, "v1", fixture); err != nil {
			t.Fatal(err)
		}
	}
	mem := vfs.NewMem()
	if ok, err := vfs.Clone(vfs.Default, mem, fixture, "v1"); err != nil || !ok {
		t.Fatalf("copy fixture: %v", err)
	}
	r := newRig(t, store.Options{Dir: "v1", FS: mem})
	for range 2 {
		r.checked()
		r.checkFixture()
		r.restart()
	}
	if got := must[store.Accepted](r, accept(1, "first")); !got.Duplicate {
		t.Errorf("%+v", got)
	}
	if got := must[store.Enqueued](r, enqueue(4, "new", "$c")); got.Message.Order != 5 {
		t.Errorf("%+v", got)
	}
}

func (r *rig) checkFixture() {
	t := r.t
	t.Helper()
	if diff := cmp.Diff([]string{"first, edited", "a conflict", "delivered", "pending"}, r.texts(alice, bob)); diff != "" {
		t.Error(diff)
	}
	contact := get[store.Contact](r)(r.store.Contact(alice, bob))
	if contact.Nickname != "Bob" || contact.NodeKeys[0] != (store.KnownNode{Key: nodeKey(1), FirstAuth: 5, LastAuth: 5}) {
		t.Errorf("%+v", contact)
	}
	if blocked := get[store.Contact](r)(r.store.Contact(anna, carol)); blocked.State != store.ContactBlocked {
		t.Errorf("%+v", blocked)
	}
	want := []store.EventKind{
		store.AccountAdded, store.ContactAdded, store.ContactAdded, store.ContactChanged, store.MessageReceived,
		store.MessageEdited, store.MessageReceived, store.MessageQueued, store.MessageDelivered, store.MessageQueued,
	}
	if diff := cmp.Diff(want, r.kinds(alice, 0)); diff != "" {
		t.Error(diff)
	}
	outbox := get[[]store.Message](r)(r.store.Outbox(alice, bob, 0))
	if len(outbox) != 1 || outbox[0].Source != "$b" || outbox[0].State != store.StatePending {
		t.Errorf("%+v", outbox)
	}
	if got := get[uint64](r)(r.store.Cursor("matrix", alice, bob)); got != 6 {
		t.Errorf("cursor at %d", got)
	}
	if diff := cmp.Diff([]string{"t2"}, r.entries("matrix")); diff != "" {
		t.Error(diff)
	}
	if got := get[[]store.Address](r)(r.store.Addresses(bob)); len(got) != 1 || got[0].Priority != 2 {
		t.Errorf("%+v", got)
	}
}

func TestFixtureIsReadable(t *testing.T) {
	err := filepath.WalkDir(fixture, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, statErr := entry.Info(); statErr != nil || info.Size() > 64<<10 {
				t.Errorf("%s: %v, %v", path, info, statErr)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
