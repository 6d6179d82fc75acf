// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"slices"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

// names are the names that a room had, with who has given them.
func (f *fixture) names(room id.RoomID) (names []string) {
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == "m.room.name" {
			var content event.RoomNameEventContent
			if err := json.Unmarshal(evt.Content, &content); err != nil {
				f.t.Fatal(err)
			}
			names = append(names, string(evt.Sender)+" "+content.Name)
		}
	}
	return names
}

func (f *fixture) nameRoom(room id.RoomID, name string) {
	f.t.Helper()
	if _, err := f.alice.Matrix.SendStateEvent(soon(f.t), room, event.StateRoomName, "", &event.RoomNameEventContent{Name: name}); err != nil {
		f.t.Fatal(err)
	}
}

func TestRoomName_GivenByUser_RenamesContact(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	carol, carols := f.conversation("Carol")
	alice, bot := string(f.alice.UserID())+" ", string(f.bot())+" "
	awaitNames := func(room id.RoomID, want ...string) {
		t.Helper()
		f.await("the room has its names", func() bool { return len(f.names(room)) >= len(want) })
		if have := f.names(room); !slices.Equal(have, want) {
			t.Errorf("the room was called %q, want %q", have, want)
		}
	}
	want := []string{bot + "Bob"}
	awaitNames(room, want...)

	f.nameRoom(room, "Bobby")
	f.awaitContact(bob, "called Bobby", func(c store.Contact) bool { return c.LocalName == "Bobby" })
	f.await("the ghost has the name", func() bool { return f.displayName(f.ghost(bob)) == "Bobby" })
	// The next name comes from the bot: nothing has answered that of alice.
	f.say(f.alice, room, "!mimir rename Robert", "is shown as Robert")
	want = append(want, alice+"Bobby", bot+"Robert")
	awaitNames(room, want...)
	// What a name must not have is taken out of it.
	f.nameRoom(room, "@Rob\u202eby ")
	f.awaitContact(bob, "called Robby", func(c store.Contact) bool { return c.LocalName == "Robby" })
	f.await("the name is clean", func() bool { return len(f.names(room)) == len(want)+2 })
	want = append(f.names(room)[:len(want)+1], bot+"Robby")
	awaitNames(room, want...)
	// Without a name the contact has their own.
	f.nameRoom(room, "")
	f.awaitContact(bob, "called Bob", func(c store.Contact) bool { return c.LocalName == "" })
	want = append(want, alice+"", bot+"Bob")
	awaitNames(room, want...)

	// Somebody who is not a contact any more is not renamed.
	f.node.apply(store.RemoveContact{Account: f.account, Contact: carol})
	f.nameRoom(carols, "Karla")
	f.said(f.alice, carols, "The contact is called as before: this contact is not on the node any more.")
	awaitNames(carols, bot+"Carol", alice+"Karla", bot+"Carol")
	awaitNames(room, want...)
}
