// SPDX-License-Identifier: MPL-2.0

package actorstest

import (
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// Phone starts a phone at a node of its own, and waits until the tracker knows it.
func (w *World) Phone(name string, q phone.Quirks) *phone.Phone {
	w.t.Helper()
	p := phone.InMemory(w.t, w.Net, phone.Options{Name: name, Trackers: []identity.NodeKey{w.Tracker.Node}, Quirks: q, Log: w.t.Logf})
	p.Eventually(w.t, 10*time.Minute, "the phone is announced", func() bool { return p.Announced() > 0 })
	return p
}

// Owner starts a node, waits until the tracker knows it, and returns it with the key
// of its account.
func (w *World) Owner() (*Node, phone.Key) {
	w.t.Helper()
	n := w.Node("owner")
	n.AwaitAnnounced()
	return n, phone.Key(n.Account.ID)
}

// AwaitAnnounced waits until a tracker knows the node's account, which also says that
// the node can be reached.
func (n *Node) AwaitAnnounced() {
	n.w.t.Helper()
	n.Eventually("the node is announced", func() bool {
		trackers := n.Status().Trackers
		return len(trackers) > 0 && !trackers[0].AnnouncedUntil.IsZero()
	})
}

// AddPhone makes a phone a contact of the node's account.
func (n *Node) AddPhone(k phone.Key) {
	n.w.t.Helper()
	if _, err := n.AddContact(n.w.t.Context(), n.Account.ID, identity.Link{Key: identity.PublicKey(k)}); err != nil {
		n.w.t.Fatal(err)
	}
}

// SayTo queues a text for a phone.
func (n *Node) SayTo(to phone.Key, text string) phone.GUID {
	n.w.t.Helper()
	m, err := n.Send(n.w.t.Context(), node.Outgoing{Account: n.Account.ID, Contact: identity.PublicKey(to), Payload: []byte(text)})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return phone.GUID(m.ID.GUID)
}

// Stored returns the messages that the node has from a phone, in the order of
// arrival.
func (n *Node) Stored(from phone.Key) []store.Message {
	n.w.t.Helper()
	page, err := n.Messages(n.Account.ID, identity.PublicKey(from), 0, 0)
	if err != nil {
		n.w.t.Fatal(err)
	}
	var in []store.Message
	for i := len(page) - 1; i >= 0; i-- { // newest first
		if page[i].ID.Dir == store.In {
			in = append(in, page[i])
		}
	}
	return in
}

// HeardFrom returns the texts that the node has from a phone, in the order of
// arrival.
func (n *Node) HeardFrom(from phone.Key) []string {
	n.w.t.Helper()
	var texts []string
	for _, m := range n.Stored(from) {
		texts = append(texts, string(m.Payload))
	}
	return texts
}

// Brief shows texts without the middle of long ones.
func Brief(texts []string) string {
	var short []string
	for _, text := range texts {
		if len(text) > 20 {
			text = fmt.Sprintf("%s... (%d bytes)", text[:10], len(text))
		}
		short = append(short, text)
	}
	return fmt.Sprintf("%d: %q", len(texts), short)
}
