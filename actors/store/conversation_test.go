// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

func TestConversationID_Text_IsReadBack(t *testing.T) {
	contact := identity.PublicKey{0xab, 31: 0xcd}
	for _, id := range []ConversationID{{}, ContactConversation(contact), GroupConversation(identity.NodeKey{1}, 2)} {
		if got, err := ParseConversationID(id.String()); err != nil || got != id {
			t.Errorf("%s is read as %s, %v", id, got, err)
		}
		raw, err := id.MarshalBinary()
		var got ConversationID
		if err = errors.Join(err, got.UnmarshalBinary(raw)); err != nil || got != id {
			t.Errorf("%s is stored as %x and read as %s, %v", id, raw, got, err)
		}
	}
	if got := ContactConversation(contact); got.String() != contact.String() || got.Contact() != contact || got.Short() != contact.Short() {
		t.Errorf("contact %s has the conversation %s", contact, got)
	}
	if got := GroupConversation(identity.NodeKey{1}, 2).Contact(); !got.IsZero() {
		t.Errorf("a group has the contact %s", got)
	}
	upper := bytes.ToUpper([]byte(ContactConversation(contact).String()))
	for _, text := range []string{"", "group-", "group-ab", string(upper), "Group-" + contact.String(), contact.String() + "00"} {
		if id, err := ParseConversationID(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is read as %s, %v", text, id, err)
		}
	}
	for _, raw := range [][]byte{{1}, make([]byte, 31), make([]byte, 33), append([]byte{2}, make([]byte, 32)...), make([]byte, 34)} {
		if err := new(ConversationID).UnmarshalBinary(raw); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", raw, err)
		}
	}
}

// TestGroupConversation_NameIsStable pins the name of a group chat: it is in keys of the
// database, and will be in ids of rooms.
func TestGroupConversation_NameIsStable(t *testing.T) {
	mediator := identity.NodeKey{0xdd}
	const want = "group-97ee54aa5ff9ef270839686235cb16288d15abe804deee03de8aa212478b3624"
	if got := GroupConversation(mediator, 7); got.String() != want || got.Kind() != KindGroup {
		t.Errorf("%s, want %s", got, want)
	}
	// Neither the mediator alone nor the chat id alone makes the name.
	names := map[ConversationID]bool{
		GroupConversation(mediator, 7): true, GroupConversation(mediator, 8): true, GroupConversation(identity.NodeKey{0xde}, 7): true,
	}
	if len(names) != 3 {
		t.Error("two group chats have one name")
	}
}

// sameBytes adds a group chat whose 32 bytes are the key of a contact, which nobody
// can bring about.
type sameBytes struct{ account, contact identity.PublicKey }

func (op sameBytes) id() ConversationID { return newConversationID(KindGroup, op.contact) }

func (op sameBytes) size() int { return opOverhead }

func (op sameBytes) apply(t *txn) (any, error) {
	c, err := t.w.conversation(t, op.account, op.id())
	if err != nil {
		return nil, err
	}
	t.setExists(c, true)
	return true, t.put(ownerKey(op.account, op.id()), Group{Mediator: identity.NodeKey{1}, Chat: 1})
}

