// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// empower lets somebody upgrade a room of the bridge.
func (w *world) empower(room id.RoomID, who *bridgetest.Client) {
	w.t.Helper()
	bot, err := mautrix.NewClient(w.config.Homeserver.Address, w.bot(), w.config.AppService.ASToken)
	if err != nil {
		w.t.Fatal(err)
	}
	bot.SetAppServiceUserID = true
	defer bot.Client.CloseIdleConnections()
	var levels event.PowerLevelsEventContent
	if err := bot.StateEvent(soon(w.t), room, event.StatePowerLevels, "", &levels); err != nil {
		w.t.Fatal(err)
	}
	levels.SetUserLevel(who.UserID(), 100)
	if _, err := bot.SendStateEvent(soon(w.t), room, event.StatePowerLevels, "", &levels); err != nil {
		w.t.Fatal(err)
	}
}

// upgrade replaces a room as homeservers do, and returns the new one.
func (w *world) upgrade(who *bridgetest.Client, old id.RoomID, invite ...id.UserID) id.RoomID {
	w.t.Helper()
	made, err := who.Matrix.CreateRoom(soon(w.t), &mautrix.ReqCreateRoom{
		Preset:             "private_chat",
		CreationContent:    map[string]any{"predecessor": map[string]any{"room_id": old, "event_id": "$last"}},
		PowerLevelOverride: &event.PowerLevelsEventContent{Users: map[id.UserID]int{w.bot(): 100, who.UserID(): 100}},
		Invite:             invite,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = who.Matrix.SendStateEvent(soon(w.t), old, event.StateTombstone, "", &event.TombstoneEventContent{
		Body: "This room has been replaced", ReplacementRoom: made.RoomID,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return made.RoomID
}

func TestUpgradedRoom_ConversationMoved(t *testing.T) {
	h := newHousehold(t)
	h.empower(h.aliceBob, h.alice)
	h.empower(h.daveBob, h.dave)
	room, daveRoom := h.upgrade(h.alice, h.aliceBob), h.upgrade(h.dave, h.daveBob)
	h.said(h.alice, room, h.aliceBob.URI("mimir.test").MatrixToURL())
	h.said(h.dave, daveRoom, h.daveBob.URI("mimir.test").MatrixToURL())

	h.node.receive(h.account, h.bob, "in the new room")
	h.node.receive(h.daveAccount, h.bob, "in the new room, Dave")
	if in := h.awaitText(h.alice, h.ghost(h.bob), "in the new room"); in != room {
		t.Errorf("Bob writes in %s, want %s", in, room)
	}
	if in := h.awaitText(h.dave, h.ghost(h.bob), "in the new room, Dave"); in != daveRoom {
		t.Errorf("Bob writes to Dave in %s, want %s", in, daveRoom)
	}
	if _, err := h.alice.SendText(soon(t), room, "from the new room"); err != nil {
		t.Fatal(err)
	}
	h.awaitOutgoing(h.account, h.bob, "from the new room")
	if _, err := h.dave.SendText(soon(t), daveRoom, "from Dave's new room"); err != nil {
		t.Fatal(err)
	}
	h.awaitOutgoing(h.daveAccount, h.bob, "from Dave's new room")
	h.told(h.alice, h.aliceBob, "into the old room", "goes on in another room")
	h.awaitShown(room, "in the new room") // what was shown before is not shown again
}

// Somebody else may upgrade a room; the conversation moves when its owner is there.
func TestUpgradedRoom_OwnerNotIn_Waits(t *testing.T) {
	h := newHousehold(t)
	if _, err := h.alice.Matrix.InviteUser(soon(t), h.aliceBob, &mautrix.ReqInviteUser{UserID: h.dave.UserID()}); err != nil {
		t.Fatal(err)
	}
	h.await("dave is in", func() bool { return h.joined(h.aliceBob, h.dave.UserID()) })
	h.empower(h.aliceBob, h.dave)
	room := h.upgrade(h.dave, h.aliceBob, h.bot())
	h.said(h.alice, h.aliceBob, "when you are in it")
	h.node.receive(h.account, h.bob, "still in the old room")
	if in := h.awaitText(h.alice, h.ghost(h.bob), "still in the old room"); in != h.aliceBob {
		t.Errorf("Bob writes in %s, want %s", in, h.aliceBob)
	}
	if _, err := h.dave.Matrix.InviteUser(soon(t), room, &mautrix.ReqInviteUser{UserID: h.alice.UserID()}); err != nil {
		t.Fatal(err)
	}
	h.said(h.alice, room, "goes on here")
	h.node.receive(h.account, h.bob, "in the new room")
	if in := h.awaitText(h.alice, h.ghost(h.bob), "in the new room"); in != room {
		t.Errorf("Bob writes in %s, want %s", in, room)
	}
}

// A tombstone without the power to send it, which no homeserver should let through,
// moves nothing; nor does a room that names a predecessor which does not name it.
func TestUpgradedRoom_NotFollowedWithoutPower(t *testing.T) {
	h := newHousehold(t)
	room := h.upgrade(h.alice, h.aliceBob, h.bot())
	h.said(h.alice, h.aliceBob, "This room was replaced")
	other, err := h.alice.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{
		CreationContent: map[string]any{"predecessor": map[string]any{"room_id": h.aliceCarol, "event_id": "$last"}},
		Invite:          []id.UserID{h.bot()},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.await("the bot is in both", func() bool { return h.joined(room, h.bot()) && h.joined(other.RoomID, h.bot()) })
	h.say(h.alice, h.management, "list-logins", "Alice") // what came before was handled
	h.node.receive(h.account, h.bob, "stay")
	h.node.receive(h.account, h.carol, "stay, too")
	if in := h.awaitText(h.alice, h.ghost(h.bob), "stay"); in != h.aliceBob {
		t.Errorf("Bob writes in %s, want %s", in, h.aliceBob)
	}
	if in := h.awaitText(h.alice, h.ghost(h.carol), "stay, too"); in != h.aliceCarol {
		t.Errorf("Carol writes in %s, want %s", in, h.aliceCarol)
	}
}
