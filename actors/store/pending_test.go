// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
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
	var found []PendingConversation
	for _, at := range p.found {
		found = append(found, at.PendingConversation)
	}
	return found
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
	for range maxPendingEvents + 100 { // behind the floor
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

// TestPending_StoredFloor_SameAnswer moves the cursors of a hundred conversations at random:
// what Pending says after a start, with the floors that are stored, after a crash too, is
// what a visit of all says, and Check agrees with the floors.
func TestPending_StoredFloor_SameAnswer(t *testing.T) {
	const conversations = 100 // more than a floor leaves out
	stored := make(map[identity.PublicKey]int)
	for seed := range uint64(3) {
		random, power := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		fs := vfs.NewCrashableMem()
		opts := Options{FS: fs}
		b := newBench(t, opts)
		accounts := []identity.PublicKey{modelKey(1), modelKey(2)}
		var all []ConversationID
		for i := range conversations {
			id := identity.PublicKey{byte(i), 7}
			all = append(all, ContactConversation(id))
		}
		all = append(all, ConversationID{}, GroupConversation(identity.NodeKey{9}, 7))
		people := func(account identity.PublicKey) {
			b.submit(PutAccount{Account: Account{ID: account}})
			for _, id := range all[:conversations] {
				b.submit(AddContact{Contact: Contact{Account: account, ID: id.Contact()}})
			}
			b.submit(AddGroup{Account: account, Mediator: identity.NodeKey{9}, Chat: 7})
			b.commit()
		}
		for _, account := range accounts {
			people(account)
			samePending(t, b.store, "before the first move")
		}
		// In one account most conversations are behind, in the other few.
		lagging := map[identity.PublicKey]int{accounts[0]: 80, accounts[1]: 5}
		guid := int64(0)
		for step := range 1200 {
			account := accounts[random.IntN(2)]
			conversation := all[random.IntN(len(all))]
			switch n := random.IntN(100); {
			case n < 30 && !conversation.IsZero():
				guid++
				b.submit(AcceptMessage{Account: account, Conversation: conversation, GUID: guid})
			case n < 98:
				at := random.IntN(len(all))
				if at < lagging[account] && random.IntN(50) > 0 {
					at = len(all) - 1 - at%10
				}
				last, err := b.store.LastEvent(account)
				if err != nil {
					t.Fatal(err)
				}
				last -= min(last-1, uint64(random.IntN(8)/6*random.IntN(20)))
				b.submit(MoveCursor{Consumer: []string{"m", "mm"}[random.IntN(8)/7], Account: account, Conversation: all[at], Seq: last})
			case n < 99 && random.IntN(4) == 0:
				b.submit(RemoveAccount{Account: account})
				people(account)
			}
			if random.IntN(10) == 0 {
				b.commit()
			}
			if random.IntN(300) != 0 {
				continue
			}
			if random.IntN(2) == 0 {
				b.commit()
				samePending(t, b.store, fmt.Sprint("step ", step, " of seed ", seed))
			}
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: power})
			b.writer.abandon(errStopping)
			if err := b.store.Close(); err != nil {
				t.Fatal(err)
			}
			opts.FS = fs
			b = newBench(t, opts)
			if problems, err := b.store.Check(); len(problems) > 0 || err != nil {
				t.Fatalf("step %d of seed %d: %q, %v", step, seed, problems, err)
			}
			for _, account := range accounts {
				err := b.store.read(func(r rows) error {
					if readFloor(r, floorOf{account, "m"}).Seq > 0 {
						stored[account]++
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			samePending(t, b.store, fmt.Sprint("step ", step, " of seed ", seed, " after a start"))
		}
	}
	for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
		if stored[account] == 0 {
			t.Errorf("no start has found a floor of %s", account.Short())
		}
	}
}

// A consumer that never asks what is pending has no floor.
func TestPending_NeverAsked_NoFloor(t *testing.T) {
	b := newBench(t, Options{})
	for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
		b.submit(PutAccount{Account: Account{ID: account}})
		for i := range uint64(2 * floorMoves) {
			b.submit(AddContact{Contact: Contact{Account: account, ID: identity.PublicKey{byte(i), byte(i >> 8), 1}}})
			b.submit(MoveCursor{Consumer: "m", Account: account, Seq: i + 1})
		}
		b.commit()
		stored, err := allRows(b.store)
		if err != nil {
			t.Fatal(err)
		}
		if value, ok := stored[string(floorKey(account, "m"))]; ok {
			t.Errorf("floor of %s: %x", account.Short(), value)
		}
	}
}

// A floor that says too much, or cannot be read, is named. One that cannot be read is
// replaced.
func TestCheck_Floor_Wrong(t *testing.T) {
	b := newBench(t, Options{})
	for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
		b.submit(PutAccount{Account: Account{ID: account}})
		b.submit(AddContact{Contact: Contact{Account: account, ID: modelKey(3)}})
		b.submit(AddContact{Contact: Contact{Account: account, ID: modelKey(4)}})
	}
	b.commit()
	of := floorOf{modelKey(2), "m"}
	key := string(floorKey(of.account, of.consumer))
	short := fmt.Sprintf("%x", key)
	right := floor{Seq: 3, Except: []ConversationID{{}, ContactConversation(modelKey(3)), ContactConversation(modelKey(4))}}
	many := floor{Seq: 3, Except: slices.Repeat(right.Except, maxFloorExcept)}
	for _, c := range []struct {
		name  string
		value any
		right bool
	}{
		{"right", right, true},
		{"passes over a conversation", floor{Seq: 3, Except: right.Except[:2]}, false},
		{"behind the end of the log", floor{Seq: 4, Except: right.Except}, false},
		{"leaves out too many", many, false},
		{"of another type", "text", false},
	} {
		raw, err := encode(c.value)
		if err != nil {
			t.Fatal(err)
		}
		value := string(raw)
		b.store.change(t, map[string]*string{key: &value})
		problems, err := b.store.Check()
		named := slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, short) })
		if err != nil || named == c.right {
			t.Errorf("%s: %q, %v", c.name, problems, err)
		}
	}
	samePending(t, b.store, "the floor cannot be read")
	b.submit(MoveCursor{Consumer: "m", Account: of.account, Conversation: ContactConversation(modelKey(3)), Seq: 1})
	b.commit()
	if problems, err := b.store.Check(); len(problems) > 0 || err != nil {
		t.Errorf("%q, %v", problems, err)
	}
}

