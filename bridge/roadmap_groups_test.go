// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// groups goes through two groups, of which alice is an admin of one and a user of the other.
func (r *roadmap) groups(t *testing.T) {
	carol := key("Carol")
	f := &groupFixture{fixture: r.fixture, bob: r.bob, carol: carol}
	f.choir, f.band = r.node.addGroup(r.account, 57, "Choir"), r.node.addGroup(r.account, 58, "Band")
	for _, group := range []store.ConversationID{f.choir, f.band} {
		r.node.join(r.account, group, "Bob", mediator.PermissionModerator)
		r.node.join(r.account, group, "Carol", mediator.PermissionUser)
	}
	f.hasRole(r.account, f.choir, mediator.PermissionAdmin)
	f.hasRole(r.account, f.band, mediator.PermissionUser)
	sung := r.node.says(r.account, f.choir, carol, "who sings?", "nobody")
	r.node.says(r.account, f.band, r.bob, "boom")
	choir, band := r.awaitText(r.alice, r.ghost(carol), "nobody"), r.awaitText(r.alice, r.ghost(r.bob), "boom")
	if choir == band {
		t.Fatal("two groups share a room")
	}
	r.groupMessages(t, f, choir, peer.GUID(sung[0].GUID), peer.GUID(sung[1].GUID))
	r.groupManaged(t, f, choir, band)
}

// groupMessages goes through what is said in a group, both ways.
func (r *roadmap) groupMessages(t *testing.T, f *groupFixture, choir id.RoomID, asked, answered peer.GUID) {
	shown, err := r.alice.WaitText(soon(t), choir, r.ghost(f.carol), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	r.node.relay(r.account, f.choir, store.GroupMessage{Author: r.bob, Payload: []byte("I do"), ReplyTo: int64(asked)})
	r.awaitText(r.alice, r.ghost(r.bob), "I do")
	r.node.relay(r.account, f.choir, store.GroupMessage{
		Author: r.bob, Type: int32(peer.TypeReaction), Payload: peer.Reaction{Emoji: "🎶", Target: asked}.AppendTo(nil), ReplyTo: int64(asked),
	})
	if _, err := r.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID == choir && evt.Type == event.EventReaction && evt.Sender == r.ghost(r.bob)
	}); err != nil {
		t.Errorf("the reaction is not shown: %v", err)
	}
	r.node.reports(r.account, f.choir, mediator.System{Event: mediator.EventMessageDeleted, Actor: f.carol, GUID: answered},
		store.GroupMessage{Deletes: true, DeletedGUID: int64(answered)})
	r.redacted(shown.ID, r.bot())

	mine := r.write(choir, "from alice")
	r.await("it is queued", func() bool { return len(f.outgoing(r.account, f.choir)) == 1 })
	content := &event.MessageEventContent{MsgType: event.MsgFile, Body: "score.png", Info: &event.FileInfo{MimeType: "image/png"}}
	r.upload(picture(t, 3, 3), content)
	r.put(choir, event.EventMessage, content)
	r.await("the file is queued", func() bool { return len(f.outgoing(r.account, f.choir)) == 2 })
	r.await("Dendrite redacts", func() bool { _, err := r.alice.Matrix.RedactEvent(soon(t), choir, mine); return err == nil })
	r.awaitGivenUp(func() []store.Message { return f.outgoing(r.account, f.choir) }, "from alice")
}

