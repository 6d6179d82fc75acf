// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"testing"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// groupFixture is a bridge with two logins in two groups, choir and band, each with two other
// members, Bob and Carol; Bob is a contact of alice, too. Both logins have heard the choir, and
// alice the band.
type groupFixture struct {
	*fixture
	anna         *bridgetest.Client
	second       identity.PublicKey // anna's account
	choir, band  store.ConversationID
	bob, carol   identity.PublicKey
	choirRoom    id.RoomID // of both
	bandRoom     id.RoomID // of both
	bobAsContact id.RoomID // of alice
}

func newGroupFixture(t *testing.T) *groupFixture {
	t.Helper()
	return newGroupFixtureWith(t, func(*matrixconfig.Config) {})
}

func newGroupFixtureWith(t *testing.T, configure func(*matrixconfig.Config)) *groupFixture {
	t.Helper()
	f := &groupFixture{fixture: newFixtureWith(t, func(c *matrixconfig.Config) {
		c.Bridge.Permissions["@anna:mimir.test"] = &bridgeconfig.PermissionLevelAdmin
		configure(c)
	})}
	f.second = f.node.addAccount("Anna")
	f.homeserver.CreateUser("anna", "long-secret")
	f.anna = f.person(f.homeserver.URL(), "anna")
	f.say(f.anna, f.greeted(f.anna), "login attach", "You use the Mimir identity Anna")
	f.bob, f.carol = key("Bob"), key("Carol")
	f.node.addContact(f.account, "Bob")
	f.node.receive(f.account, f.bob, "I am Bob")
	f.bobAsContact = f.awaitText(f.alice, f.ghost(f.bob), "I am Bob")
	for _, account := range []identity.PublicKey{f.account, f.second} {
		f.choir, f.band = f.node.addGroup(account, 7, "Choir"), f.node.addGroup(account, 8, "Band")
		for _, group := range []store.ConversationID{f.choir, f.band} {
			f.node.join(account, group, "Bob", mediator.PermissionModerator)
			f.node.join(account, group, "Carol", mediator.PermissionUser)
			for _, ours := range []identity.PublicKey{f.account, f.second} {
				f.node.member(account, group, store.MemberChange{
					Member: ours, Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(mediator.PermissionUser),
				})
			}
		}
	}
	f.node.says(f.account, f.choir, f.bob, "la")
	f.node.says(f.account, f.choir, f.carol, "li")
	f.choirRoom = f.awaitText(f.alice, f.ghost(f.carol), "li")
	f.node.says(f.second, f.choir, f.bob, "la")
	f.node.says(f.second, f.choir, f.carol, "li")
	f.awaitText(f.anna, f.ghost(f.carol), "li")
	f.node.says(f.account, f.band, f.bob, "boom")
	f.bandRoom = f.awaitText(f.alice, f.ghost(f.bob), "boom")
	return f
}

func (f *groupFixture) state(room id.RoomID, kind string) (content string) {
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == kind {
			content = string(evt.Content)
		}
	}
	return content
}

func (f *groupFixture) awaitMembers(room id.RoomID, membership string, want ...id.UserID) {
	f.t.Helper()
	var have []id.UserID
	f.await("the members are right", func() bool {
		have = f.homeserver.Members(room, membership)
		return !slices.ContainsFunc(want, func(user id.UserID) bool { return !slices.Contains(have, user) })
	})
}

