// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// wholeConversation makes a conversation with everything in it: texts of both sides, a
// reply, a reaction. It returns what a room shows of it.
func (f *fixture) wholeConversation() (bob identity.PublicKey, room id.RoomID, want []string) {
	f.t.Helper()
	bob, room = f.conversation("Bob")
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("an old one"), SendTime: 1_600_000_000_000})
	f.awaitText(f.alice, f.ghost(bob), "an old one")
	f.write(room, "from alice")
	f.awaitOutgoing(f.account, bob, "from alice")
	sent := f.node.outgoing(f.account, bob)[0]
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("an answer"), ReplyTo: sent.ID.GUID})
	f.awaitText(f.alice, f.ghost(bob), "an answer")
	f.node.accept(store.AcceptMessage{
		Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(peer.TypeReaction), ReplyTo: sent.ID.GUID, SendTime: 2_000_000_000_000,
		Payload: peer.Reaction{Emoji: "👍️", Target: peer.GUID(sent.ID.GUID)}.AppendTo(nil),
	})
	f.await("all is shown", func() bool { return f.status().Conversations == 0 })
	return bob, room, []string{"I am Bob", "an old one", "from alice", "an answer"}
}

// checkHistory checks a room that was created again.
func (f *fixture) checkHistory(room id.RoomID, bob identity.PublicKey, want ...string) {
	f.t.Helper()
	f.awaitShown(room, want...)
	old, err := f.alice.WaitText(soon(f.t), room, f.ghost(bob), "an old one")
	if err != nil {
		f.t.Fatal(err)
	}
	if old.Timestamp != 1_600_000_000_000 {
		f.t.Errorf("the old message is shown at %s", time.UnixMilli(old.Timestamp))
	}
	mine, err := f.alice.WaitText(soon(f.t), room, f.alice.UserID(), "from alice")
	if err != nil {
		f.t.Fatal(err)
	}
	answer, err := f.alice.WaitText(soon(f.t), room, f.ghost(bob), "an answer")
	if err != nil {
		f.t.Fatal(err)
	}
	if target := answer.Content.AsMessage().RelatesTo.GetReplyTo(); target != mine.ID {
		f.t.Errorf("the answer is to %q, want %q", target, mine.ID)
	}
	f.await("the reaction is there", func() bool { return f.reactions(room, f.ghost(bob))[mine.ID] == "👍️" })
}

func TestBackfill_DeletedRoom_CreatedWithHistory(t *testing.T) {
	f := newFixture(t)
	bob, room, want := f.wholeConversation()
	if _, err := f.alice.SendText(soon(t), room, "!mimir delete-portal"); err != nil {
		t.Fatal(err)
	}
	f.await("the room is given up", func() bool { return !slices.Contains(f.homeserver.Members(room, "join"), f.ghost(bob)) })
	f.node.receive(f.account, bob, "where have you been")
	again := f.awaitText(f.alice, f.ghost(bob), "where have you been")
	if again == room {
		t.Fatal("it is the same room")
	}
	f.checkHistory(again, bob, append(want, "where have you been")...)
}

func TestBackfill_RebuildCommand(t *testing.T) {
	f := newFixture(t)
	bob, room, want := f.wholeConversation()
	f.say(f.alice, room, "!mimir history", "A new room is created")
	f.await("there is another room", func() bool { again := f.roomWith(bob); return again != "" && again != room })
	again := f.roomWith(bob)
	f.checkHistory(again, bob, want...)
	f.say(f.alice, again, "!mimir history 1", "A new room is created")
	f.await("there is a third room", func() bool { third := f.roomWith(bob); return third != "" && third != again })
	f.awaitShown(f.roomWith(bob), "an answer")
}

