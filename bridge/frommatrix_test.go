// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
)

// statuses returns the message statuses that the bot has sent about an event.
func (f *fixture) statuses(about id.EventID) []event.BeeperMessageStatusEventContent {
	f.t.Helper()
	var found []event.BeeperMessageStatusEventContent
	for _, send := range f.homeserver.Sends() {
		var content event.BeeperMessageStatusEventContent
		if send.Type != "com.beeper.message_send_status" || json.Unmarshal(send.Content, &content) != nil {
			continue
		}
		if content.RelatesTo.EventID == about && send.Fault == bridgetest.FaultNone {
			found = append(found, content)
		}
	}
	return found
}

// botSays waits for a notice of the bot.
func (f *fixture) botSays(room id.RoomID, part string) {
	f.t.Helper()
	f.said(f.alice, room, part)
}

// write sends a message as alice.
func (f *fixture) write(room id.RoomID, text string) id.EventID {
	f.t.Helper()
	evt, err := f.alice.SendText(soon(f.t), room, text)
	if err != nil {
		f.t.Fatal(err)
	}
	return evt
}

func TestMessageStatus_Delivered(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	evt := f.write(room, "are you there")
	f.awaitOutgoing(f.account, bob, "are you there")
	f.await("it is pending", func() bool { return len(f.statuses(evt)) == 1 })
	if status := f.statuses(evt)[0]; status.Status != event.MessageStatusPending || status.DeliveredToUsers != nil {
		t.Errorf("status is %+v", status)
	}
	// While the homeserver is away the contact gets it; the room learns that later.
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown})
	f.node.acknowledge(f.account, bob, f.node.outgoing(f.account, bob)[0].ID)
	f.await("it was tried", func() bool { return len(f.failing()) == 1 })
	f.homeserver.SetFault(bridgetest.Fault{})
	f.await("it is delivered", func() bool { return len(f.statuses(evt)) == 2 })
	status := f.statuses(evt)[1]
	if status.Status != event.MessageStatusSuccess || status.DeliveredToUsers == nil || (*status.DeliveredToUsers)[0] != f.ghost(bob) {
		t.Errorf("status is %+v", status)
	}
	f.await("the bot has read it", func() bool {
		for _, receipt := range f.homeserver.Receipts() {
			if receipt.Event == evt && receipt.User == f.bot() {
				return true
			}
		}
		return false
	})
}

func TestMessageStatus_Failed(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	evt := f.write(room, "too late")
	f.awaitOutgoing(f.account, bob, "too late")
	sent := f.node.outgoing(f.account, bob)[0]
	f.node.must(store.Do[bool](context.Background(), f.node.actor, store.FailMessage{
		Account: f.account, Conversation: store.ContactConversation(bob), GUID: sent.ID.GUID, Reason: "you have cancelled it",
	}))
	f.botSays(room, "was not bridged: you have cancelled it")
	f.await("it has failed", func() bool { return len(f.statuses(evt)) == 2 })
	if status := f.statuses(evt)[1]; status.Status != event.MessageStatusFail {
		t.Errorf("status is %+v", status)
	}
}