// choirHandled waits until the bridge has handled what has happened in alice's room.
func (f *groupFixture) choirHandled() {
	f.t.Helper()
	if _, err := f.alice.SendText(soon(f.t), f.choirRoom, "handled?"); err != nil {
		f.t.Fatal(err)
	}
	f.await("the bridge has handled a message", func() bool {
		page, err := f.node.ConversationMessages(f.account, f.choir, 0, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		return slices.ContainsFunc(page, func(m store.Message) bool { return string(m.Payload) == "handled?" })
	})
}

func TestGroups_MessagesShown_InRoomsOfTheirOwn(t *testing.T) {
	f := newGroupFixture(t)
	if f.choirRoom == f.bandRoom || f.choirRoom == f.bobAsContact {
		t.Fatal("two conversations share a room")
	}
	if name, topic := f.state(f.choirRoom, "m.room.name"), f.state(f.choirRoom, "m.room.topic"); !contains(name, "Choir") || !contains(topic, "About Choir") {
		t.Errorf("the room has the name %s and the topic %s", name, topic)
	}
	f.awaitShown(f.choirRoom, "la", "li")
	f.awaitShown(f.bandRoom, "boom")
	f.awaitMembers(f.bandRoom, "join", f.ghost(f.carol)) // has said nothing there
	f.await("Bob may moderate", func() bool {
		return contains(f.state(f.choirRoom, "m.room.power_levels"), `"`+f.ghost(f.bob).String()+`":50`)
	})
	if name := f.displayName(f.ghost(f.carol)); name != "Carol" {
		t.Errorf("Carol is called %q", name)
	}
}

func TestGroups_RepliesReactionsDeletions_Shown(t *testing.T) {
	f := newGroupFixture(t)
	ids := f.node.says(f.account, f.choir, f.carol, "who sings?", "I do not")
	target := peer.GUID(ids[0].GUID)
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("me"), ReplyTo: int64(target)})
	f.awaitText(f.alice, f.ghost(f.bob), "me")
	for _, author := range []identity.PublicKey{f.bob, f.carol} {
		f.node.relay(f.account, f.choir, store.GroupMessage{
			Author: author, Type: int32(peer.TypeReaction), Payload: peer.Reaction{Emoji: "🎶", Target: target}.AppendTo(nil), ReplyTo: int64(target),
		})
	}
	reactions := func() (senders []id.UserID) {
		for _, evt := range f.homeserver.Timeline(f.choirRoom) {
			if evt.Type == "m.reaction" {
				senders = append(senders, evt.Sender)
			}
		}
		return senders
	}
	f.await("both reactions are shown", func() bool { return len(reactions()) == 2 })
	if !slices.Contains(reactions(), f.ghost(f.bob)) || !slices.Contains(reactions(), f.ghost(f.carol)) {
		t.Errorf("the reactions are of %s", reactions())
	}

	gone := ids[1]
	evt, err := f.alice.WaitText(soon(t), f.choirRoom, f.ghost(f.carol), "I do not")
	if err != nil {
		t.Fatal(err)
	}
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventMessageDeleted, Actor: f.carol, GUID: peer.GUID(gone.GUID)},
		store.GroupMessage{Deletes: true, DeletedGUID: gone.GUID})
	if _, err := f.alice.Wait(soon(t), func(e *event.Event) bool { return e.Type == event.EventRedaction && e.Redacts == evt.ID }); err != nil {
		t.Errorf("it is not deleted: %v", err)
	}
	f.node.says(f.account, f.choir, f.bob, "afterwards")
	f.awaitText(f.alice, f.ghost(f.bob), "afterwards")
}

func TestGroups_UnreadableAndSystem_AreNotices(t *testing.T) {
	f := newGroupFixture(t)
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.carol, Unreadable: true, Payload: []byte{1, 2, 3}})
	unreadable := isNotice(f.choirRoom, "could not be decrypted or read")
	if _, err := f.alice.Wait(soon(t), func(evt *event.Event) bool { return unreadable(evt) && evt.Sender == f.ghost(f.carol) }); err != nil {
		t.Errorf("no notice of Carol: %v", err)
	}
	dave := key("Dave")
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventUserAdded, User: dave, Actor: f.bob}, store.GroupMessage{
		Member: &store.MemberChange{Member: dave, Fields: store.MemberStanding | store.MemberPermissions, Permissions: store.Permissions(mediator.PermissionUser)},
	})
	f.botSays(f.choirRoom, "Mimir "+dave.Short()+" has joined the group, invited by Bob.")
	f.awaitMembers(f.choirRoom, "join", f.ghost(dave))
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventUserLeft, User: dave}, store.GroupMessage{
		Member: &store.MemberChange{Member: dave, Fields: store.MemberStanding, Standing: store.StandingLeft},
	})
	f.botSays(f.choirRoom, "Mimir "+dave.Short()+" has left the group.")
	f.awaitMembers(f.choirRoom, "leave", f.ghost(dave))
	name := "Great Choir"
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventInfoChanged, Actor: f.bob, Name: &name}, store.GroupMessage{
		Info: &store.GroupInfo{Name: &name, Avatar: picture(t, 8, 8), SetAvatar: true},
	})
	f.botSays(f.choirRoom, "Bob has changed the name of the group to Great Choir.")
	f.await("the room has name and picture", func() bool {
		return contains(f.state(f.choirRoom, "m.room.name"), name) && contains(f.state(f.choirRoom, "m.room.avatar"), "mxc://")
	})
}

func TestGroups_RoomDeleted_HistoryShown(t *testing.T) {
	f := newGroupFixture(t)
	texts := append([]string{"la", "li"}, numbered("verse", 100)...)
	f.node.says(f.account, f.choir, f.bob, texts[2:]...)
	f.awaitText(f.alice, f.ghost(f.bob), "verse 99")
	if _, err := f.alice.SendText(soon(t), f.choirRoom, "!mimir delete-portal"); err != nil {
		t.Fatal(err)
	}
	f.await("the room is given up", func() bool { return !slices.Contains(f.homeserver.Members(f.choirRoom, "join"), f.ghost(f.bob)) })
	f.node.says(f.account, f.choir, f.carol, "anew")
	evt, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID != f.choirRoom && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "anew"
	})
	if err != nil {
		t.Fatal(err)
	}
	f.awaitShown(evt.RoomID, append(texts, "anew")...)
}