// Bar R01
func TestBackfill_Interrupted_Resumed(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	texts := append([]string{"I am Bob"}, numbered("text", 30)...)
	f.node.receive(f.account, bob, texts[1:]...)
	f.awaitShown(room, texts...)
	f.say(f.alice, room, "!mimir history", "A new room is created")
	f.await("it is under way", func() bool {
		again := f.roomWith(bob)
		return again != "" && again != room && len(f.shown(again)) > 5
	})
	again := f.roomWith(bob)
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
	f.stop()
	f.homeserver.ForgetTransactions()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.start()
	f.node.receive(f.account, bob, "and on")
	f.awaitShown(again, append(texts, "and on")...)
}

func TestOutboxNotice_SentOnceAndEdited(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) { config.Network.WaitingNotice = 50 * time.Millisecond })
	bob, room := f.conversation("Bob")
	f.write(room, "are you there")
	f.botSays(room, "Waiting for Bob since")
	f.write(room, "hello?")
	edit := func(text string) *event.Event {
		t.Helper()
		evt, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.RoomID == room && evt.Type == event.EventMessage && evt.Content.AsMessage().NewContent != nil &&
				contains(evt.Content.AsMessage().NewContent.Body, text)
		})
		if err != nil {
			t.Fatalf("no edit with %q: %v", text, err)
		}
		return evt
	}
	first := edit("2 messages wait")
	f.node.acknowledge(f.account, bob, f.node.outgoing(f.account, bob)[0].ID, f.node.outgoing(f.account, bob)[1].ID)
	last := edit("Bob has everything")
	if first.Content.AsMessage().RelatesTo.GetReplaceID() != last.Content.AsMessage().RelatesTo.GetReplaceID() {
		t.Error("another notice was edited")
	}
}

func TestGiveUp_AfterLimit(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) {
		config.Network.WaitingNotice, config.Network.GiveUp = 40*time.Millisecond, time.Hour
	})
	bob, _ := f.conversation("Bob")
	for i, created := range []time.Time{time.Now().Add(-2 * time.Hour), time.Now()} {
		_, err := store.Do[store.Enqueued](context.Background(), f.node.actor, store.EnqueueMessage{
			Account: f.account, Conversation: store.ContactConversation(bob), GUID: int64(i + 1), Payload: []byte{byte('a' + i)}, Source: "local:" + string(rune('a'+i)),
			Created: store.MillisOf(created),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.await("the old one is given up", func() bool { return f.node.outgoing(f.account, bob)[0].State == store.StateFailed })
	if state := f.node.outgoing(f.account, bob)[1].State; state != store.StatePending {
		t.Errorf("the new one is %s", state)
	}
}

// A room that the bot cannot leave is given up all the same: what makes a room anew
// does not find it again.
func TestBackfill_OldRoomNotLeft_RoomCreated(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	carol, other := f.conversation("Carol")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: func(r *http.Request) bool {
		return requestsIn(room, "/joined_members")(r) || requestsIn(room, "/leave")(r) || requestsIn(room, "/kick")(r)
	}})
	f.say(f.alice, room, "!mimir history", "A new room is created")
	f.await("the room was given up", func() bool { return f.log.contains("old room not deleted") })
	f.node.receive(f.account, bob, "in the new room")
	again := f.awaitText(f.alice, f.ghost(bob), "in the new room")
	if again == room {
		t.Fatal("it is the same room")
	}
	f.homeserver.SetFault(bridgetest.Fault{})
	f.stop()
	f.start()
	f.await("all rooms were searched", func() bool { return f.status().State == bridge.StateRunning })
	if _, err := f.alice.SendText(soon(t), room, "into the old room"); err != nil {
		t.Fatal(err)
	}
	f.said(f.alice, room, "goes on in another room")
	f.node.receive(f.account, bob, "still in the new room")
	f.node.receive(f.account, carol, "in the other room")
	if in := f.awaitText(f.alice, f.ghost(bob), "still in the new room"); in != again {
		t.Errorf("Bob writes in %s, want %s", in, again)
	}
	if in := f.awaitText(f.alice, f.ghost(carol), "in the other room"); in != other {
		t.Errorf("Carol writes in %s, want %s", in, other)
	}
}
