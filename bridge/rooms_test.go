// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

func (f *fixture) joined(room id.RoomID, user id.UserID) bool {
	return slices.Contains(f.homeserver.Members(room, "join"), user)
}

func TestRoom_DirectChatOfTwo(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.await("all are in", func() bool {
		return f.joined(room, f.ghost(bob)) && f.joined(room, f.alice.UserID()) && f.joined(room, f.bot())
	})
	f.await("it is in the list of direct chats", func() bool {
		var direct map[id.UserID][]id.RoomID
		err := f.alice.Matrix.GetAccountData(soon(t), "m.direct", &direct)
		return err == nil && slices.Contains(direct[f.ghost(bob)], room)
	})
	if name := f.displayName(f.ghost(bob)); name != "Bob" {
		t.Errorf("the ghost is called %q", name)
	}
}

func TestRoom_ContactAccepted_Created(t *testing.T) {
	f := newFixture(t)
	stranger := key("Stranger")
	_, err := store.Do[store.Added](context.Background(), f.node.actor, store.AddContact{Contact: store.Contact{
		Account: f.account, ID: stranger, Nickname: "Stranger", State: store.ContactStranger,
	}})
	if err != nil {
		t.Fatal(err)
	}
	bob := f.node.addContact(f.account, "Bob")
	f.await("Bob has a room", func() bool { return f.roomWith(bob) != "" })
	f.await("all is delivered", func() bool { return f.status().Conversations == 0 })
	if room := f.roomWith(stranger); room != "" {
		t.Error("a stranger has a room")
	}
	f.node.apply(store.SetContactState{Account: f.account, Contact: stranger, State: store.ContactAccepted})
	f.await("they have a room when they are accepted", func() bool { return f.roomWith(stranger) != "" })
}

func (f *fixture) roomWith(contact identity.PublicKey) id.RoomID {
	for _, room := range f.homeserver.Rooms() {
		if f.joined(room, f.ghost(contact)) {
			return room
		}
	}
	return ""
}

func TestNames_ContactRenamed_Updated(t *testing.T) {
	f := newFixture(t)
	bob, _ := f.conversation("Bob")
	rename := func(fields store.ContactFields, nickname, local string) {
		t.Helper()
		f.node.must(store.Do[bool](context.Background(), f.node.actor, store.UpdateContact{
			Account: f.account, Contact: bob, Fields: fields, Nickname: nickname, LocalName: local,
		}))
	}
	rename(store.FieldNickname, "Robert", "")
	f.await("the nickname is shown", func() bool { return f.displayName(f.ghost(bob)) == "Robert" })
	rename(store.FieldLocalName, "", "Bobby from work")
	f.await("our user's name for them is shown", func() bool { return f.displayName(f.ghost(bob)) == "Bobby from work" })
	rename(store.FieldLocalName|store.FieldNickname, "@admin\u202e\n:mimir.test", "")
	f.await("a hostile name is tamed", func() bool { return f.displayName(f.ghost(bob)) == "admin:mimir.test" })
	rename(store.FieldNickname, " \u200f ", "")
	f.await("no name becomes the key", func() bool { return f.displayName(f.ghost(bob)) == "Mimir "+bob.Short() })
}

// A name that one user has given a contact is not for the others.
func TestNames_SeveralUsers_LocalNamesPrivate(t *testing.T) {
	f := newFixture(t)
	f.homeserver.CreateUser("dave", "long-secret")
	dave := f.person(f.homeserver.URL(), "dave")
	room := f.greeted(dave)
	f.say(dave, room, "login new", "Please enter your name")
	f.say(dave, room, "Dave", "Your Mimir identity Dave is created")
	bob, _ := f.conversation("Bob")
	f.node.must(store.Do[bool](context.Background(), f.node.actor, store.UpdateContact{
		Account: f.account, Contact: bob, Fields: store.FieldLocalName, LocalName: "my secret love",
	}))
	f.await("all is delivered", func() bool { return f.status().Conversations == 0 })
	if name := f.displayName(f.ghost(bob)); name != "Bob" {
		t.Errorf("the ghost is called %q", name)
	}
}

func TestRoom_UserLeft_InvitedWithNextMessage(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	if _, err := f.alice.Matrix.LeaveRoom(soon(t), room); err != nil {
		t.Fatal(err)
	}
	f.say(f.alice, f.management, "are you listening", "Unknown command") // the bridge was told, then
	f.await("the bridge knows", func() bool { return f.status().Transactions == 0 })
	f.node.receive(f.account, bob, "are you gone")
	f.await("alice is in again", func() bool { return f.joined(room, f.alice.UserID()) })
	f.awaitShown(room, "I am Bob", "are you gone")
}

