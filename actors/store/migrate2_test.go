// SPDX-License-Identifier: MPL-2.0

package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Bar R20: the second version finds the reactions that count in what the first has
// stored, and knows what unblocking makes of whom it has blocked.
func TestMigrationToVersion2(t *testing.T) {
	a, b := identity.PublicKey{1}, identity.PublicKey{2}
	mem := vfs.NewMem()
	if _, err := version(t, mem); err != nil { // version 1
		t.Fatal(err)
	}
	fill := migration{2, func(_ *pebble.DB, batch *pebble.Batch) error {
		rows := map[string]any{
			string(accountKey(a)):    Account{Name: "a", Priority: 1},
			string(contactKey(a, b)): map[uint64]any{1: "b", 5: ContactBlocked, 99: "from the future"},
		}
		for order, r := range []struct {
			emoji string
			at    Millis
		}{{"early", 10}, {"late", 2_000_000_000_000}, {"middle", 20}} {
			id := MessageID{Dir: In, GUID: int64(order + 1)}
			rows[string(messageKey(a, ContactConversation(b), uint64(order+1)))] = Message{
				ID: id, Type: int32(peer.TypeReaction), SendTime: r.at, Payload: peer.Reaction{Emoji: r.emoji, Target: 9}.AppendTo(nil),
			}
			rows[string(refKey(a, ContactConversation(b), id))] = messageRef{Order: uint64(order + 1)}
		}
		rows[string(messageKey(a, ContactConversation(b), 4))] = Message{ID: MessageID{Dir: Out, GUID: 9}, Payload: []byte("a text")}
		rows[string(refKey(a, ContactConversation(b), MessageID{Dir: Out, GUID: 9}))] = messageRef{Order: 4}
		for key, row := range rows {
			raw, err := encode(row)
			if err != nil {
				return err
			}
			if err := batch.Set([]byte(key), raw, nil); err != nil {
				return err
			}
		}
		return nil
	}}
	// Its content is that of version 1: the step that wrote it says 2 only so that the
	// real one may come after it.
	real := migration{3, toVersion2}
	if got, err := version(t, mem, fill, real); got != 3 || err != nil {
		t.Fatalf("version %d, %v", got, err)
	}
	s, err := open(Options{Dir: "store", FS: mem}, []migration{fill, real})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	reactions, err := s.Reactions(a, ContactConversation(b), 9)
	if err != nil || len(reactions) != 1 || reactions[0].Emoji != "late" || reactions[0].Message.GUID != 2 {
		t.Errorf("%+v, %v", reactions, err)
	}
	contact, err := s.Contact(a, b)
	if err != nil || contact.Unblocked != ContactAccepted || contact.State != ContactBlocked {
		t.Errorf("%+v, %v", contact, err)
	}
	if account, err := s.Account(a); err != nil || account.Priority != 2 || account.Name != "a" {
		t.Errorf("%+v, %v", account, err)
	}
	var fields map[uint64]any
	err = s.read(func(r rows) error { return loadRow(r, contactKey(a, b), &fields) })
	if err != nil || fields[99] != "from the future" {
		t.Errorf("%+v, %v", fields, err)
	}
}