func TestGroups_Banned_GhostBannedInRoom(t *testing.T) {
	f := newGroupFixture(t)
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventUserBanned, User: f.carol, Actor: f.bob}, store.GroupMessage{
		Member: &store.MemberChange{Member: f.carol, Fields: store.MemberStanding, Standing: store.StandingBanned},
	})
	f.botSays(f.choirRoom, "Bob has banned Carol from the group.")
	f.awaitMembers(f.choirRoom, "ban", f.ghost(f.carol))
	f.awaitMembers(f.bandRoom, "join", f.ghost(f.carol))
	// What she has said before that came late. The homeserver pushes that the ban has ended
	// after the bridge has let her in, and that she has come not at all.
	f.choirHandled()
	f.homeserver.SetPushing(false)
	f.node.says(f.account, f.choir, f.carol, "before that")
	f.awaitText(f.alice, f.ghost(f.carol), "before that")
	f.homeserver.PushOne()
	f.awaitMembers(f.choirRoom, "ban", f.ghost(f.carol))
	f.homeserver.SetPushing(true)
	// The same of somebody who has left.
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventUserLeft, User: f.bob}, store.GroupMessage{
		Member: &store.MemberChange{Member: f.bob, Fields: store.MemberStanding, Standing: store.StandingLeft},
	})
	f.awaitMembers(f.choirRoom, "leave", f.ghost(f.bob))
	f.node.says(f.account, f.choir, f.bob, "goodbye")
	f.awaitText(f.alice, f.ghost(f.bob), "goodbye")
	f.awaitMembers(f.choirRoom, "leave", f.ghost(f.bob))
	f.awaitMembers(f.bandRoom, "join", f.ghost(f.bob))
}

func TestGroups_FromMatrix_QueuedForGroup(t *testing.T) {
	f := newGroupFixture(t)
	said, err := f.alice.WaitText(soon(t), f.choirRoom, f.ghost(f.carol), "li")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := f.alice.SendText(soon(t), f.choirRoom, "from alice")
	if err != nil {
		t.Fatal(err)
	}
	outgoing := func(account identity.PublicKey, group store.ConversationID) (sent []store.Message) {
		page, err := f.node.ConversationMessages(account, group, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range slices.Backward(page) {
			if m.ID.Dir == store.Out {
				sent = append(sent, m)
			}
		}
		return sent
	}
	f.await("it is queued", func() bool { return len(outgoing(f.account, f.choir)) == 1 })
	if m := outgoing(f.account, f.choir)[0]; string(m.Payload) != "from alice" {
		t.Errorf("queued %q", m.Payload)
	}
	if _, err := f.alice.Matrix.SendReaction(soon(t), f.choirRoom, said.ID, "🎶"); err != nil {
		t.Fatal(err)
	}
	f.await("the reaction is queued", func() bool { return len(outgoing(f.account, f.choir)) == 2 })
	if others := outgoing(f.second, f.choir); len(others) != 0 {
		t.Errorf("the other login has queued %d", len(others))
	}
	// What the mediator does not have is cancelled, what it has is deleted for everybody.
	if _, err := f.alice.Matrix.RedactEvent(soon(t), f.choirRoom, mine); err != nil {
		t.Fatal(err)
	}
	f.await("it is cancelled", func() bool { return outgoing(f.account, f.choir)[0].State == store.StateFailed })
	// Alice's role does not allow to delete what Carol has said.
	if _, err := f.alice.Matrix.RedactEvent(soon(t), f.choirRoom, said.ID); err != nil {
		t.Fatal(err)
	}
	f.botSays(f.choirRoom, "only its author, or an owner, admin or moderator")
	if tasks, err := f.node.GroupTasks(f.account, f.choir, 10); err != nil || len(tasks) != 0 {
		t.Errorf("%d tasks, %v", len(tasks), err)
	}
}

func TestGroups_Invite_AcceptedAndDeclined(t *testing.T) {
	f := newGroupFixture(t)
	for chat, name := range map[uint64]string{9: "Opera", 10: "Orchestra"} {
		f.node.apply(store.ReceiveInvite{Group: store.Group{
			Account: f.account, Mediator: mediatorNode, Chat: chat, Name: name, Key: store.GroupKey{2}, Inviter: f.bob, Invite: 1,
		}})
	}
	room := func(name string) id.RoomID {
		evt, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.Type == event.EventMessage && contains(evt.Content.AsMessage().Body, "Bob invites you to the group "+name)
		})
		if err != nil {
			t.Fatal(err)
		}
		return evt.RoomID
	}
	opera, orchestra := room("Opera"), room("Orchestra")
	f.await("it is a message request", func() bool { return f.isRequest(opera) })
	f.say(f.alice, opera, "!mimir accept", "You have accepted the invite")
	f.say(f.alice, orchestra, "!mimir decline", "You have declined the invite")
	f.await("it is a message request no more", func() bool { return !f.isRequest(opera) })
	for chat, want := range map[uint64]store.GroupState{9: store.GroupJoining, 10: store.GroupDeclined} {
		if g, err := f.node.Group(f.account, store.GroupConversation(mediatorNode, chat)); err != nil || g.State != want {
			t.Errorf("group %d is in state %d, %v", chat, g.State, err)
		}
	}
	// Writing before the mediator has answered is refused, with words.
	f.write(orchestra, "hello")
	f.botSays(orchestra, "you are not a member of this group")
}
