// SPDX-License-Identifier: MPL-2.0

package store

import (
	"math/rand/v2"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// accept submits a message and says whether it was taken for one that is there.
func (b *bench) accept(guid int64) (duplicate bool) {
	b.t.Helper()
	b.submit(message(guid))
	b.commit()
	if err := b.last().Err; err != nil {
		b.t.Fatal(err)
	}
	return b.last().Result.(Accepted).Duplicate
}

// conversation returns what the writer knows of the test's conversation.
func (b *bench) conversation() *conversationState {
	return b.writer.accounts[testAccount].conversations[ContactConversation(testContact)]
}

func TestGUIDSet_NewMessage_NotLookedUp(t *testing.T) {
	b := newBench(t, Options{})
	b.accept(1)
	b.writer.refresh()
	for guid := int64(2); guid < 100; guid++ {
		b.accept(guid)
		b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1000 + guid})
	}
	if b.writer.lookups != nil {
		t.Error("the database was asked")
	}
	b.commit()
	b.check()
}

func TestGUIDSet_KnownMessage_Found(t *testing.T) {
	b := newBench(t, Options{})
	b.accept(1)
	b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 2})
	b.commit()
	b.submit(message(3))
	inFlight := b.writer.next()
	b.submit(message(4))
	for _, restarted := range []bool{false, true} {
		if restarted { // what was being committed is in the database
			b.finish(inFlight)
			b.commit()
			b.writer.refresh()
			b.writer = newWriter(b.store)
		} else {
			b.conversation().known, b.writer.known = nil, 0 // read anew, over all layers
		}
		for _, guid := range []int64{1, 3, 4} {
			b.submit(message(guid))
		}
		b.submit(message(2)) // the same number in the other direction is another message
		if have := b.conversation().known.size(); have != 4 {
			t.Errorf("restarted %v: %d guids are known", restarted, have)
		}
	}
	b.commit()
	for i, w := range b.got[len(b.got)-8:] {
		if a, ok := w.Result.(Accepted); !ok || a.Duplicate != (i != 3) {
			t.Errorf("%d: %+v", i, w)
		}
	}
	b.check()
}

func TestGUIDsWithOneDigestAreTwoMessages(t *testing.T) {
	// Of 200,000 guids some have the digest of another: all different ones have a
	// chance of 1 in 100.
	var one, two int64
	seen := make(map[uint32]int64)
	for two = 1; one == 0 && two < 10_000_000; two++ {
		d := digest(two)
		one = seen[d]
		seen[d] = two
	}
	two--
	if one == 0 || digest(one) != digest(two) {
		t.Fatal("no two guids with one digest")
	}
	b := newBench(t, Options{})
	for i, guid := range []int64{one, two, one, two} {
		if duplicate := b.accept(guid); duplicate != (i >= 2) {
			t.Errorf("%d: duplicate %v", i, duplicate)
		}
	}
	b.check()
}

func TestKnownIsBounded(t *testing.T) {
	for name, limit := range map[string]func(b *bench){
		"no room": func(b *bench) { b.writer.known += maxKnown },
		"long conversation": func(b *bench) {
			c := b.conversation()
			b.writer.forget(c)
			c.lastOrder = maxKnownRead + 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			b.accept(1)
			limit(b)
			for guid := int64(1); guid < 9; guid++ {
				if duplicate := b.accept(guid); duplicate != (guid == 1) {
					t.Errorf("%d: duplicate %v", guid, duplicate)
				}
				if !b.accept(guid) {
					t.Errorf("%d is accepted twice", guid)
				}
			}
			if b.conversation().known != nil {
				t.Error("there is a set")
			}
		})
	}
}

func TestGUIDSet_RemovedAccount_FreesSpace(t *testing.T) {
	b := newBench(t, Options{})
	b.accept(1)
	other := identity.PublicKey{7}
	b.submit(PutAccount{Account: Account{ID: other}})
	b.submit(AddContact{Contact: Contact{Account: other, ID: testContact}})
	b.submit(AcceptMessage{Account: other, Conversation: ContactConversation(testContact), GUID: 1})
	if b.writer.known != 2 {
		t.Fatalf("%d guids are known", b.writer.known)
	}
	b.submit(RemoveAccount{Account: other})
	b.commit()
	if b.writer.known != 1 {
		t.Errorf("%d guids are known", b.writer.known)
	}
	b.check()
}

// TestGUIDSetIsASet compares it with a map, while it grows.
func TestGUIDSetIsASet(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s, want := newGUIDSet(), make(map[uint32]bool)
	for range 20_000 {
		guid := int64(r.Uint64())
		if s.has(guid) != want[digest(guid)] {
			t.Fatalf("%d: %v", guid, s.has(guid))
		}
		if !want[digest(guid)] {
			s.add(guid)
			want[digest(guid)] = true
		}
		if !s.has(guid) || s.size() != uint64(len(want)) || 4*s.used > 3*uint64(len(s.slots)) {
			t.Fatalf("%d of %d in %d slots", s.size(), len(want), len(s.slots))
		}
	}
	for _, d := range s.slots {
		if d != 0 && !want[d] {
			t.Errorf("digest %d is not of a guid", d)
		}
	}
	if digest(0) == 0 || (*guidSet)(nil).size() != 0 {
		t.Error("nothing is something")
	}
}