// A contact and a group chat share nothing, even with the same 32 bytes.
func TestConversationID_SameBytes_RowsAreApart(t *testing.T) {
	r := newRun(t, vfs.NewMem())
	defer r.close()
	account, contact := modelKey(1), modelKey(2)
	group := sameBytes{account, contact}
	do := func(op Op) any {
		t.Helper()
		var got answers
		r.writer.submit(&got, Write{Op: op})
		r.settle()
		if len(got) != 1 || got[0].Err != nil {
			t.Fatalf("%T: %+v", op, got)
		}
		return got[0].Result
	}
	do(PutAccount{Account: Account{ID: account}})
	do(AddContact{Contact: Contact{Account: account, ID: contact}})
	do(group)
	for i, id := range []ConversationID{ContactConversation(contact), group.id()} {
		payload := []byte{byte(i)}
		media := &Media{State: MediaDownloading, Due: 5, Hash: [32]byte{1}, FileHash: files.Hash{1}}
		if got := do(AcceptMessage{Account: account, Conversation: id, GUID: 1, Payload: payload, Media: media}); got.(Accepted).Order != 1 || got.(Accepted).Duplicate {
			t.Errorf("%s: %+v", id.Short(), got)
		}
		if got := do(EnqueueMessage{Account: account, Conversation: id, GUID: 2, Payload: payload}); got.(Enqueued).Message.Order != 2 {
			t.Errorf("%s: %+v", id.Short(), got)
		}
		do(MoveCursor{Consumer: "c", Account: account, Conversation: id, Seq: uint64(i + 1)})
	}
	for i, id := range []ConversationID{ContactConversation(contact), group.id()} {
		messages, err := r.store.Messages(account, id, 0, 0)
		if err != nil || len(messages) != 2 || messages[0].Conversation != id || !bytes.Equal(messages[1].Payload, []byte{byte(i)}) {
			t.Errorf("%s: messages %+v, %v", id.Short(), messages, err)
		}
		if outbox, err := r.store.Outbox(account, id, 0, 0); err != nil || len(outbox) != 1 || outbox[0].Conversation != id {
			t.Errorf("%s: outbox %+v, %v", id.Short(), outbox, err)
		}
		if media, err := r.store.Media(account, id, MessageID{GUID: 1}); err != nil || media.Conversation != id {
			t.Errorf("%s: file %+v, %v", id.Short(), media, err)
		}
		events, err := r.store.ConversationEvents(account, id, 0, 0)
		for _, ev := range events {
			if ev.Conversation != id {
				t.Errorf("%s: event %+v", id.Short(), ev)
			}
		}
		if err != nil || len(events) != 3-i { // the contact was added
			t.Errorf("%s: %d events, %v", id.Short(), len(events), err)
		}
		if seq, err := r.store.Cursor("c", account, id); err != nil || seq != uint64(i+1) {
			t.Errorf("%s: cursor at %d, %v", id.Short(), seq, err)
		}
	}
	if got, err := r.store.OutboxConversations(account); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if size, err := r.store.OutboxSize(account, ConversationID{}); err != nil || size.Messages != 2 {
		t.Errorf("%+v, %v", size, err)
	}
	do(RemoveContact{Account: account, Contact: contact})
	if messages, err := r.store.Messages(account, group.id(), 0, 0); err != nil || len(messages) != 2 {
		t.Errorf("after the contact is gone the group has %d messages, %v", len(messages), err)
	}
}

// TestConversationRecords_Contact_BytesAreOld holds the records of contacts to what
// programs have written that knew contacts only.
func TestConversationRecords_Contact_BytesAreOld(t *testing.T) {
	contact := identity.PublicKey{0xbb}
	for _, test := range []struct{ old, now any }{
		{struct {
			Conversation identity.PublicKey `cbor:"1,keyasint,omitzero"`
			Kind         EventKind          `cbor:"2,keyasint"`
			Message      MessageID          `cbor:"4,keyasint"`
		}{contact, ContactChanged, MessageID{}}, Event{Conversation: ContactConversation(contact), Kind: ContactChanged}},
		{struct {
			Contact identity.PublicKey `cbor:"1,keyasint"`
			Order   uint64             `cbor:"2,keyasint"`
		}{contact, 3}, sourceRow{Conversation: ContactConversation(contact), Order: 3}},
	} {
		old, err := codec.enc.Marshal(test.old)
		now, nowErr := encode(test.now)
		if err = errors.Join(err, nowErr); err != nil || !bytes.Equal(old, now) {
			t.Errorf("%T is written %s, was %s, %v", test.now, hex.EncodeToString(now), hex.EncodeToString(old), err)
		}
	}
	if n := binary.Size(ContactConversation(contact).binary()); n != identity.KeySize {
		t.Errorf("%d bytes", n)
	}
}
