// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// readMark is the position of the last message that the user of an account has read.
func (n *testNode) readMark(account identity.PublicKey, conversation store.ConversationID) uint64 {
	n.t.Helper()
	seq, err := n.Cursor(store.ReadConsumer, account, conversation)
	if err != nil {
		n.t.Fatal(err)
	}
	if seq == 0 {
		return 0
	}
	events, err := n.ConversationEvents(account, conversation, seq-1, 1)
	if err != nil || len(events) != 1 {
		n.t.Fatalf("event %d: %v, %v", seq, events, err)
	}
	return events[0].Order
}

// movesMark moves a read mark to the newest message, as the page does.
func (f *groupFixture) movesMark(account identity.PublicKey, conversation store.ConversationID) {
	f.t.Helper()
	newest, err := f.node.ConversationMessages(account, conversation, 0, 1)
	if err == nil && len(newest) == 1 {
		err = f.node.MarkRead(soon(f.t), account, conversation, newest[0].Order)
	}
	if err != nil || len(newest) != 1 {
		f.t.Fatalf("%v, %v", newest, err)
	}
}

// reads sends a receipt of a person's client.
func (f *groupFixture) reads(who *bridgetest.Client, room id.RoomID, evt id.EventID, kind event.ReceiptType) {
	f.t.Helper()
	if err := who.Matrix.SendReceipt(soon(f.t), room, evt, kind, nil); err != nil {
		f.t.Fatal(err)
	}
}

// puppetReceipts are the events that the bridge has marked as read for a person: it sets the
// marker of the client as well.
func (f *groupFixture) puppetReceipts(who *bridgetest.Client, room id.RoomID) (events []id.EventID) {
	for _, r := range f.homeserver.Receipts() {
		if r.Room == room && r.User == who.UserID() && r.Marker == "m.fully_read" {
			events = append(events, r.Event)
		}
	}
	return events
}

func (f *groupFixture) awaitPuppetReceipts(who *bridgetest.Client, room id.RoomID, want ...id.EventID) {
	f.t.Helper()
	var have []id.EventID
	f.await("the double puppet has read the room", func() bool {
		have = f.puppetReceipts(who, room)
		return len(have) >= len(want)
	})
	if !slices.Equal(have, want) {
		f.t.Errorf("the bridge has marked %v as read, want %v", have, want)
	}
}

func (f *groupFixture) awaitMark(account identity.PublicKey, conversation store.ConversationID, order uint64) {
	f.t.Helper()
	f.await("the read mark has moved", func() bool { return f.node.readMark(account, conversation) >= order })
	if have := f.node.readMark(account, conversation); have != order {
		f.t.Errorf("read up to %d, want %d", have, order)
	}
}

func TestReadMarks_BothWays(t *testing.T) {
	f := newGroupFixture(t)
	bob := store.ContactConversation(f.bob)
	f.node.receive(f.account, f.bob, "second", "third")
	f.awaitText(f.alice, f.ghost(f.bob), "third")

	// A receipt moves the mark of its conversation, and of no other.
	f.reads(f.alice, f.choirRoom, f.eventOf(f.choirRoom, "la"), event.ReceiptTypeRead)
	f.awaitMark(f.account, f.choir, 1)
	f.reads(f.alice, f.bobAsContact, f.eventOf(f.bobAsContact, "second"), event.ReceiptTypeReadPrivate)
	f.awaitMark(f.account, bob, 2)
	f.reads(f.alice, f.bobAsContact, f.eventOf(f.bobAsContact, "I am Bob"), event.ReceiptTypeRead) // does not go back
	if f.node.readMark(f.account, f.band) != 0 || f.node.readMark(f.second, f.choir) != 0 {
		t.Error("another conversation has been read")
	}

	// A mark that moves elsewhere is a receipt, and the first of the double puppet: none
	// answers a receipt.
	f.movesMark(f.account, f.choir)
	f.awaitPuppetReceipts(f.alice, f.choirRoom, f.eventOf(f.choirRoom, "li"))
	f.movesMark(f.account, bob)
	f.awaitPuppetReceipts(f.alice, f.bobAsContact, f.eventOf(f.bobAsContact, "third"))
	f.movesMark(f.second, f.choir)
	f.awaitPuppetReceipts(f.anna, f.choirRoom, f.eventOf(f.choirRoom, "li"))
	f.awaitMark(f.account, f.choir, 2)

	// The receipt of an event that is not a message covers what the room had before it.
	f.node.receive(f.account, f.bob, "fourth")
	f.awaitText(f.alice, f.ghost(f.bob), "fourth")
	reaction, err := f.alice.Matrix.SendReaction(soon(t), f.bobAsContact, f.eventOf(f.bobAsContact, "fourth"), "👍")
	if err != nil {
		t.Fatal(err)
	}
	f.await("the cursor is behind the message", func() bool {
		at, err := f.node.Cursor("matrix", f.account, bob)
		events, failed := f.node.ConversationEvents(f.account, bob, at, 0)
		return err == nil && failed == nil && !slices.ContainsFunc(events, func(ev store.Event) bool { return ev.Kind == store.MessageReceived })
	})
	f.reads(f.alice, f.bobAsContact, reaction.EventID, event.ReceiptTypeRead)
	f.awaitMark(f.account, bob, 4)

	// One room in which receipts fail holds up neither its messages nor other rooms.
	f.homeserver.SetFault(bridgetest.Fault{
		Kind: bridgetest.FaultError,
		Only: func(r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/read_markers") && strings.Contains(r.URL.Path, string(f.bandRoom))
		},
	})
	f.movesMark(f.account, f.band)
	f.node.says(f.account, f.band, f.carol, "bang")
	f.awaitText(f.alice, f.ghost(f.carol), "bang")
	f.node.receive(f.account, f.bob, "fifth")
	f.awaitText(f.alice, f.ghost(f.bob), "fifth")
	f.movesMark(f.account, bob)
	f.awaitPuppetReceipts(f.alice, f.bobAsContact, f.eventOf(f.bobAsContact, "third"), f.eventOf(f.bobAsContact, "fifth"))

	// What was not sent is sent after a restart, only the last of it, and nothing twice.
	f.stop()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.movesMark(f.account, f.band)
	f.start()
	f.awaitPuppetReceipts(f.alice, f.bandRoom, f.eventOf(f.bandRoom, "bang"))
	f.node.says(f.second, f.choir, f.bob, "lo")
	f.awaitShown(f.choirRoom, "la", "li", "lo")
	f.movesMark(f.second, f.choir)
	f.awaitPuppetReceipts(f.anna, f.choirRoom, f.eventOf(f.choirRoom, "li"), f.eventOf(f.choirRoom, "lo"))
	f.awaitPuppetReceipts(f.alice, f.choirRoom, f.eventOf(f.choirRoom, "li"))

	// A new room has the receipt for what was read before.
	if _, err := f.alice.SendText(soon(t), f.bobAsContact, "!mimir history"); err != nil {
		t.Fatal(err)
	}
	again, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID != f.bobAsContact && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "fifth"
	})
	if err != nil {
		t.Fatal(err)
	}
	f.awaitPuppetReceipts(f.alice, again.RoomID, again.ID)
}
