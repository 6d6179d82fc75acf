// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"maps"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/proto/identity"
)

// fillVersion2 writes what version 2 had of files: of two accounts each one that is
// stored, one that waits to be sent, one that is on its way here, and one that is gone.
func fillVersion2(_ *pebble.DB, b *pebble.Batch) error {
	put := func(key []byte, row any) error {
		raw, err := encode(row)
		if err != nil {
			return err
		}
		return b.Set(key, raw, nil)
	}
	contact := ContactConversation(modelKey(9))
	var errs []error
	for n := range 2 {
		account := modelKey(n + 1)
		errs = append(errs, put(accountKey(account), Account{}), put(ownerKey(account, contact), Contact{}))
		for i, state := range []MediaState{MediaStored, MediaUploading, MediaDownloading, MediaEvicted} {
			order := uint64(i + 1)
			id := MessageID{GUID: int64(i + 1)}
			m := Media{State: state, Hash: media.Hash{byte(i)}, Changed: Millis(100 - 10*i - n), Due: Millis(i)}
			errs = append(errs,
				put(messageKey(account, contact, order), Message{ID: id}), put(refKey(account, contact, id), messageRef{Order: order}),
				put(mediaKey(account, contact, id), m))
			if m.waits() {
				old := parsedKey{space: spaceAccount, table: tableTransfer2, account: account, conversation: contact, number: m.due(), message: id}
				errs = append(errs, b.Set(old.encode(), nil, nil))
			}
		}
	}
	return errors.Join(errs...)
}

// Bar R20: version 3 finds every file by its age and its hash, and in the queue, and
// nothing else is changed.
func TestMigrationToVersion3(t *testing.T) {
	mem := vfs.NewMem()
	if _, err := version(t, mem); err != nil { // version 1
		t.Fatal(err)
	}
	// Its content is that of version 2: step 2 is what writes it.
	steps := []migration{{2, fillVersion2}, {3, toVersion3}}
	if got, err := version(t, mem, steps...); got != 3 || err != nil {
		t.Fatalf("version %d, %v", got, err)
	}
	s, err := open(Options{Dir: "store", FS: mem}, steps)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if problems, err := s.Check(); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
	var stored []identity.PublicKey
	err = s.EachStored(func(m Media) (bool, error) {
		if m.Message.GUID != 1 {
			t.Errorf("stored: %+v", m)
		}
		stored = append(stored, m.Account)
		return true, nil
	})
	if err != nil || len(stored) != 2 || stored[0] != modelKey(2) { // its file is older by 1
		t.Errorf("%v, %v", stored, err)
	}
	for i, want := range []int{2, 2, 0, 0} {
		if got, err := s.MediaOfFile(media.Hash{byte(i)}); err != nil || len(got) != want {
			t.Errorf("file %d has %d messages, want %d, %v", i, len(got), want, err)
		}
	}
	var queued []int64
	err = s.EachTransfer(modelKey(1), 0, func(x Transfer) bool {
		queued = append(queued, x.Message.GUID)
		return true
	})
	if err != nil || len(queued) != 2 || queued[0] != 2 || queued[1] != 3 {
		t.Errorf("queued: %v, %v", queued, err)
	}
}

// TestCrashMigrationToVersion3 cuts the power at every write of a step that commits its
// work in many parts.
func TestCrashMigrationToVersion3(t *testing.T) {
	filled := func() *vfs.MemFS {
		mem := vfs.NewCrashableMem()
		for _, steps := range [][]migration{nil, {{2, fillVersion2}}} {
			if _, err := version(t, mem, steps...); err != nil {
				t.Fatal(err)
			}
		}
		return mem
	}
	steps := []migration{{2, fillVersion2}, {3, func(db *pebble.DB, b *pebble.Batch) error { return indexMedia(db, b, 1) }}}
	rowsOf := func(fs vfs.FS) map[string]string {
		t.Helper()
		s, err := open(Options{Dir: "store", FS: fs}, steps)
		if err != nil {
			t.Fatal(err)
		}
		all, err := allRows(s)
		problems, checkErr := s.Check()
		if err := errors.Join(err, checkErr, s.Close()); err != nil || len(problems) > 0 {
			t.Fatalf("%v, %q", err, problems)
		}
		return all
	}
	want := rowsOf(filled())
	for at := 0; ; at++ {
		cut := &powerCut{mem: filled(), after: at}
		rowsOf(cut.fs())
		if cut.clone == nil {
			if at < 10 {
				t.Errorf("only %d writes", at)
			}
			return
		}
		if got := rowsOf(cut.clone); !maps.Equal(got, want) {
			t.Fatalf("cut at write %d: %d rows, want %d, or others", at, len(got), len(want))
		}
	}
}
