// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// manyRows is more than a page.
const manyRows = 1500

// outboxRig is a store in which an account has two contacts.
type outboxRig struct {
	t          *testing.T
	store      *store.Store
	writer     kernel.Ref
	account    identity.PublicKey
	bob, carol identity.PublicKey
	now        time.Time
	nextGUID   int64
}

func newOutboxRig(t *testing.T) *outboxRig {
	t.Helper()
	r := &outboxRig{
		t: t, account: identity.PublicKey{1}, bob: identity.PublicKey{2}, carol: identity.PublicKey{3},
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem(), Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	stage := kerneltest.NewStage(t, kernel.Options{Logger: slog.New(slog.DiscardHandler)}) // stops first
	writer := stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	r.store, r.writer = s, writer
	r.do(store.PutAccount{Account: store.Account{ID: r.account}})
	for _, id := range []identity.PublicKey{r.bob, r.carol} {
		r.do(store.AddContact{Contact: store.Contact{Account: r.account, ID: id, State: store.ContactAccepted}})
	}
	return r
}

func (r *outboxRig) do(op store.Op) any {
	r.t.Helper()
	result, err := store.Do[any](r.t.Context(), r.writer, op)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r *outboxRig) text(to identity.PublicKey, text string) store.EnqueueMessage {
	r.nextGUID++
	return store.EnqueueMessage{Account: r.account, Conversation: store.ContactConversation(to), GUID: r.nextGUID, Type: int32(peer.TypeText), Payload: []byte(text)}
}

// Whole reads see everything, a page says that it is none, and counts are exact.
func TestOutbox_BeyondOnePage_Whole(t *testing.T) {
	r := newOutboxRig(t)
	for n := range manyRows {
		r.do(r.text(r.bob, fmt.Sprint("text ", n)))
	}
	for range 3 {
		r.do(r.text(r.carol, "to carol"))
	}
	n := 0
	for m, err := range r.store.Undelivered(r.account, store.ContactConversation(r.bob)) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("text ", n); string(m.Payload) != want {
			t.Fatalf("got %q, want %q", m.Payload, want)
		}
		n++
	}
	if n != manyRows {
		t.Errorf("%d undelivered messages", n)
	}
	node := &Node{store: r.store}
	if n, err := node.Waiting(r.account); err != nil || n != manyRows+3 {
		t.Errorf("%d messages wait, %v", n, err)
	}
	if size, err := r.store.OutboxSize(r.account, store.ContactConversation(r.carol)); err != nil || size != (store.OutboxSize{Messages: 3, Bytes: 24}) {
		t.Errorf("%+v, %v", size, err)
	}
	if n, err := r.store.CountConversationEvents(r.account, store.ContactConversation(r.bob), 0); err != nil || n != manyRows+1 {
		t.Errorf("%d events, %v", n, err)
	}
	for range manyRows {
		r.nextGUID++
		r.do(store.AppendJournal{Queue: "q", ID: fmt.Sprint(r.nextGUID)})
	}
	if n, err := r.store.CountJournal("q"); err != nil || n != manyRows {
		t.Errorf("%d entries, %v", n, err)
	}
	for name, read := range map[string]func(limit int) (int, error){
		"outbox": func(limit int) (int, error) {
			m, err := r.store.Outbox(r.account, store.ContactConversation(r.bob), 0, limit)
			return len(m), err
		},
		"messages": func(limit int) (int, error) {
			m, err := r.store.Messages(r.account, store.ContactConversation(r.bob), 0, limit)
			return len(m), err
		},
		"events":  func(limit int) (int, error) { e, err := r.store.Events(r.account, 0, limit); return len(e), err },
		"journal": func(limit int) (int, error) { e, err := r.store.Journal("q", 0, limit); return len(e), err },
	} {
		if n, err := read(store.MaxPage + 1); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
		if n, err := read(store.MaxPage); err != nil || n != store.MaxPage {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
	}
}
