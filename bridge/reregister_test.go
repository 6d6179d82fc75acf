// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"
)

// The homeserver was restored from a copy that does not know a contact's ghost, while
// the bridge ran.
func TestRestoredHomeserver_ContactsRegisteredAgain(t *testing.T) {
	h := newHousehold(t)
	backup := h.homeserver.Backup()
	erin, first := h.conversation("Erin")
	h.conversationOfDave("Erin")
	h.awaitAllIn(first, h.alice, erin)
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })

	h.homeserver.Restore(backup)
	h.node.receive(h.account, erin, "are you there")
	h.node.receive(h.daveAccount, erin, "are you there, Dave")
	h.node.receive(h.account, h.bob, "I am still here")
	if room := h.awaitText(h.alice, h.ghost(h.bob), "I am still here"); room != h.aliceBob {
		t.Errorf("Bob is in %s, not in %s", room, h.aliceBob)
	}
	room := h.awaitText(h.alice, h.ghost(erin), "are you there")
	daveRoom := h.awaitText(h.dave, h.ghost(erin), "are you there, Dave")
	if name := h.displayName(h.ghost(erin)); name != "Erin" {
		t.Errorf("the ghost is called %q", name)
	}
	for _, text := range []string{"back again"} {
		h.awaitAllIn(room, h.alice, erin)
		if _, err := h.alice.SendText(soon(t), room, text); err != nil {
			t.Fatal(err)
		}
		h.awaitOutgoing(h.account, erin, text)
		h.awaitAllIn(daveRoom, h.dave, erin)
		if _, err := h.dave.SendText(soon(t), daveRoom, text); err != nil {
			t.Fatal(err)
		}
		h.awaitOutgoing(h.daveAccount, erin, text)
	}
}

// The homeserver was set up anew, and knows neither the bot nor a ghost nor a room.
func TestEmptyHomeserver_ContactsRegisteredAgain(t *testing.T) {
	h := newHousehold(t)
	h.homeserver.Empty()
	for _, text := range []string{"in a new house", "and another"} {
		h.node.receive(h.account, h.bob, text)
		h.node.receive(h.daveAccount, h.carol, text+", Dave")
		room := h.awaitText(h.alice, h.ghost(h.bob), text)
		daveRoom := h.awaitText(h.dave, h.ghost(h.carol), text+", Dave")
		if room == h.aliceBob || daveRoom == h.daveCarol {
			t.Error("it is one of the old rooms")
		}
	}
	if name := h.displayName(h.ghost(h.bob)); name != "Bob" {
		t.Errorf("the ghost is called %q", name)
	}
}