func TestContent_NotSendable_Refused(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.write(room, "   \n ")
	f.botSays(room, "there is nothing to send in it")
	_, err := f.alice.Matrix.SendMessageEvent(soon(t), room, event.EventMessage, map[string]string{
		"msgtype": "m.image", "body": "cat.png", "url": "mxc://mimir.test/cat",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.botSays(room, "does not give out the file")
	f.node.setErrors(store.ErrOutboxFull, nil)
	f.write(room, "one too many")
	f.botSays(room, "too many messages wait")
	f.node.setErrors(store.ErrNotFound, nil)
	f.write(room, "to nobody")
	f.botSays(room, "not on the node any more")
	f.node.setErrors(nil, nil)
	f.write(room, "fine")
	f.awaitOutgoing(f.account, bob, "fine")
}

// Bar R02
func TestTransaction_StoreFails_Retried(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.node.setErrors(errTest, nil) // a message cannot be queued at the moment
	for _, text := range numbered("text", 5) {
		f.write(room, text)
	}
	f.await("it was tried", func() bool {
		f.node.mu.Lock()
		defer f.node.mu.Unlock()
		return f.node.sends >= 3
	})
	if status := f.status(); status.Transactions == 0 {
		t.Error("the transaction is not kept")
	}
	f.stop() // kept over a restart too
	f.node.setErrors(nil, nil)
	f.start()
	f.awaitOutgoing(f.account, bob, numbered("text", 5)...)
	for _, text := range f.texts(f.alice, room, f.bot()) {
		t.Errorf("the bot has said %q, but nothing failed", text)
	}
}

func TestTransaction_JournalFails_HomeserverRetries(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.node.setErrors(nil, errors.New("no space"))
	f.write(room, "first")
	f.write(room, "second")
	f.await("it was refused", func() bool { return f.log.contains("transaction not stored, refused") })
	f.node.setErrors(nil, nil)
	f.awaitOutgoing(f.account, bob, "first", "second")
}

func TestBurst_OrderKept(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for i := range 50 {
		f.write(room, fmt.Sprintf("out %d", i))
	}
	f.node.receive(f.account, bob, numbered("in", 50)...)
	f.awaitOutgoing(f.account, bob, numbered("out", 50)...)
	f.awaitShown(room, append([]string{"I am Bob"}, numbered("in", 50)...)...)
}

func TestContent_FormsOfText(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	send := func(content any) {
		t.Helper()
		if _, err := f.alice.Matrix.SendMessageEvent(soon(t), room, event.EventMessage, content); err != nil {
			t.Fatal(err)
		}
	}
	send(map[string]any{"msgtype": "m.emote", "body": "waves"})
	send(map[string]any{
		"msgtype": "m.text", "body": "fallback", "format": "org.matrix.custom.html",
		"formatted_body": `<p>Dear <a href="https://matrix.to/#/@bob:mimir.test">Bob</a>,</p><ul><li><b>one</b></li><li>two</li></ul>` +
			`<blockquote>said</blockquote>see <a href="https://example.org/x">this</a><br>bye`,
	})
	send(map[string]any{"msgtype": "m.text", "body": "nul\x00 and text"})
	f.awaitOutgoing(f.account, bob, "* waves",
		"Dear Bob,\n\n• one\n• two\n\n> said\nsee this (https://example.org/x)\nbye", "nul and text")
}

func TestReplies_BothWays(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	question := f.node.receive(f.account, bob, "a question")[0]
	asked, err := f.alice.WaitText(soon(t), room, f.ghost(bob), "a question")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.alice.Matrix.SendMessageEvent(soon(t), room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "an answer", RelatesTo: (&event.RelatesTo{}).SetReplyTo(asked.ID),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.awaitOutgoing(f.account, bob, "an answer")
	answer := f.node.outgoing(f.account, bob)[0]
	if answer.ReplyTo != question.GUID {
		t.Errorf("replies to %d, want %d", answer.ReplyTo, question.GUID)
	}
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("thanks"), ReplyTo: answer.ID.GUID})
	thanks, err := f.alice.WaitText(soon(t), room, f.ghost(bob), "thanks")
	if err != nil {
		t.Fatal(err)
	}
	evt, err := f.alice.WaitText(soon(t), room, f.alice.UserID(), "an answer")
	if err != nil {
		t.Fatal(err)
	}
	if target := thanks.Content.AsMessage().RelatesTo.GetReplyTo(); target != evt.ID {
		t.Errorf("replies to %q, want %q", target, evt.ID)
	}
}

// Bar S18
func TestOtherMembers_NotBridged(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for _, name := range []string{"eve", "dave"} { // eve may do nothing, dave has no login here
		f.homeserver.CreateUser(name, "long-secret")
		client := f.person(f.homeserver.URL(), name)
		if _, err := f.alice.Matrix.InviteUser(soon(t), room, &mautrix.ReqInviteUser{UserID: client.UserID()}); err != nil {
			t.Fatal(err)
		}
		f.await(name+" has joined", func() bool { return f.joined(room, client.UserID()) })
		if _, err := client.SendText(soon(t), room, "I am not Alice"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.SendText(soon(t), room, "!mimir login attach"); err != nil {
			t.Fatal(err)
		}
	}
	// eve invites a ghost of somebody into a room of hers.
	eve := f.person(f.homeserver.URL(), "eve")
	if _, err := eve.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{IsDirect: true, Invite: []id.UserID{f.ghost(bob)}}); err != nil {
		t.Fatal(err)
	}
	f.write(room, "I am Alice")
	f.awaitOutgoing(f.account, bob, "I am Alice")
	if status := f.status(); status.Logins != 1 {
		t.Errorf("there are %d logins", status.Logins)
	}
	contacts, err := f.node.Contacts(f.account)
	if err != nil || len(contacts) != 1 {
		t.Errorf("contacts are %v, %v", contacts, err)
	}
}

// With a registration for acting as users, the homeserver sends the events of
// rooms that are none of ours.
func TestForeignRooms_Ignored(t *testing.T) {
	f := newFixture(t)
	f.homeserver.CreateUser("carol", "long-secret")
	carol := f.person(f.homeserver.URL(), "carol")
	room, err := f.alice.OpenDirect(soon(t), carol.UserID())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hello Carol", "!mimir help", "!mimir login attach"} {
		f.write(room, text)
	}
	bob, portal := f.conversation("Bob")
	f.write(portal, "hello Bob") // comes after them in the transactions
	f.awaitOutgoing(f.account, bob, "hello Bob")
	for _, event := range f.homeserver.Timeline(room) {
		if event.Sender != f.alice.UserID() && event.Sender != carol.UserID() {
			t.Errorf("%s did %s in a room that is not the bridge's", event.Sender, event.Type)
		}
	}
	for _, send := range f.homeserver.Sends() {
		if send.Room == room && send.Sender == f.bot() {
			t.Errorf("the bot tried to send %s", send.Type)
		}
	}
}

