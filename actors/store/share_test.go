// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sizedDisk is a disk in memory with as much free space as the test says.
type sizedDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *sizedDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load(), TotalBytes: 1 << 40}, nil
}

// Bar R11: a contact that writes without end is refused before the disk is full, by
// messages and by edits; the messages of others, of another account too, are taken.
// When there is room again, its messages are.
func TestContactCannotFillTheDisk(t *testing.T) {
	LeavesGoroutines(t)
	disk := &sizedDisk{FS: vfs.NewMem()}
	disk.free.Store(1<<20 + 4<<20)
	opts := Options{Dir: "store", FS: disk, Reserve: 1 << 20, MemTableBytes: 64 << 10, ContactBytes: 2 << 20}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.space.now = func() time.Time { now = now.Add(time.Minute); return now } // each look is a new one
	r := &run{t: t, limit: 1000, opts: opts, store: s, writer: newWriter(s), want: make(map[uint64]Written), model: newModel(0, opts)}
	do := func(op Op) error {
		_, err := r.writer.run(op)
		for b := r.writer.next(); b != nil; b = r.writer.next() {
			if err := b.commit(s); err != nil {
				t.Fatal(err)
			}
			r.writer.ended()
		}
		return err
	}
	for _, op := range populate() {
		if err := do(op); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	write := func(account, contact int, guid int64, edited Millis) error {
		payload := make([]byte, 30_000)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		return do(AcceptMessage{Account: modelKey(account), Conversation: ContactConversation(modelKey(contact)), GUID: guid, EditTime: edited, Payload: payload})
	}
	guid := int64(1)
	for ; err == nil && guid < 1000; guid++ {
		err = write(1, 1, guid, 0)
	}
	if !errors.Is(err, ErrContactFull) || s.space.low() || guid < 20 {
		t.Fatalf("after %d messages: %v, disk low %v", guid, err, s.space.low())
	}
	disk.free.Store(disk.free.Load() - 1<<20) // more than what merging tables gives back
	if err := write(1, 1, 1, 7); !errors.Is(err, ErrContactFull) {
		t.Errorf("an edit: %v", err)
	}
	if full := s.FullConversations(); !slices.Equal(full, []Conversation{ConversationWith(modelKey(1), modelKey(1))}) {
		t.Errorf("full: %v", full)
	}
	for n := range int64(5) {
		for _, other := range [][2]int{{1, 2}, {2, 1}, {2, 2}} {
			if err := write(other[0], other[1], n+1, 0); err != nil {
				t.Fatalf("message %d of %v: %v", n, other, err)
			}
		}
	}
	if err := do(EnqueueMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: -1, Payload: []byte("ours")}); err != nil {
		t.Errorf("to the contact: %v", err)
	}
	for _, state := range []ContactState{ContactBlocked, ContactAccepted} {
		if err := do(SetContactState{Account: modelKey(1), Contact: modelKey(1), State: state}); err != nil {
			t.Fatal(err)
		}
		if full := len(s.FullConversations()); full > 0 != (state == ContactAccepted) {
			t.Errorf("state %v: %d full", state, full)
		}
	}
	disk.free.Store(4 * disk.free.Load())
	if full := s.FullConversations(); len(full) > 0 {
		t.Errorf("with room again, before it writes: full %v", full)
	}
	if err := write(1, 1, guid+1, 0); err != nil || len(s.FullConversations()) > 0 {
		t.Errorf("with room again: %v, full %v", err, s.FullConversations())
	}
	r.writer.refresh()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
