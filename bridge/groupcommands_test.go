// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/identity"
)

// outgoing returns what an account has written in a group, oldest first.
func (f *groupFixture) outgoing(account identity.PublicKey, group store.ConversationID) (sent []store.Message) {
	f.t.Helper()
	page, err := f.node.ConversationMessages(account, group, 0, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range page {
		if m.ID.Dir == store.Out {
			sent = append([]store.Message{m}, sent...)
		}
	}
	return sent
}

// replyTo writes a command as a reply.
func (f *groupFixture) replyTo(room id.RoomID, evt id.EventID, command string) {
	f.t.Helper()
	f.put(room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "!mimir " + command, RelatesTo: (&event.RelatesTo{}).SetReplyTo(evt),
	})
}

func TestGroups_Commands_ActOnGroupOfRoom(t *testing.T) {
	f := newGroupFixture(t)
	choir := f.choirRoom
	first := f.write(choir, "first")
	f.write(choir, "second")
	f.write(f.bandRoom, "third")
	if _, err := f.anna.SendText(soon(t), f.choirRoom, "of anna"); err != nil {
		t.Fatal(err)
	}
	f.await("all is queued", func() bool {
		return len(f.outgoing(f.account, f.choir)) == 2 && len(f.outgoing(f.account, f.band)) == 1 && len(f.outgoing(f.second, f.choir)) == 1
	})
	f.say(f.alice, f.management, "queue", "Choir: 2 messages wait since")
	f.said(f.alice, f.management, "Band: 1 message waits since")
	f.replyTo(choir, first, "trace")
	f.botSays(choir, "message_queued")
	f.said(f.alice, choir, "Not delivered: the mediator of the group has not confirmed it.")
	f.replyTo(choir, first, "cancel")
	f.botSays(choir, "Not sent any more: 1.")
	f.say(f.alice, choir, "!mimir cancel", "Not sent any more: 1.")
	f.say(f.alice, choir, "!mimir cancel", "the mediator of the group has it")
	for _, m := range append(f.outgoing(f.account, f.band), f.outgoing(f.second, f.choir)...) {
		if m.State != store.StatePending {
			t.Errorf("%q is %s", m.Payload, m.State)
		}
	}
	f.say(f.alice, choir, "!mimir retry", "Trying again what does not reach the room.")
	f.say(f.alice, f.management, "retry Band", "Trying again what does not reach the room.")
	f.say(f.alice, f.management, "retry Orchestra", "the name of a contact")
	f.say(f.alice, choir, "!mimir rename Bob", "change the name of the room to change it for everybody")
	f.say(f.alice, choir, "!mimir block", "the command is about a contact")

	offered := f.node.offerIn(f.account, f.choir, f.carol, transfer.Info{Name: "score.pdf", MIMEType: "application/pdf", Size: 9, State: store.MediaOffered})
	notice, err := f.alice.Wait(soon(t), isNotice(choir, "score.pdf"))
	if err != nil {
		t.Fatal(err)
	}
	f.replyTo(choir, notice.ID, "fetch")
	f.botSays(choir, "The file is being fetched")
	f.node.arrive(offered, store.MediaStored, []byte("the score"))
	f.awaitFile(choir, f.ghost(f.carol), "score.pdf")

	f.say(f.alice, choir, "!mimir history", "A new room is created")
	again, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID != choir && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "la" && evt.RoomID != f.bandRoom
	})
	if err != nil {
		t.Fatal(err)
	}
	f.node.says(f.account, f.choir, f.bob, "in the new room")
	if room := f.awaitText(f.alice, f.ghost(f.bob), "in the new room"); room != again.RoomID {
		t.Errorf("Bob writes in %s, want %s", room, again.RoomID)
	}
}

func TestGroups_InviteAnswered_ByNameInManagementRoom(t *testing.T) {
	f := newGroupFixture(t)
	for chat, name := range map[uint64]string{9: "Opera", 10: "Bob"} {
		f.node.apply(store.ReceiveInvite{Group: store.Group{
			Account: f.account, Mediator: mediatorNode, Chat: chat, Name: name, Key: store.GroupKey{2}, Inviter: f.carol, Invite: 1,
		}})
	}
	f.say(f.alice, f.management, "accept Opera", "The answer to the invite is on its way.")
	// A contact is called Bob: the name of a group does not come before it.
	f.say(f.alice, f.management, "accept Bob", "Bob is your contact now.")
	for chat, want := range map[uint64]store.GroupState{9: store.GroupJoining, 10: store.GroupInvited} {
		if g, err := f.node.Group(f.account, store.GroupConversation(mediatorNode, chat)); err != nil || g.State != want {
			t.Errorf("group %d is in state %d, %v", chat, g.State, err)
		}
	}
	f.say(f.alice, f.management, "decline Choir", "there is no invite to answer")
}

func TestGroups_MediatorSilent_OneNoticeEdited(t *testing.T) {
	f := newGroupFixtureWith(t, func(config *matrixconfig.Config) { config.Network.WaitingNotice = 50 * time.Millisecond })
	f.write(f.choirRoom, "are you there")
	f.botSays(f.choirRoom, "Waiting for the mediator of Choir since")
	f.write(f.choirRoom, "hello?")
	f.write(f.bandRoom, "and you?")
	f.botSays(f.bandRoom, "Waiting for the mediator of Band since")
	edit := func(text string) id.EventID {
		t.Helper()
		evt, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.RoomID == f.choirRoom && evt.Type == event.EventMessage && evt.Content.AsMessage().NewContent != nil &&
				contains(evt.Content.AsMessage().NewContent.Body, text)
		})
		if err != nil {
			t.Fatalf("no edit with %q: %v", text, err)
		}
		return evt.Content.AsMessage().RelatesTo.GetReplaceID()
	}
	first := edit("2 messages wait")
	for _, m := range f.outgoing(f.account, f.choir) {
		f.node.must(store.Do[bool](context.Background(), f.node.actor, store.MarkDelivered{Account: f.account, Conversation: f.choir, GUID: m.ID.GUID}))
	}
	if last := edit("The mediator of Choir has everything"); first != last {
		t.Error("another notice was edited")
	}
}
