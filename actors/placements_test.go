// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// A file that is placed while others look at all rows stays, and nobody who places a
// file waits for them, nor for a backup that holds all files.
func TestPlacements_PlacingWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacements()
		old, before, during, after := media.Hash{1}, media.Hash{2}, media.Hash{3}, media.Hash{4}
		endBefore := p.place(before) // its row is not written when the rows are read
		watch := p.watch()
		p.place(during)()
		release := p.hold()
		p.place(after)() // while a backup is made
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

// Two who remove the same file, one to make room and one because no row names it, do
// it one after the other: else who places it again would wait for the first only, and
// the second would remove what was placed.
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

// Only who places the very file that is being removed waits, and a backup.
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

// A file that was chosen to go, and is sent again before it does, stays.
func TestEvict_FilePlacedSinceItWasChosen_Stays(t *testing.T) {
	r := newTransferRig(t)
	place := func(content string) media.Info {
		w, err := r.service.media.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		defer r.service.placements.place(w.Sum())()
		info, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		r.nextGUID++
		r.do(store.AcceptMessage{
			Account: r.account, Conversation: store.ContactConversation(r.bob), GUID: r.nextGUID, Type: int32(peer.TypeFile),
			Media: &store.Media{State: store.MediaStored, Hash: info.Hash, Size: info.Size},
		})
		return info
	}
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
