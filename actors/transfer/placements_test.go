// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A file that is placed while others read all rows stays, and placing a file waits
// neither for them nor for a backup that holds all files.
func TestPlacements_PlacingWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacements()
		old, before, during, after := media.Hash{1}, media.Hash{2}, media.Hash{3}, media.Hash{4}
		endBefore := p.place(before) // its row is not written when the rows are read
		watch := p.watch()
		p.place(during)()
		release := p.hold()
		p.place(after)() // during a backup
		endBefore()
		removed := make(map[media.Hash]bool)
		ended := make(chan error, 1)
		go func() {
			for _, h := range []media.Hash{old, before, during, after} {
				if err := p.remove(watch, h, func() error { removed[h] = true; return nil }); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("a file was removed during a backup")
		default:
		}
		release()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if len(removed) != 1 || !removed[old] {
			t.Errorf("removed %v", removed)
		}
		p.unwatch(watch)
		again := p.watch()
		if err := p.remove(again, during, func() error { removed[during] = true; return nil }); err != nil || !removed[during] {
			t.Errorf("a file that was placed long ago stays: %v", err)
		}
	})
}

// Two goroutines that remove the same file, one by eviction and one as an orphan, do it
// one after the other: otherwise placing it again would wait for the first only, and the
// second would remove the new file.
func TestPlacements_TwoWhoRemoveOneFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacements()
		h, other := media.Hash{1}, media.Hash{2}
		removing, placed := 0, false
		proceed := make(chan struct{})
		remove := func() error {
			removing++
			if removing > 1 || placed {
				t.Errorf("%d remove it, placed: %t", removing, placed)
			}
			<-proceed
			removing--
			return t.Context().Err()
		}
		ended := make(chan error, 2)
		for range 2 {
			watch := p.watch()
			go func() { ended <- p.remove(watch, h, remove) }()
		}
		synctest.Wait()
		go func() {
			done := p.place(h)
			placed = true
			done()
		}()
		p.place(other)() // which waits for nobody
		synctest.Wait()
		close(proceed)
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if !placed {
			t.Error("it was not placed")
		}
	})
}

// Only the placement of a file that is being removed waits, and a backup.
func TestPlacements_RemovingHoldsUpThatFileAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacements()
		same, other := media.Hash{1}, media.Hash{2}
		go2, removed := make(chan struct{}), make(chan error, 1)
		go func() {
			removed <- p.remove(p.watch(), same, func() error { <-go2; return nil })
		}()
		synctest.Wait()
		p.place(other)() // at once
		placed, held := make(chan struct{}), make(chan struct{})
		go func() { p.place(same)(); close(placed) }()
		go func() { p.hold()(); close(held) }()
		synctest.Wait()
		select {
		case <-placed:
			t.Error("a file was placed while it was removed")
		case <-held:
			t.Error("a backup began while a file was removed")
		default:
		}
		close(go2)
		if err := <-removed; err != nil {
			t.Error(err)
		}
		<-placed
		<-held
	})
}

// place stores a file that a contact has sent.
func (r *rig) place(account, contact identity.PublicKey, content string) media.Info {
	r.t.Helper()
	w, err := r.service.media.Create()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		r.t.Fatal(err)
	}
	defer r.service.placements.place(w.Sum())()
	info, err := w.Commit()
	if err != nil {
		r.t.Fatal(err)
	}
	r.nextGUID++
	r.do(store.AcceptMessage{
		Account: account, Conversation: store.ContactConversation(contact), GUID: r.nextGUID, Type: int32(peer.TypeFile),
		Media: &store.Media{State: store.MediaStored, Hash: info.Hash, Size: info.Size},
	})
	return info
}

// A file that was chosen to go, and is sent again before it does, stays.
func TestEvict_FilePlacedSinceItWasChosen_Stays(t *testing.T) {
	r := newRig(t)
	place := func(content string) media.Info { return r.place(r.account, r.bob, content) }
	first, second := place("one"), place("two")
	watch := r.service.placements.watch()
	chosen, err := r.service.mediaInUse()
	if err != nil || len(chosen) != 2 {
		t.Fatalf("%d files, %v", len(chosen), err)
	}
	place("one")
	for _, file := range chosen {
		gone, err := r.service.evict(watch, file)
		if want := file.hash == second.Hash; err != nil || gone != want || r.service.media.Has(file.hash) == want {
			t.Errorf("%s: gone %v, there %v, %v", file.hash.Short(), gone, r.service.media.Has(file.hash), err)
		}
	}
	if row, err := r.store.Media(r.account, store.ContactConversation(r.bob), store.MessageID{Dir: store.In, GUID: 1}); err != nil || row.State != store.MediaStored || row.Hash != first.Hash {
		t.Errorf("the row of what stays: %+v, %v", row, err)
	}
}

// The file goes first that was last received the longest ago, over all accounts; what
// is needed stays; and what no row names goes when nothing else is left.
func TestMakeRoom_OldestFirst_OverAllAccounts(t *testing.T) {
	r := newRig(t)
	other := identity.PublicKey{9}
	r.do(store.PutAccount{Account: store.Account{ID: other}})
	r.do(store.AddContact{Contact: store.Contact{Account: other, ID: r.bob, State: store.ContactAccepted}})
	hour := func() { r.now = r.now.Add(time.Hour) }
	files := make(map[string]media.Hash)
	receive := func(account, contact identity.PublicKey, content string) {
		files[content] = r.place(account, contact, content).Hash
		hour()
	}
	receive(r.account, r.bob, "sent again")
	receive(other, r.bob, "the oldest")
	receive(r.account, r.carol, "needed by a reader")
	receive(r.account, r.bob, "the second oldest")
	receive(other, r.bob, "sent again")
	lost, err := r.service.media.Create()
	if err == nil {
		_, err = lost.Write([]byte("no row"))
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := lost.Commit()
	if err != nil {
		t.Fatal(err)
	}
	files["no row"] = info.Hash
	// A reader has passed all conversations but one.
	r.service.deps.Options.Consumers = []string{"reader"}
	for _, c := range []store.Conversation{store.ConversationWith(r.account, r.bob), store.ConversationWith(other, r.bob)} {
		seq, err := r.store.LastEvent(c.Account)
		if err != nil {
			t.Fatal(err)
		}
		r.do(store.MoveCursor{Consumer: "reader", Account: c.Account, Conversation: c.ID, Seq: seq})
	}
	there := func(want ...string) {
		t.Helper()
		for content, hash := range files {
			if got := r.service.media.Has(hash); got != slices.Contains(want, content) {
				t.Errorf("the file %q is there: %v", content, got)
			}
		}
	}
	for _, step := range []struct {
		err  error
		left []string
	}{
		{nil, []string{"needed by a reader", "the second oldest", "sent again", "no row"}},
		{nil, []string{"needed by a reader", "sent again", "no row"}},
		{nil, []string{"needed by a reader", "no row"}},
		{nil, []string{"needed by a reader"}},
		{media.ErrFull, []string{"needed by a reader"}},
	} {
		if err := r.service.evictBytes(1); !errors.Is(err, step.err) {
			t.Fatalf("%v, want %v", err, step.err)
		}
		there(step.left...)
	}
	for _, account := range []identity.PublicKey{r.account, other} {
		err := r.store.EachMedia(account, func(m store.Media) error {
			want := store.MediaEvicted
			if m.Hash == files["needed by a reader"] {
				want = store.MediaStored
			}
			if m.State != want {
				t.Errorf("the file of message %s is %s, want %s", m.Message, m.State, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
