// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func set(pairs ...identity.PublicKey) map[store.Conversation]struct{} {
	conversations := make(map[store.Conversation]struct{})
	for i := 0; i < len(pairs); i += 2 {
		conversations[store.ConversationWith(pairs[i], pairs[i+1])] = struct{}{}
	}
	return conversations
}

// where lists the conversations of changes that are not too many.
func where(changes store.Changes) map[store.Conversation]struct{} {
	conversations := make(map[store.Conversation]struct{})
	for conversation := range changes.Conversations {
		conversations[conversation] = struct{}{}
	}
	return conversations
}

// woken waits for a wake-up.
func woken(t *testing.T, w *store.Watch) {
	t.Helper()
	select {
	case _, open := <-w.C():
		if !open {
			t.Fatal("watch is closed")
		}
	case <-time.After(time.Minute):
		t.Fatal("watch was not woken")
	}
}

func quiet(t *testing.T, w *store.Watch) {
	t.Helper()
	select {
	case <-w.C():
		t.Error("watch was woken")
	default:
	}
}

func TestWatchCoalesces(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	all := r.store.Watch(identity.PublicKey{})
	defer all.Close()
	one := r.store.Watch(anna)
	defer one.Close()
	for guid := int64(1); guid <= 20; guid++ {
		must[store.Accepted](r, accept(guid, "x"))
		op := accept(guid, "x")
		op.Conversation = store.ContactConversation(carol)
		must[store.Accepted](r, op)
	}
	woken(t, all)
	quiet(t, all)
	quiet(t, one)
	if diff := cmp.Diff(set(alice, bob, alice, carol), where(all.Take())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(store.Changes{}, all.Take()); diff != "" {
		t.Error(diff)
	}
	must[bool](r, store.PutAccount{Account: store.Account{ID: anna, Name: "other"}})
	must[store.Accepted](r, accept(1, "x")) // a duplicate makes no event
	woken(t, one)
	if diff := cmp.Diff(set(anna, identity.PublicKey{}), where(one.Take())); diff != "" {
		t.Error(diff)
	}
	must[bool](r, store.MoveCursor{Consumer: "c", Account: anna, Seq: 1})
	quiet(t, one)
}

func TestWatchSeesWhatIsReadable(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	w := r.store.Watch(alice)
	defer w.Close()
	stop := make(chan struct{})
	done := make(chan uint64)
	go func() {
		var last uint64
		for {
			for {
				page, err := r.store.Events(alice, last, 10)
				if err != nil || len(page) == 0 {
					break
				}
				last = page[len(page)-1].Seq
			}
			select {
			case <-w.C():
			case <-stop:
				done <- last
				return
			}
		}
	}()
	for guid := int64(1); guid <= 200; guid++ {
		must[store.Accepted](r, accept(guid, "x"))
	}
	want := r.lastSeq(alice)
	deadline := time.After(time.Minute)
	close(stop)
	select {
	case got := <-done:
		if len(w.Take().Conversations) == 0 {
			t.Error("nothing was taken")
		}
		if got > want {
			t.Errorf("saw event %d of %d", got, want)
		}
	case <-deadline:
		t.Fatal("the consumer hangs")
	}
}

func TestWatchIsBounded(t *testing.T) {
	r := newRig(t, store.Options{})
	w := r.store.Watch(identity.PublicKey{})
	defer w.Close()
	for i := range 4097 {
		id := identity.PublicKey{1, byte(i >> 8), byte(i)}
		must[bool](r, store.PutAccount{Account: store.Account{ID: id}})
	}
	if got := w.Take(); !got.All || len(got.Conversations) != 0 {
		t.Errorf("all %v, %d conversations", got.All, len(got.Conversations))
	}
	must[bool](r, store.PutAccount{Account: store.Account{ID: alice}})
	if diff := cmp.Diff(set(alice, identity.PublicKey{}), where(w.Take())); diff != "" {
		t.Error(diff)
	}
}

func TestWatchCloses(t *testing.T) {
	r := newRig(t, store.Options{})
	closed := r.store.Watch(alice)
	closed.Close()
	closed.Close()
	open := r.store.Watch(alice)
	r.stop()
	for _, w := range []*store.Watch{closed, open, r.store.Watch(alice)} {
		if _, more := <-w.C(); more {
			t.Error("woken instead of closed")
		}
		w.Close()
	}
}

func TestWatch_SaysWhatHappened(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	w := r.store.Watch(identity.PublicKey{})
	defer w.Close()
	conversation := store.ConversationWith(alice, bob)
	take := func() store.Touched {
		t.Helper()
		woken(t, w)
		return w.Take().Conversations[conversation]
	}
	must[store.Accepted](r, accept(1, "x"))
	if got := take(); !got.Only(store.MessageReceived) || got.Only(store.MessageEdited) || got.Transfers() {
		t.Errorf("a message: %b", got)
	}
	edit := accept(1, "y")
	edit.EditTime = 7
	must[store.Accepted](r, edit)
	must[store.Accepted](r, accept(2, "x"))
	if got := take(); !got.Only(store.MessageEdited, store.MessageReceived) || got.Only(store.MessageReceived) {
		t.Errorf("an edit and a message: %b", got)
	}
	withFile := accept(3, "file")
	withFile.Media = &store.Media{State: store.MediaDownloading, Hash: media.Hash{1}}
	must[store.Accepted](r, withFile)
	if got := take(); got.Only(store.MessageReceived) || !got.Transfers() {
		t.Errorf("a message with a file: %b", got)
	}
	must[store.Enqueued](r, enqueue(4, "x", ""))
	must[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldNickname, Nickname: "Bob"})
	if got := take(); got.Only(store.MessageQueued) || !got.Only(store.MessageQueued, store.ContactChanged) {
		t.Errorf("a message of ours, and a name: %b", got)
	}
	must[bool](r, store.RemoveAccount{Account: alice})
	woken(t, w)
	if got := w.Take().Conversations[store.Conversation{Account: alice}]; !got.Transfers() || got.Only(store.MessageReceived, store.AccountChanged) {
		t.Errorf("the account is removed: %b", got)
	}
}
