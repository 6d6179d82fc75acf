// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
)

func TestText_BothWays(t *testing.T) {
	w := newWorld(t)
	homeserver := w.withFake()
	account := w.node.addAccount("Alice")
	bob := w.node.addContact(account, "Bob")
	w.start()
	w.awaitState(bridge.StateRunning)
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice")
	w.attach(alice)

	w.node.receive(account, bob, "hello Alice")
	room := w.awaitText(alice, w.ghost(bob), "hello Alice")
	if _, err := alice.SendText(soon(t), room, "hello Bob"); err != nil {
		t.Fatal(err)
	}
	w.awaitOutgoing(account, bob, "hello Bob")
	sent := w.node.outgoing(account, bob)[0]
	if sent.State != store.StatePending || sent.Source == "" {
		t.Errorf("sent %+v", sent)
	}
}
