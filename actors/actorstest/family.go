// SPDX-License-Identifier: MPL-2.0

package actorstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// Family is a node with several accounts, and a device with several phones that share
// its node key; every phone is a contact of every account. Nothing but a handshake
// says whose a stream between the two is. Two accounts and two phones are the standing
// fixture for everything that sends or receives.
type Family struct {
	Node     *Node
	Accounts []identity.PublicKey
	Phones   []*phone.Phone

	w *World
	q phone.Quirks
	// What was said, by account and phone.
	fromNode, fromPhone [][][]string
}

// NewFamily starts a node with accounts and a device with phones. It must run inside
// testing/synctest: it waits a minute until all accounts are announced.
func (w *World) NewFamily(accounts, phones int, q phone.Quirks, change ...func(*node.Options)) *Family {
	w.t.Helper()
	f := &Family{w: w, q: q, Node: w.Node("account 0", change...)}
	f.Node.AwaitAnnounced()
	f.Accounts = append(f.Accounts, f.Node.Account.ID)
	for i := 1; i < accounts; i++ {
		a, err := f.Node.CreateAccount(w.t.Context(), fmt.Sprint("account ", i))
		if err != nil {
			w.t.Fatal(err)
		}
		f.Accounts = append(f.Accounts, a.ID)
	}
	f.startPhones(phones)
	for _, p := range f.Phones {
		p.Eventually(w.t, 10*time.Minute, "the phone is announced", func() bool { return p.Announced() > 0 })
	}
	for _, a := range f.Accounts {
		for _, p := range f.Phones {
			if _, err := f.Node.AddContact(w.t.Context(), a, identity.Link{Key: identity.PublicKey(p.Key())}); err != nil {
				w.t.Fatal(err)
			}
			p.AddContact(phone.Key(a))
		}
		f.fromNode = append(f.fromNode, make([][]string, phones))
		f.fromPhone = append(f.fromPhone, make([][]string, phones))
	}
	virtual.Sleep(time.Minute) // all accounts are announced
	return f
}

func (f *Family) startPhones(n int) {
	var options []phone.Options
	for i := range n {
		options = append(options, phone.Options{
			Name: fmt.Sprint("phone ", i), Trackers: []identity.NodeKey{f.w.Tracker.Node}, Quirks: f.q, Log: f.w.t.Logf,
		})
	}
	f.Phones = phone.DeviceInMemory(f.w.t, f.w.Net, options...)
}

// Move switches all phones off, and on again at a new node key without what they had.
func (f *Family) Move() {
	f.w.t.Helper()
	for _, p := range f.Phones {
		p.Stop()
	}
	virtual.Sleep(time.Minute)
	f.startPhones(len(f.Phones))
	f.Each(func(a, p int) {
		f.Phones[p].AddContact(phone.Key(f.Accounts[a]))
		f.fromNode[a][p] = nil // gone with the old device
	})
}

// Each calls do for every pair of an account and a phone.
func (f *Family) Each(do func(a, p int)) {
	for a := range f.Accounts {
		for p := range f.Phones {
			do(a, p)
		}
	}
}

// TextOf returns a text of a size that says between whom it is.
func TextOf(from string, a, p, size int) string {
	text := fmt.Sprintf("%s, account %d, phone %d: ", from, a, p)
	return text + strings.Repeat("x", max(0, size-len(text)))
}

// PhoneSays writes a text of a size from a phone to an account.
func (f *Family) PhoneSays(a, p, size int) {
	text := TextOf("to the node", a, p, size)
	f.fromPhone[a][p] = append(f.fromPhone[a][p], text)
	f.Phones[p].Write(phone.Key(f.Accounts[a]), text)
}

// NodeSaid notes a text that the test itself has queued for a phone.
func (f *Family) NodeSaid(a, p int, text string) { f.fromNode[a][p] = append(f.fromNode[a][p], text) }

// NodeSays queues a text of a size from an account to a phone.
func (f *Family) NodeSays(a, p, size int) {
	f.w.t.Helper()
	text := TextOf("to the phone", a, p, size)
	f.NodeSaid(a, p, text)
	if _, err := f.Node.Send(f.w.t.Context(), node.Outgoing{Account: f.Accounts[a], Contact: f.Contact(p), Payload: []byte(text)}); err != nil {
		f.w.t.Fatal(err)
	}
}

// Contact returns a phone's identity.
func (f *Family) Contact(p int) identity.PublicKey { return identity.PublicKey(f.Phones[p].Key()) }

// Heard returns the texts that an account has from a phone, in the order of arrival.
func (f *Family) Heard(a, p int) []string {
	f.w.t.Helper()
	page, err := f.Node.Messages(f.Accounts[a], f.Contact(p), 0, 0)
	if err != nil {
		f.w.t.Fatal(err)
	}
	var texts []string
	for _, m := range slices.Backward(page) {
		if m.ID.Dir == store.In {
			texts = append(texts, string(m.Payload))
		}
	}
	return texts
}

// Settle waits until everything has arrived and is acknowledged, on both sides.
func (f *Family) Settle(within time.Duration) {
	f.w.t.Helper()
	f.Node.EventuallyWithin(within, "everything has arrived and is acknowledged", func() bool {
		done := true
		f.Each(func(a, p int) {
			waiting, err := f.Node.Waiting(f.Accounts[a])
			key := phone.Key(f.Accounts[a])
			done = done && err == nil && waiting == 0 && len(f.Phones[p].Waiting(key)) == 0
		})
		return done
	})
}

// CheckOnce checks that each has what was said to them: once, and nothing that was
// said to somebody else.
func (f *Family) CheckOnce() {
	f.w.t.Helper()
	same := func(got, want []string) bool {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
		return slices.Equal(got, want)
	}
	f.Each(func(a, p int) {
		if got := f.Heard(a, p); !same(got, f.fromPhone[a][p]) {
			f.w.t.Errorf("account %d has from phone %d: %s, want %s", a, p, Brief(got), Brief(f.fromPhone[a][p]))
		}
		if got := f.Phones[p].Page(phone.Key(f.Accounts[a])).Texts(); !same(got, f.fromNode[a][p]) {
			f.w.t.Errorf("phone %d has from account %d: %s, want %s", p, a, Brief(got), Brief(f.fromNode[a][p]))
		}
	})
}
