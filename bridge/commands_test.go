// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"image"
	"strings"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestCommands_Help(t *testing.T) {
	f := newFixture(t)
	if _, err := f.alice.SendText(soon(t), f.management, "help"); err != nil {
		t.Fatal(err)
	}
	help, err := f.alice.Wait(soon(t), isNotice(f.management, "my-link"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"login", "logout", "list-logins", "start-chat", "search", "contacts", "accept", "decline", "block", "unblock", "rename", "mute",
		"queue", "cancel", "trace", "fetch", "history", "delete-portal",
	} {
		if !strings.Contains(help.Content.AsMessage().Body, command) {
			t.Errorf("the help lacks %s", command)
		}
	}
	for _, command := range []string{"delete-chat", "filter", "for-everyone"} {
		if strings.Contains(help.Content.AsMessage().Body, command) {
			t.Errorf("the help has %s", command)
		}
	}
	// A command of the library that would only seem to do something says what does it.
	f.say(f.alice, f.management, "filter deny somebody", "mute silences one")
	first, second := f.node.addContact(f.account, "Bob"), f.node.addContact(f.account, "Carol")
	for _, contact := range []identity.PublicKey{first, second} {
		f.node.receive(f.account, contact, "hello")
		room := f.awaitText(f.alice, f.ghost(contact), "hello")
		f.say(f.alice, room, "!mimir delete-chat --for-everyone", "delete-portal deletes the room")
		f.node.receive(f.account, contact, "still here")
		if again := f.awaitText(f.alice, f.ghost(contact), "still here"); again != room {
			t.Errorf("after delete-chat the next message came to %s, not to %s", again, room)
		}
	}
}

func TestCommands_MyLink_TextAndQR(t *testing.T) {
	f := newFixture(t)
	link := identity.Link{Key: f.account, Name: "Alice"}.String()
	f.say(f.alice, f.management, "my-link", link)
	content := f.awaitFile(f.management, f.bot(), "my-link.png")
	picture, _, err := image.Decode(bytes.NewReader(f.download(content)))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	read, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil || read.GetText() != link {
		t.Errorf("the code says %v, %v", read, err)
	}
}

func TestCommands_QueueCancelTrace(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.say(f.alice, f.management, "queue", "Nothing waits")
	first := f.write(room, "first")
	f.write(room, "second")
	f.awaitOutgoing(f.account, bob, "first", "second")
	f.say(f.alice, f.management, "queue", "Bob: 2 messages wait since")
	reply := func(command string, to id.EventID) {
		f.put(room, event.EventMessage, &event.MessageEventContent{
			MsgType: event.MsgText, Body: "!mimir " + command, RelatesTo: (&event.RelatesTo{}).SetReplyTo(to),
		})
	}
	reply("trace", first)
	f.botSays(room, "message_queued")
	reply("cancel", first)
	f.botSays(room, "Not sent any more: 1.")
	if sent := f.node.outgoing(f.account, bob); sent[0].State != store.StateFailed || sent[1].State != store.StatePending {
		t.Errorf("states are %s and %s", sent[0].State, sent[1].State)
	}
	f.botSays(room, "you have cancelled it")
	f.say(f.alice, room, "!mimir cancel", "Not sent any more: 1.")
	f.say(f.alice, room, "!mimir cancel", "nothing to cancel")
}

func TestLogin_ImportedIdentity_SecretDeleted(t *testing.T) {
	w := newWorld(t)
	homeserver := w.running()
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice")
	room := w.greeted(alice)
	seed := [identity.SeedSize]byte{1, 2, 3}
	private := identity.NewPrivateKey(seed)
	w.say(alice, room, "login import", "Please enter your secret key")
	secret := strings.Repeat("zz", 32)
	w.say(alice, room, secret, "or is a PEM block")
	secret = "0102030000000000000000000000000000000000000000000000000000000000"
	evt, err := alice.SendText(soon(t), room, secret)
	if err != nil {
		t.Fatal(err)
	}
	w.said(alice, room, "Please enter your name")
	w.say(alice, room, "Alice", "You use the Mimir identity Alice")
	if _, err := w.node.Account(private.Public()); err != nil {
		t.Error(err)
	}
	w.await("the secret is deleted", func() bool {
		for _, event := range homeserver.Timeline(room) {
			if event.Redacts == evt {
				return true
			}
		}
		return false
	})
	homeserver.CreateUser("dave", "long-secret")
	dave := w.person(homeserver.URL(), "dave")
	room = w.greeted(dave)
	w.say(dave, room, "login import", "Please enter your secret key")
	w.say(dave, room, secret, "on the node already")
	if w.log.contains(secret) {
		t.Error("the secret is in the log")
	}
}

// Bar S18
func TestRelay_SenderNamed_ContactTold(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) {
		config.Bridge.Relay.Enabled = true
		config.Bridge.Permissions["@carol:mimir.test"] = &bridgeconfig.PermissionLevelRelay
	})
	bob, room := f.conversation("Bob")
	f.homeserver.CreateUser("carol", "long-secret")
	carol := f.person(f.homeserver.URL(), "carol")
	if _, err := f.alice.Matrix.InviteUser(soon(t), room, &mautrix.ReqInviteUser{UserID: carol.UserID()}); err != nil {
		t.Fatal(err)
	}
	f.await("carol has joined", func() bool { return f.joined(room, carol.UserID()) })
	if _, err := carol.SendText(soon(t), room, "before"); err != nil {
		t.Fatal(err)
	}
	f.say(f.alice, room, "!mimir set-relay", "will now be relayed through")
	for _, text := range []string{"hello from carol", "again"} {
		if _, err := carol.SendText(soon(t), room, text); err != nil {
			t.Fatal(err)
		}
	}
	f.await("all is queued", func() bool { return len(f.node.outgoing(f.account, bob)) == 3 })
	sent := f.node.outgoing(f.account, bob)
	if !strings.Contains(string(sent[0].Payload), "bridged to a Matrix room") {
		t.Errorf("the contact is told %q", sent[0].Payload)
	}
	for i, want := range []string{"hello from carol", "again"} {
		if text := string(sent[i+1].Payload); !strings.HasSuffix(text, ": "+want) || !strings.Contains(text, "carol") {
			t.Errorf("sent %q", text)
		}
	}
	if _, err := f.alice.Wait(soon(t), isNotice(room, "bridged to a Matrix room")); err != nil {
		t.Errorf("the room does not see what the contact is told: %v", err)
	}
}
