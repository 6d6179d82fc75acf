// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
)

var writeFixture = flag.Uint64("fixture", 0, "write the fixture of this version, which must be the newest one; never for one that was released")

// fixtureOf is a store that the program of a version has written.
func fixtureOf(version uint64) string { return fmt.Sprintf("testdata/store/v%d", version) }

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
	must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 2})
	must[store.Journaled](r, store.AppendJournal{Queue: "matrix", ID: "t1", Body: []byte("{}")})
	must[bool](r, store.FinishJournal{Queue: "matrix", Seq: 1})
	r.restart() // the part before is in a table, the part after in the log
	must[store.Enqueued](r, enqueue(3, "pending", "$b"))
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: store.ContactConversation(bob), Seq: 6})
	must[store.Journaled](r, store.AppendJournal{Queue: "matrix", ID: "t2", Body: []byte("{}")})
	must[any](r, store.PutAddresses{Identity: bob, Addresses: []store.Address{{Node: nodeKey(1), Priority: 2}}})
	must[bool](r, store.SetContactState{Account: anna, Contact: carol, State: store.ContactBlocked})
}

// Bar R20: a store of every version that there was is opened, and nothing of it is
// missing.
func TestFixturesOpen(t *testing.T) {
	if *writeFixture != 0 {
		makeFixture(t, *writeFixture)
	}
	for version := uint64(1); version <= store.NewestVersionForTest(); version++ {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			mem := vfs.NewMem()
			if ok, err := vfs.Clone(vfs.Default, mem, fixtureOf(version), "store"); err != nil || !ok {
				t.Fatalf("copy fixture: %t, %v; make it with: go test -tags goolm ./actors/store -run Fixtures -fixture %d", ok, err, version)
			}
			r := newRig(t, store.Options{Dir: "store", FS: mem})
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
		})
	}
}

func makeFixture(t *testing.T, version uint64) {
	t.Helper()
	if version != store.NewestVersionForTest() {
		t.Fatalf("this program writes version %d", store.NewestVersionForTest())
	}
	mem := vfs.NewCrashableMem()
	newRig(t, store.Options{Dir: "store", FS: mem}).fill()
	dir := fixtureOf(version)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Dir(dir), 0o750)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(mem.CrashClone(vfs.CrashCloneCfg{}), vfs.Default, "store", dir); err != nil {
		t.Fatal(err)
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
	outbox := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0))
	if len(outbox) != 1 || outbox[0].Source != "$b" || outbox[0].State != store.StatePending {
		t.Errorf("%+v", outbox)
	}
	if got := get[uint64](r)(r.store.Cursor("matrix", alice, store.ContactConversation(bob))); got != 6 {
		t.Errorf("cursor at %d", got)
	}
	if diff := cmp.Diff([]string{"t2"}, r.entries("matrix")); diff != "" {
		t.Error(diff)
	}
	if got := get[[]store.Address](r)(r.store.Addresses(bob)); len(got) != 1 || got[0].Priority != 2 {
		t.Errorf("%+v", got)
	}
}

func TestFixturesAreReadable(t *testing.T) {
	err := filepath.WalkDir("testdata/store", func(path string, entry fs.DirEntry, err error) error {
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