// The bridge's tables say that it may send, and the homeserver says that it may
// not.
func TestRoom_BridgeKicked_CreatedAgain(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.stop()
	for _, user := range []id.UserID{f.ghost(bob), f.bot()} { // the bridge does not see it
		_, err := f.alice.Matrix.KickUser(soon(t), room, &mautrix.ReqKickUser{UserID: user})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.node.receive(f.account, bob, "where are we", "here")
	f.start()
	other := f.awaitText(f.alice, f.ghost(bob), "here")
	if other == room {
		t.Fatal("it is the same room")
	}
	f.awaitShown(other, "I am Bob", "where are we", "here") // it is whole
	f.write(other, "a new room")
	f.awaitOutgoing(f.account, bob, "a new room")
}

func TestRoom_GhostKicked_Rejoins(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.stop()
	if _, err := f.alice.Matrix.KickUser(soon(t), room, &mautrix.ReqKickUser{UserID: f.ghost(bob)}); err != nil {
		t.Fatal(err)
	}
	f.node.receive(f.account, bob, "still here")
	f.start()
	f.awaitShown(room, "I am Bob", "still here")
}

func TestEdits_ToMatrix(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), GUID: 99, SendTime: 1_700_000_000_000, Payload: []byte("frist")})
	original, err := f.alice.WaitText(soon(t), room, f.ghost(bob), "frist")
	if err != nil {
		t.Fatal(err)
	}
	f.node.accept(store.AcceptMessage{
		Account: f.account, Conversation: store.ContactConversation(bob), GUID: 99, SendTime: 1_700_000_000_000, EditTime: 1_700_000_060_000, Payload: []byte("first"),
	})
	edit, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID == room && evt.Type == event.EventMessage && evt.Content.AsMessage().RelatesTo.GetReplaceID() == original.ID
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := edit.Content.AsMessage().NewContent.Body; text != "first" {
		t.Errorf("edited to %q", text)
	}
}

func TestMessages_Timestamps(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	const written, received = 1_700_000_000_000, 1_760_000_000_000
	for text, at := range map[string]store.Millis{"then": written, "seconds": written / 1000, "never": 1, "some day": received * 10} {
		f.node.accept(store.AcceptMessage{
			Account: f.account, Conversation: store.ContactConversation(bob), SendTime: at, Received: received, Payload: []byte(text),
		})
	}
	for text, want := range map[string]int64{"then": written, "seconds": written, "never": received, "some day": received} {
		evt, err := f.alice.WaitText(soon(t), room, f.ghost(bob), text)
		if err != nil {
			t.Fatal(err)
		}
		if evt.Timestamp != want {
			t.Errorf("%q is shown at %d, want %d", text, evt.Timestamp, want)
		}
	}
}

func TestMessages_OtherTypes(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for kind, payload := range map[peer.MessageType]string{
		peer.TypeImage: "{}", peer.TypeFile: "{}", peer.TypeCall: "{}",
		4711: "shown as text",
	} {
		f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(kind), Payload: []byte(payload)})
	}
	for _, part := range []string{"A file is here that cannot be read", "A call", "shown as text"} {
		if _, err := f.alice.Wait(soon(t), isNotice(room, part)); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}

func TestNotices_NewDevice(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for _, name := range []string{"phone", "other phone"} {
		_, err := kernelDo(f, store.RecordNodeKey{Account: f.account, Contact: bob, Key: identity.NodeKey(key(name))})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.botSays(room, "reachable at a new device ("+identity.NodeKey(key("other phone")).Short()+")")
	f.node.apply(store.RecordNodeKey{Account: f.account, Contact: bob, Key: identity.NodeKey(key("third phone")), Time: 3, Unconfirmed: true})
	f.botSays(room, "connected from a new device ("+identity.NodeKey(key("third phone")).Short()+"), which nothing but their key speaks for")
	f.node.apply(store.NoteDeviceRefused{Account: f.account, Contact: bob, Node: identity.NodeKey(key("fourth phone"))})
	f.botSays(room, "mimird contact trust "+bob.String()+" "+identity.NodeKey(key("fourth phone")).String())
}

func kernelDo(f *fixture, op store.Op) (any, error) {
	return store.Do[any](context.Background(), f.node.actor, op)
}

// Bar S16
func TestMessages_HostileText(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	texts := []string{
		`<b>bold</b> <img src="mxc://x/y"> <mx-reply>x</mx-reply>`,
		"@room @alice:mimir.test https://matrix.to/#/@alice:mimir.test",
		"\u202eevil\u202c \u2066x\u2069",
		strings.Repeat("e\u0301\u0301\u0301", 16<<10),
		"**markdown** [link](javascript:alert(1))",
		"!mimir logout",
		strings.Repeat("\x01", 20_000), strings.Repeat("<", 20_000),
	}
	f.node.receive(f.account, bob, texts...)
	f.node.receive(f.account, bob, "nul\x00byte", "bad \xff utf-8", "", "last")
	f.await("all is shown", func() bool { return slices.Contains(f.shown(room), "last") })
	shown := strings.Join(f.shown(room), "")
	for _, text := range append(texts, "nulbyte", "bad \uFFFD utf-8") {
		if !strings.Contains(shown, text) {
			t.Errorf("%.30q is not shown as it is", text)
		}
	}
	for _, ev := range f.homeserver.Timeline(room) {
		if ev.Type != "m.room.message" || ev.Sender != f.ghost(bob) {
			continue
		}
		var content map[string]any
		if err := json.Unmarshal(ev.Content, &content); err != nil {
			t.Fatal(err)
		}
		if content["formatted_body"] != nil || content["format"] != nil {
			t.Errorf("an event has markup: %.100s", ev.Content)
		}
		if mentions, ok := content["m.mentions"].(map[string]any); !ok || len(mentions) != 0 {
			t.Errorf("an event notifies: %v", content["m.mentions"])
		}
		if len(ev.Content) > 60<<10 {
			t.Errorf("an event has %d bytes", len(ev.Content))
		}
	}
	if status := f.status(); status.Logins != 1 {
		t.Error("a contact has logged alice out")
	}
}
