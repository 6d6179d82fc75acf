// SPDX-License-Identifier: MPL-2.0

package contact

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

// A text overtakes files that take longer than the patience, however many there are.
func TestNextToSend_ManyHeldFiles_TextOvertakes(t *testing.T) {
	const files, patience = 1500, time.Minute // more than a page
	created := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := created
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem(), Now: func() time.Time { return now }})
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
	do := func(op store.Op) {
		t.Helper()
		if _, err := store.Do[any](t.Context(), writer, op); err != nil {
			t.Fatal(err)
		}
	}
	account, bob := identity.PublicKey{1}, identity.PublicKey{2}
	do(store.PutAccount{Account: store.Account{ID: account}})
	do(store.AddContact{Contact: store.Contact{Account: account, ID: bob, State: store.ContactAccepted}})
	message := func(guid int64, kind peer.MessageType) store.EnqueueMessage {
		return store.EnqueueMessage{
			Account: account, Conversation: store.ContactConversation(bob), GUID: guid, Type: int32(kind),
			Created: store.MillisOf(created), Payload: []byte("x"),
		}
	}
	for guid := range int64(files) {
		do(store.EnqueueFile{Message: message(guid+1, peer.TypeFile), Media: store.Media{Hash: media.Hash{1}, Size: 10}})
	}
	do(message(files+1, peer.TypeText))

	now = created.Add(patience + time.Second)
	x := &contact{
		deps:         &Deps{Store: s, Now: func() time.Time { return now }, Patience: patience},
		Conversation: store.ConversationWith(account, bob),
	}
	if m, ok := x.nextToSend(nil); !ok || m.ID.GUID != files+1 {
		t.Errorf("got %v, %v", m.ID, ok)
	}
}
