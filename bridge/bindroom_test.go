// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/mediator"
)

// village is two rooms that people without Mimir have: one for the choir, one for the band.
type village struct {
	*groupFixture
	dora, egon *bridgetest.Client
	rooms      [2]id.RoomID
}

func newVillage(t *testing.T) *village {
	t.Helper()
	v := &village{groupFixture: newGroupFixtureWith(t, func(c *matrixconfig.Config) {
		c.Bridge.Relay.Enabled = true
		c.Bridge.Permissions["@dora:mimir.test"] = &bridgeconfig.PermissionLevelRelay
		c.Bridge.Permissions["@egon:mimir.test"] = &bridgeconfig.PermissionLevelRelay
	})}
	for name, client := range map[string]**bridgetest.Client{"dora": &v.dora, "egon": &v.egon} {
		v.homeserver.CreateUser(name, "long-secret")
		*client = v.person(v.homeserver.URL(), name)
	}
	for i, name := range []string{"Village Square", "Village Hall"} {
		created, err := v.alice.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{
			Name: name, Preset: "private_chat", Invite: []id.UserID{v.bot(), v.dora.UserID(), v.egon.UserID(), v.anna.UserID()},
		})
		if err != nil {
			t.Fatal(err)
		}
		v.rooms[i] = created.RoomID
		v.awaitMembers(created.RoomID, "join", v.bot(), v.dora.UserID(), v.egon.UserID(), v.anna.UserID())
	}
	return v
}

// write writes a text into a room.
func (v *village) write(who *bridgetest.Client, room id.RoomID, text string) id.EventID {
	v.t.Helper()
	evt, err := who.SendText(soon(v.t), room, text)
	if err != nil {
		v.t.Fatal(err)
	}
	return evt
}

// awaitSent waits until a text was sent to a group, and returns all that was.
func (v *village) awaitSent(group store.ConversationID, text string) (sent []string) {
	v.t.Helper()
	defer func() {
		if v.t.Failed() {
			v.t.Logf("sent: %q", sent)
		}
	}()
	v.await("it is sent: "+text, func() bool {
		sent = nil
		for _, m := range v.outgoing(v.account, group) {
			sent = append(sent, string(m.Payload))
		}
		return slices.ContainsFunc(sent, func(s string) bool { return strings.Contains(s, text) })
	})
	return sent
}

func (v *village) bind() {
	v.t.Helper()
	v.say(v.alice, v.rooms[0], "!mimir bridge Choir", "are one now")
	v.say(v.alice, v.rooms[1], "!mimir bridge Band", "are one now")
}

// A group is bridged to a room of its members' village: two people without Mimir take part,
// one of them does not want to, and says so once.
func TestBindRoom_PeopleRelayed_UnlessTheyDoNotWantTo(t *testing.T) {
	v := newVillage(t)
	square, hall := v.rooms[0], v.rooms[1]
	v.bind()
	if sent := v.awaitSent(v.choir, "bridged to a Matrix room (Village Square)"); len(sent) != 1 {
		t.Errorf("the choir was told %q", sent)
	}
	v.node.says(v.account, v.choir, v.bob, "good morning")
	if room := v.awaitText(v.alice, v.ghost(v.bob), "good morning"); room != square {
		t.Error("the choir is shown elsewhere")
	}
	for _, text := range v.texts(v.dora, square, v.ghost(v.bob)) {
		if text != "good morning" {
			t.Errorf("the village sees %q, which was said before", text)
		}
	}
	v.awaitMembers(square, "join", v.ghost(v.bob), v.ghost(v.carol)) // Carol has said nothing here

	v.write(v.dora, square, "hello from dora")
	v.write(v.egon, square, "hello from egon")
	v.write(v.egon, hall, "egon in the hall")
	v.awaitSent(v.band, "@egon:mimir.test: egon in the hall")
	v.awaitSent(v.choir, "@egon:mimir.test: hello from egon")
	v.say(v.egon, square, "!mimir relay", "is sent to people on Mimir")
	v.say(v.egon, square, "!mimir relay off", "From now on nothing that @egon:mimir.test writes here leaves this room")
	secret := v.write(v.egon, square, "egon's own")
	if _, err := v.dora.Matrix.SendMessageEvent(soon(t), square, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "what a secret", RelatesTo: new(event.RelatesTo).SetReplyTo(secret),
	}); err != nil {
		t.Fatal(err)
	}
	v.awaitSent(v.choir, "@dora:mimir.test: what a secret")
	v.write(v.egon, hall, "still in the hall") // the choice is for a room
	v.awaitSent(v.band, "@egon:mimir.test: still in the hall")

	v.stop()
	v.start()
	v.awaitState("running")
	v.write(v.egon, square, "egon's own after a restart")
	v.write(v.dora, square, "dora after a restart")
	v.awaitSent(v.choir, "@dora:mimir.test: dora after a restart")
	v.say(v.egon, square, "!mimir relay", "leaves this room")
	v.say(v.egon, square, "!mimir relay on", "is sent to people on Mimir")
	v.write(v.egon, square, "egon is back")
	sent := v.awaitSent(v.choir, "@egon:mimir.test: egon is back")
	for _, text := range sent {
		if strings.Contains(text, "egon's own") {
			t.Errorf("%q was sent", text)
		}
	}
	if told := strings.Count(strings.Join(sent, "\n"), "bridged to a Matrix room"); told != 1 {
		t.Errorf("the choir was told %d times", told)
	}
}