// groupManaged goes through the management of a group, from both sides.
func (r *roadmap) groupManaged(t *testing.T, f *groupFixture, choir, band id.RoomID) {
	ghost := r.ghost(f.carol)
	membership := func(want event.Membership) {
		t.Helper()
		r.await("Carol is "+string(want), func() bool {
			var content event.MemberEventContent
			err := r.alice.Matrix.StateEvent(soon(t), choir, event.StateMember, ghost.String(), &content)
			return err == nil && content.Membership == want
		})
	}
	name := func(room id.RoomID, want string) {
		t.Helper()
		r.await("the name is "+want, func() bool {
			var content event.RoomNameEventContent
			err := r.alice.Matrix.StateEvent(soon(t), room, event.StateRoomName, "", &content)
			return err == nil && content.Name == want
		})
	}
	r.await("alice has the power of an admin", func() bool { return f.level(choir, r.alice.UserID()) == 75 })
	f.setState(r.alice.Matrix, choir, event.StateRoomName, &event.RoomNameEventContent{Name: "Great Choir"})
	r.node.answer(f.task(r.account, f.choir), "")
	small := "Small Choir"
	r.node.reports(r.account, f.choir, mediator.System{Event: mediator.EventInfoChanged, Actor: r.bob, Name: &small}, store.GroupMessage{
		Info: &store.GroupInfo{Name: &small, Avatar: picture(t, 8, 8), SetAvatar: true},
	})
	name(choir, small)
	uploaded, err := r.alice.Matrix.UploadBytes(soon(t), picture(t, 4, 4), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	f.setState(r.alice.Matrix, choir, event.StateRoomAvatar, &event.RoomAvatarEventContent{URL: uploaded.ContentURI.CUString()})
	r.node.answer(f.task(r.account, f.choir), "")

	f.setLevel(r.alice.Matrix, choir, ghost, 50)
	r.node.answer(f.task(r.account, f.choir), "")
	r.node.reports(r.account, f.choir, mediator.System{
		Event: mediator.EventPermissions, User: f.carol, Actor: r.bob, Permissions: mediator.PermissionUser,
	}, store.GroupMessage{Member: &store.MemberChange{
		Member: f.carol, Fields: store.MemberPermissions, Permissions: store.Permissions(mediator.PermissionUser),
	}})
	r.await("Carol is a user", func() bool { return f.level(choir, ghost) == 0 })

	if _, err := r.alice.Matrix.BanUser(soon(t), choir, &mautrix.ReqBanUser{UserID: ghost}); err != nil {
		t.Fatal(err)
	}
	r.node.answer(f.task(r.account, f.choir), "")
	if _, err := r.alice.Matrix.UnbanUser(soon(t), choir, &mautrix.ReqUnbanUser{UserID: ghost}); err != nil {
		t.Fatal(err)
	}
	r.node.answer(f.task(r.account, f.choir), "")
	membership(event.MembershipJoin)
	r.node.reports(r.account, f.choir, mediator.System{Event: mediator.EventUserBanned, User: f.carol, Actor: r.bob}, store.GroupMessage{
		Member: &store.MemberChange{Member: f.carol, Fields: store.MemberStanding, Standing: store.StandingBanned},
	})
	membership(event.MembershipBan)
	for _, text := range r.texts(r.alice, choir, r.bot()) {
		if contains(text, "Great Choir") || contains(text, "Alice") {
			t.Errorf("the room is told %q", text)
		}
	}
	// Where the role does not allow it, the homeserver refuses.
	if _, err := r.alice.Matrix.SendStateEvent(soon(t), band, event.StateRoomName, "", &event.RoomNameEventContent{Name: "Mine"}); err == nil {
		t.Error("a user changes the name of the band")
	}
	name(band, "Band")
}

// groupAbsence has 500 messages of two groups come while the bridge is away.
func (r *roadmap) groupAbsence(t *testing.T) {
	choir, band := store.GroupConversation(mediatorNode, 57), store.GroupConversation(mediatorNode, 58)
	sung, played := numbered("verse", 400), numbered("beat", 100)
	r.stop()
	r.node.says(r.account, choir, r.bob, sung...)
	r.node.says(r.account, band, r.bob, played...)
	r.restart(t)
	room, other := r.awaitText(r.alice, r.ghost(r.bob), sung[len(sung)-1]), r.awaitText(r.alice, r.ghost(r.bob), played[len(played)-1])
	r.last(room, r.ghost(r.bob), sung...)
	r.last(other, r.ghost(r.bob), played...)
}

// groupInvited has somebody invite alice, and creates a group.
func (r *roadmap) groupInvited(t *testing.T) {
	f := &groupFixture{fixture: r.fixture, bob: r.bob}
	for chat, name := range map[uint64]string{67: "Opera", 68: "Orchestra"} {
		r.node.apply(store.ReceiveInvite{Group: store.Group{
			Account: r.account, Mediator: mediatorNode, Chat: chat, Name: name, Key: store.GroupKey{2}, Inviter: r.bob, Invite: 1,
		}})
	}
	for name, answer := range map[string][2]string{
		"Opera": {"!mimir accept", "You have accepted the invite"}, "Orchestra": {"!mimir decline", "You have declined the invite"},
	} {
		evt, err := r.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.Type == event.EventMessage && contains(evt.Content.AsMessage().Body, "invites you to the group "+name)
		})
		if err != nil {
			t.Fatal(err)
		}
		r.say(r.alice, evt.RoomID, answer[0], answer[1])
	}
	r.say(r.alice, r.management, "create-group Quartet", "The group is being created")
	f.account = r.account
	f.awaitCreation("Quartet")
	quartet := r.node.create(r.account, 69, "Quartet")
	r.node.says(r.account, quartet, r.bob, "in the quartet")
	room := r.awaitText(r.alice, r.ghost(r.bob), "in the quartet")
	r.say(r.alice, room, "!mimir leave-group", "You leave the group")
	r.node.answer(f.task(r.account, quartet), "")
	r.botSays(room, "You have left this group")
}

// groupShared has anna use an account that is in a group of alice's, and its room.
func (r *roadmap) groupShared(t *testing.T) {
	f := &groupFixture{fixture: r.fixture, bob: r.bob, second: r.node.addAccount("Anna")}
	trio := r.node.addGroup(r.account, 59, "Trio")
	r.node.join(r.account, trio, "Bob", mediator.PermissionUser)
	r.node.says(r.account, trio, r.bob, "one, two")
	room := r.awaitText(r.alice, r.ghost(r.bob), "one, two")
	anna := r.newUser("anna")
	r.say(anna, r.greeted(anna), "login attach", "You use the Mimir identity Anna")
	r.node.addGroup(f.second, 59, "Trio")
	r.node.join(f.second, trio, "Bob", mediator.PermissionUser)
	f.node.relay(f.second, trio, store.GroupMessage{Author: r.bob, Payload: []byte("one, two"), GUID: f.lastGUID(r.account, trio)})
	_, err := anna.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID == room && evt.Type == event.StateMember && evt.GetStateKey() == anna.UserID().String()
	})
	if err != nil {
		t.Fatalf("anna is not in alice's room: %v", err)
	}
	f.both(trio, r.bob, r.account, f.second, "three")
	f.both(trio, r.bob, f.second, r.account, "four")
	f.both(trio, r.account, f.second, r.account, "alice, elsewhere")
	r.shownBy(anna, room, r.alice.UserID(), "alice, elsewhere")
	if _, err := anna.SendText(soon(t), room, "and anna"); err != nil {
		t.Fatal(err)
	}
	r.await("anna's account sends it", func() bool { return len(f.outgoing(f.second, trio)) == 1 })
	if sent := f.outgoing(r.account, trio); len(sent) != 1 {
		t.Errorf("alice's account sends %d messages", len(sent))
	}
	f.both(trio, r.bob, r.account, f.second, "five")
	r.last(room, r.ghost(r.bob), "one, two", "three", "four", "five")
}
