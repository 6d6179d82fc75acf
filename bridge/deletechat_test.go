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
)

// features is what a room says that can be done in it.
func (f *fixture) features(room id.RoomID) (last string) {
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == event.StateBeeperRoomFeatures.Type {
			last = string(evt.Content)
		}
	}
	return last
}

func TestMessageRequest_ChatDeleted_Declined(t *testing.T) {
	f := newFixture(t)
	bob, carol := f.node.ask(f.account, "Bob", "hello"), f.node.ask(f.account, "Carol", "hi")
	room, other := f.awaitText(f.alice, f.ghost(bob), "hello"), f.awaitText(f.alice, f.ghost(carol), "hi")
	f.await("it can be deleted", func() bool { return contains(f.features(room), `"delete_chat":true`) })
	f.put(room, event.BeeperDeleteChat, &event.BeeperChatDeleteEventContent{FromMessageRequest: true})
	f.awaitContact(bob, "declined", func(c store.Contact) bool { return c.Declined != 0 })
	f.await("the room is deleted", func() bool { return !f.joined(room, f.ghost(bob)) })
	if !f.joined(other, f.ghost(carol)) {
		t.Error("another room is deleted")
	}
}

func TestContact_ChatDeleted_ComesBackWithNextMessage(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	carol, other := f.conversation("Carol")
	f.await("it can be deleted", func() bool { return contains(f.features(room), `"delete_chat":true`) })
	f.put(room, event.BeeperDeleteChat, &event.BeeperChatDeleteEventContent{})
	f.await("the room is deleted", func() bool { return !f.joined(room, f.ghost(bob)) })
	f.awaitContact(bob, "accepted", isAccepted)
	f.node.receive(f.account, carol, "meanwhile")
	f.awaitShown(other, "I am Carol", "meanwhile")
	if f.roomWith(bob) != "" {
		t.Error("there is a room without a message")
	}
	f.node.receive(f.account, bob, "here again")
	f.await("there is another room", func() bool { again := f.roomWith(bob); return again != "" && again != room })
	f.awaitShown(f.roomWith(bob), "I am Bob", "here again")
}

// The rooms of a login are in a space of its own.
func TestRooms_InMatrixSpaceOfLogin(t *testing.T) {
	f := newFixture(t)
	_, first := f.conversation("Bob")
	_, second := f.conversation("Carol")
	space := f.spaceOf(first, second)
	f.await("alice is in it", func() bool { return f.joined(space, f.alice.UserID()) })
	if slices.Contains(f.children(space), f.management) {
		t.Error("the room with the bot is in it")
	}
}

// spaceOf waits until rooms are in one space.
func (f *fixture) spaceOf(rooms ...id.RoomID) (space id.RoomID) {
	f.t.Helper()
	f.await("the rooms are in a space", func() bool {
		for _, room := range f.homeserver.Rooms() {
			in := f.children(room)
			if !slices.ContainsFunc(rooms, func(r id.RoomID) bool { return !slices.Contains(in, r) }) {
				space = room
			}
		}
		return space != ""
	})
	return space
}

// children are the rooms in a space.
func (f *fixture) children(space id.RoomID) (rooms []id.RoomID) {
	for _, evt := range f.homeserver.Timeline(space) {
		if evt.Type == event.StateSpaceChild.Type && evt.StateKey != nil && contains(string(evt.Content), `"via"`) {
			rooms = append(rooms, id.RoomID(*evt.StateKey))
		}
	}
	return rooms
}

// The bot leaves a room that the user deletes one request after the other. A message that
// comes meanwhile must not find that room again, which is about to be without the bot.
func TestDeletePortal_MessageWhileRoomIsLeft_GetsAnotherRoom(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	_, other := f.conversation("Carol")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/leave") && r.URL.Query().Get("user_id") == string(f.bot())
	}})
	f.write(room, "!mimir delete-portal")
	f.await("the contact has left", func() bool { return !f.joined(room, f.ghost(bob)) })
	f.node.receive(f.account, bob, "where have you been")
	again := f.awaitText(f.alice, f.ghost(bob), "where have you been")
	if again == room {
		t.Error("the room that is left is used again")
	}
	f.homeserver.SetFault(bridgetest.Fault{})
	f.await("the bot has left", func() bool { return !f.joined(room, f.bot()) })
	f.node.receive(f.account, bob, "and now")
	if found := f.awaitText(f.alice, f.ghost(bob), "and now"); found != again {
		t.Errorf("the next message is in %s, not in %s", found, again)
	}
	f.awaitShown(other, "I am Carol")
}
