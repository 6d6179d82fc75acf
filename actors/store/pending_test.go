// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
)

// freshly returns what Pending says without anything that it has remembered.
func freshly(t *testing.T, s *Store, consumer string, account identity.PublicKey) []PendingConversation {
	t.Helper()
	p := pending{of: floorOf{account, consumer}}
	err := s.read(func(r rows) error {
		p.rows = r
		return p.visit()
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.found
}

// samePending compares what Pending says, remembering more each time, with what is so.
func samePending(t *testing.T, s *Store, when string) {
	t.Helper()
	for range 2 {
		for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
			for _, consumer := range []string{"m", "mm"} {
				got, err := s.Pending(consumer, account)
				if diff := cmp.Diff(freshly(t, s, consumer, account), got); diff != "" || err != nil {
					t.Errorf("%s: %s of %s: %s %v", when, consumer, account.Short(), diff, err)
				}
			}
		}
	}
}

func TestPending_RememberedFloor_SameAnswer(t *testing.T) {
	b := newBench(t, Options{})
	conversations := []ConversationID{ContactConversation(modelKey(3)), ContactConversation(modelKey(4)), GroupConversation(identity.NodeKey{9}, 7)}
	people := func(account identity.PublicKey) {
		b.submit(PutAccount{Account: Account{ID: account}})
		b.submit(AddContact{Contact: Contact{Account: account, ID: modelKey(3)}})
		b.submit(AddContact{Contact: Contact{Account: account, ID: modelKey(4)}})
		b.submit(AddGroup{Account: account, Mediator: identity.NodeKey{9}, Chat: 7})
		b.commit()
	}
	guid := int64(0)
	accept := func(account identity.PublicKey, conversation ConversationID) {
		guid++
		b.submit(AcceptMessage{Account: account, Conversation: conversation, GUID: guid})
		b.commit()
	}
	// dealWith moves a cursor to the last event.
	dealWith := func(account identity.PublicKey, conversation ConversationID) {
		t.Helper()
		last, err := b.store.LastEvent(account)
		if err != nil {
			t.Fatal(err)
		}
		b.submit(MoveCursor{Consumer: "m", Account: account, Conversation: conversation, Seq: last})
		b.commit()
	}
	all := append([]ConversationID{{}}, conversations...)
	for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
		people(account)
		samePending(t, b.store, "nothing is dealt with")
		for i, conversation := range all {
			dealWith(account, conversation)
			samePending(t, b.store, fmt.Sprint("conversation ", i, " is dealt with"))
		}
		for i, conversation := range conversations { // one of them stays behind
			accept(account, conversation)
			accept(account, conversations[2])
			samePending(t, b.store, fmt.Sprint("news in conversation ", i))
			if i != 1 {
				dealWith(account, conversation)
				samePending(t, b.store, fmt.Sprint("conversation ", i, " is dealt with again"))
			}
		}
	}
	for range maxPendingEvents { // behind the floor
		guid++
		b.submit(AcceptMessage{Account: modelKey(1), Conversation: conversations[0], GUID: guid})
	}
	b.commit()
	samePending(t, b.store, "much has happened")
	dealWith(modelKey(1), conversations[1])
	dealWith(modelKey(1), conversations[0])
	samePending(t, b.store, "all of it is dealt with")

	// The events of another account with the same id begin at 1.
	b.submit(RemoveAccount{Account: modelKey(1)})
	people(modelKey(1))
	samePending(t, b.store, "the account is another one")
	if got, err := b.store.Pending("m", modelKey(1)); len(got) != 4 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// A floor that was read before an account was removed says nothing about the account
// that has its id afterwards.
func TestFloors_Removal_ForgetsAll(t *testing.T) {
	var f floors
	one, two := floorOf{modelKey(1), "m"}, floorOf{modelKey(2), "m"}
	f.raise(one, 7, 0)
	f.raise(one, 5, 0)
	f.raise(two, 3, 0)
	if got := []uint64{f.get(one, 0), f.get(two, 0), f.get(one, 1)}; got[0] != 7 || got[1] != 3 || got[2] != 0 {
		t.Error(got)
	}
	f.raise(two, 4, 1)
	f.raise(one, 9, 0) // by a reader that began before
	if got := []uint64{f.get(one, 1), f.get(two, 1), f.get(one, 0)}; got[0] != 0 || got[1] != 4 || got[2] != 0 {
		t.Error(got)
	}
}