// What the user writes elsewhere is shown as theirs; what they write in the room
// is not shown again.
func TestMessagesOfOtherDevices_ShownAsUser(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.write(room, "from Matrix")
	f.awaitOutgoing(f.account, bob, "from Matrix")
	sum := int64(4711)
	_, err := store.Do[store.Enqueued](context.Background(), f.node.actor, store.EnqueueMessage{
		Account: f.account, Conversation: store.ContactConversation(bob), GUID: sum, Payload: []byte("from the command line"), Source: "local:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	evt, err := f.alice.WaitText(soon(t), room, "", "from the command line")
	if err != nil {
		t.Fatal(err)
	}
	if evt.Sender != f.alice.UserID() {
		t.Errorf("shown as written by %s", evt.Sender)
	}
	f.node.receive(f.account, bob, "last")
	f.awaitShown(room, "I am Bob", "from the command line", "last")
	f.awaitOutgoing(f.account, bob, "from Matrix", "from the command line")
	count := 0
	for _, text := range f.texts(f.alice, room, "") {
		count += strings.Count(text, "from Matrix")
	}
	if count != 1 {
		t.Errorf("the message from Matrix is in the room %d times", count)
	}
}

func TestDoublePuppets_None_UserInvited(t *testing.T) {
	w := newWorld(t)
	w.config.DoublePuppet.Registration = matrixconfig.DoublePuppetNone
	homeserver := w.withFake()
	account := w.node.addAccount("Alice")
	bob := w.node.addContact(account, "Bob")
	w.start()
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice") // accepts invitations
	w.attach(alice)
	w.node.receive(account, bob, "hello")
	room := w.awaitText(alice, w.ghost(bob), "hello")
	_, err := store.Do[store.Enqueued](context.Background(), w.node.actor, store.EnqueueMessage{
		Account: account, Conversation: store.ContactConversation(bob), GUID: 1, Payload: []byte("from elsewhere"), Source: "local:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	evt, err := alice.WaitText(soon(t), room, "", "from elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if evt.Sender != w.ghost(account) {
		t.Errorf("shown as written by %s", evt.Sender)
	}
}

func TestDoublePuppets_SeparateRegistration(t *testing.T) {
	w := newWorld(t)
	w.config.DoublePuppet.Registration = matrixconfig.DoublePuppetSeparate
	homeserver := w.withFake()
	account := w.node.addAccount("Alice")
	bob := w.node.addContact(account, "Bob")
	w.start()
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice")
	w.attach(alice)
	w.node.receive(account, bob, "hello")
	room := w.awaitText(alice, w.ghost(bob), "hello")
	if _, err := alice.SendText(soon(t), room, "hello back"); err != nil {
		t.Fatal(err)
	}
	w.awaitOutgoing(account, bob, "hello back")
}