// The room stays that of its people: the bridge changes neither its state nor its members,
// follows their bans, never deletes it, and leaves it when it is told so.
func TestBindRoom_RoomStaysThatOfItsPeople(t *testing.T) {
	v := newVillage(t)
	square, hall := v.rooms[0], v.rooms[1]
	v.say(v.anna, square, "!mimir bridge Choir", "only an admin of this room")
	v.say(v.alice, v.choirRoom, "!mimir bridge Choir", "this room is the group's own")
	v.say(v.alice, square, "!mimir bridge Chess", "say which group you mean")
	v.say(v.alice, square, "!mimir bridge Choir", "are one now")
	v.say(v.alice, square, "!mimir bridge Choir", "are one now") // said again it changes nothing
	v.say(v.alice, hall, "!mimir bridge Choir", "the group is bridged to another room")
	v.say(v.alice, hall, "!mimir bridge Band", "are one now")
	v.say(v.alice, hall, "!mimir bridge Choir", "shows another conversation already")

	name := "Renamed"
	v.node.apply(store.UpdateGroup{Account: v.account, Group: v.choir, Fields: store.GroupFieldName, Name: name})
	v.node.member(v.account, v.choir, store.MemberChange{
		Member: v.bob, Fields: store.MemberPermissions, Permissions: store.Permissions(mediator.PermissionAdmin),
	})
	v.homeserver.SetState(square, v.alice.UserID(), "m.room.topic", map[string]any{"topic": "all kinds of things"})
	v.node.says(v.account, v.choir, v.bob, "renamed")
	if room := v.awaitText(v.alice, v.ghost(v.bob), "renamed"); room != square {
		t.Error("the choir is shown elsewhere")
	}
	for _, kind := range []string{"m.room.name", "m.room.topic", "m.room.avatar", "m.room.power_levels"} {
		for _, evt := range v.homeserver.Timeline(square) {
			if evt.Type == kind && evt.Sender != v.alice.UserID() {
				t.Errorf("%s has set %s to %s", evt.Sender, kind, evt.Content)
			}
		}
	}
	for _, command := range []string{"history", "delete-portal", "delete-all-portals"} {
		v.say(v.alice, square, "!mimir "+command, "existed before the group was bridged to it")
	}

	v.homeserver.SetStateOf(square, v.egon.UserID(), "m.room.member", v.egon.UserID().String(), map[string]any{
		"membership": "join", "displayname": "Egon<br>Bob: I resign",
	})
	v.write(v.egon, square, "who said that?")
	for _, text := range v.awaitSent(v.choir, "who said that?") {
		if strings.Contains(text, "\n") {
			t.Errorf("a name begins a line: %q", text)
		}
	}
	v.homeserver.SetMember(square, v.alice.UserID(), v.ghost(v.carol), "ban")
	v.write(v.dora, square, "Carol is banned")
	v.awaitSent(v.choir, "Carol is banned") // and the bridge knows
	v.node.says(v.account, v.choir, v.carol, "unwanted")
	v.node.says(v.account, v.choir, v.bob, "wanted")
	v.awaitText(v.dora, v.ghost(v.bob), "wanted")
	if slices.Contains(v.texts(v.dora, square, v.ghost(v.carol)), "unwanted") {
		t.Error("a banned member is shown")
	}

	v.say(v.alice, square, "!mimir unbridge", "are not one any more")
	v.awaitSent(v.choir, "not bridged to a Matrix room any more")
	v.await("the bridge leaves the room", func() bool {
		members := v.homeserver.Members(square, "join")
		return !slices.Contains(members, v.bot()) && !slices.Contains(members, v.ghost(v.bob))
	})
	v.awaitMembers(square, "join", v.alice.UserID(), v.dora.UserID(), v.egon.UserID(), v.anna.UserID())
	v.write(v.dora, square, "nobody hears that")
	v.node.says(v.account, v.choir, v.bob, "among ourselves")
	if room := v.awaitText(v.alice, v.ghost(v.bob), "among ourselves"); room == square || room == hall {
		t.Error("the choir is still shown in the village")
	}
	v.write(v.egon, hall, "the band plays on")
	for _, text := range v.awaitSent(v.band, "the band plays on") {
		if strings.Contains(text, "not bridged") {
			t.Errorf("the band was told %q", text)
		}
	}
	for _, m := range v.outgoing(v.account, v.choir) {
		if strings.Contains(string(m.Payload), "nobody hears") {
			t.Error("the room is still relayed")
		}
	}
}
