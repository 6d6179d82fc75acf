// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// rig is a service with a store in which an account has two contacts, and
// without a network.
type rig struct {
	t          *testing.T
	store      *store.Store
	service    *Service
	account    identity.PublicKey
	bob, carol identity.PublicKey
	now        time.Time
	nextGUID   int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, account: identity.PublicKey{1}, bob: identity.PublicKey{2}, carol: identity.PublicKey{3},
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem(), Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	stage := kerneltest.NewStage(t, kernel.Options{Logger: log})
	writer := stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	r.store = s
	r.service, err = Open(Deps{
		Dir: t.TempDir(), Store: s, Writer: func() kernel.Ref { return writer }, Log: log, Now: func() time.Time { return r.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stage.Stop(writer)
		kerneltest.Await[kernel.ChildStopped](t, stage.Probe, time.Minute)
		for _, closed := range []func() error{r.service.Close, s.Close} {
			if err := closed(); err != nil {
				t.Error(err)
			}
		}
	})
	r.do(store.PutAccount{Account: store.Account{ID: r.account}})
	for _, id := range []identity.PublicKey{r.bob, r.carol} {
		r.do(store.AddContact{Contact: store.Contact{Account: r.account, ID: id, State: store.ContactAccepted}})
	}
	return r
}

func (r *rig) do(op store.Op) any {
	r.t.Helper()
	result, err := store.Do[any](r.t.Context(), r.service.deps.Writer(), op)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r *rig) text(to identity.PublicKey, text string) store.EnqueueMessage {
	r.nextGUID++
	return store.EnqueueMessage{Account: r.account, Conversation: store.ContactConversation(to), GUID: r.nextGUID, Type: int32(peer.TypeText), Payload: []byte(text)}
}

// file queues a message with a file, which is held.
func (r *rig) file(to identity.PublicKey) store.Message {
	op := r.text(to, "a file")
	op.Type = int32(peer.TypeFile)
	queued, _ := r.do(store.EnqueueFile{Message: op, Media: store.Media{Hash: media.Hash{1}, Size: 10}}).(store.Enqueued)
	return queued.Message
}

// An upload that the server is about to forget is renewed wherever it is in the
// outbox, for each contact.
func TestRenewUploads_BeyondOnePage(t *testing.T) {
	r := newRig(t)
	for range 1500 { // more than a page
		r.do(r.text(r.bob, "before"))
	}
	var sent []store.Message
	for _, to := range []identity.PublicKey{r.bob, r.carol} {
		m := r.file(to)
		row, err := r.store.Media(r.account, store.ContactConversation(to), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		row.State, row.Uploaded = store.MediaStored, store.MillisOf(r.now)
		r.do(store.ChangeMedia{From: store.MediaUploading, Media: row, Payload: []byte("uploaded")})
		sent = append(sent, m)
	}
	for _, want := range []store.MediaState{store.MediaStored, store.MediaUploading} {
		r.now = r.now.Add(renewAfter/2 + time.Hour)
		if err := r.service.renewUploads(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, m := range sent {
			if row, err := r.store.Media(r.account, m.Conversation, m.ID); err != nil || row.State != want {
				t.Errorf("the file for %s is %v, want %v (%v)", m.Conversation.Short(), row.State, want, err)
			}
		}
	}
}