// A floor that was read before an account was removed says nothing about the account
// that has its id afterwards.
func TestFloors_Removal_ForgetsAll(t *testing.T) {
	var f floors
	one, two := floorOf{modelKey(1), "m"}, floorOf{modelKey(2), "m"}
	get := func(of floorOf, removals uint64) uint64 {
		known, asked := f.get(of, removals)
		if !asked {
			t.Errorf("%s has not asked", of.account.Short())
		}
		return known.Seq
	}
	f.raise(one, floor{Seq: 7}, 0)
	f.raise(one, floor{Seq: 5}, 0)
	f.raise(two, floor{Seq: 3}, 0)
	if got := []uint64{get(one, 0), get(two, 0), get(one, 1)}; got[0] != 7 || got[1] != 3 || got[2] != 0 {
		t.Error(got)
	}
	f.raise(two, floor{Seq: 4}, 1)
	f.raise(one, floor{Seq: 9}, 0) // by a reader that began before
	if got := []uint64{get(one, 1), get(two, 1), get(one, 0)}; got[0] != 0 || got[1] != 4 || got[2] != 0 {
		t.Error(got)
	}
	if _, asked := f.get(floorOf{modelKey(1), "mm"}, 1); asked {
		t.Error("a consumer that has not asked is known")
	}
}
