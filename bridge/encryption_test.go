// SPDX-License-Identifier: MPL-2.0

//go:build goolm

package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
)

// encrypted is a conversation in an encrypted room of a real Dendrite.
type encrypted struct {
	*real
	secretive *encrypting
	bob       identity.PublicKey
	room      id.RoomID
}

func newEncrypted(t *testing.T) *encrypted {
	t.Helper()
	e := &encrypted{real: newRealWith(t, func(c *bridge.Config) { c.Encryption.Allow = true })}
	e.secretive = e.encryptingPerson(e.server.URL(), "alice")
	e.bob = e.node.addContact(e.account, "Bob")
	e.node.receive(e.account, e.bob, "hello Alice")
	e.room = e.secretive.waitFor("the room has its first message", func(evt *event.Event) bool {
		return evt.Sender == e.ghost(e.bob) && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "hello Alice"
	}).RoomID
	return e
}

func (e *encrypted) awaitRead(want ...string) {
	e.t.Helper()
	var have []string
	e.await("alice can read all", func() bool {
		have = e.secretive.texts(e.room, e.ghost(e.bob))
		return len(have) >= len(want)
	})
	if !slices.Equal(have, want) {
		e.t.Errorf("alice reads %q, want %q", have, want)
	}
}

// nothingPlain fails when the homeserver has a message that it can read.
func (e *encrypted) nothingPlain() {
	e.t.Helper()
	events, err := e.alice.Timeline(soon(e.t), e.room)
	if err != nil {
		e.t.Fatal(err)
	}
	count := 0
	for _, evt := range events {
		switch evt.Type {
		case event.EventMessage, event.EventSticker:
			e.t.Errorf("the homeserver can read a message of %s", evt.Sender)
		case event.EventEncrypted:
			count++
		}
	}
	if count == 0 {
		e.t.Error("nothing was encrypted")
	}
}

func TestDendriteEncryptedConversation(t *testing.T) {
	e := newEncrypted(t)
	out := []string{"hello Bob"}
	e.secretive.write(e.room, out[0], e.bot())
	e.awaitOutgoing(e.account, e.bob, out...)

	// Clients see that the device is the bot's.
	devices, err := e.secretive.mach.FetchKeys(soon(t), []id.UserID{e.bot()}, true)
	if err != nil || len(devices[e.bot()]) != 1 {
		t.Fatalf("%d devices, %v", len(devices[e.bot()]), err)
	}
	var device id.DeviceID
	for _, dev := range devices[e.bot()] {
		device = dev.DeviceID
		trust, err := e.secretive.mach.ResolveTrustContext(soon(t), dev)
		if err != nil || trust < id.TrustStateCrossSignedTOFU {
			t.Errorf("the bot's device is %s, %v", trust, err)
		}
	}

	// What the bot says is encrypted too.
	e.secretive.write(e.room, "!mimir check-encryption", e.bot())
	said := e.secretive.waitFor("the bot explains", func(evt *event.Event) bool {
		return evt.Sender == e.bot() && evt.Type == event.EventMessage && strings.Contains(evt.Content.AsMessage().Body, "This room is encrypted")
	})
	if text := said.Content.AsMessage().Body; !said.Mautrix.WasEncrypted || !strings.Contains(text, "which is signed") ||
		!strings.Contains(text, "All your devices, 1, can read") {
		t.Errorf("the bot says %q, encrypted: %v", text, said.Mautrix.WasEncrypted)
	}

	// The homeserver has the event, the bridge does not know, and the homeserver
	// forgets. It is still shown once, and the device stays the same.
	e.await("all is noted", func() bool { return e.status().Conversations == 0 })
	e.node.setCursorError(errTest)
	e.node.receive(e.account, e.bob, "in doubt")
	e.awaitRead("hello Alice", "in doubt")
	e.await("it was noted", func() bool { return len(e.status().Waiting) == 1 && e.status().Waiting[0].Error != "" })
	e.stop()
	e.node.setCursorError(nil)
	e.forgetLast()
	if err := e.server.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	e.secretive.write(e.room, "while you were away", e.bot())
	e.start()
	e.node.receive(e.account, e.bob, "after")
	e.awaitRead("hello Alice", "in doubt", "after")
	e.awaitOutgoing(e.account, e.bob, append(out, "while you were away")...)
	devices, err = e.secretive.mach.FetchKeys(soon(t), []id.UserID{e.bot()}, true)
	if err != nil || len(devices[e.bot()]) != 1 || devices[e.bot()][device] == nil {
		t.Errorf("the bot has %d devices, %v", len(devices[e.bot()]), err)
	}
	e.nothingPlain()
}

// Keys come later than the message, after the bridge was started anew, and all that
// it was sent before is not lost.
//
// Bar R01
func TestDendriteEncryptedMessageWaitsForItsKeys(t *testing.T) {
	e := newEncrypted(t)
	if err := e.secretive.mach.ShareGroupSession(soon(t), e.room, nil); err != nil { // nobody is given the keys
		t.Fatal(err)
	}
	keys := e.secretive.keys(e.room) // for all that comes after
	sent := e.secretive.write(e.room, "without keys")
	_, err := e.alice.Wait(soon(t), func(evt *event.Event) bool {
		status, ok := evt.Content.Parsed.(*event.BeeperMessageStatusEventContent)
		return ok && status.RelatesTo.EventID == sent && status.Status == event.MessageStatusPending
	})
	if err != nil {
		t.Fatalf("the room is not told: %v", err)
	}
	e.stop()
	e.start()
	e.awaitState(bridge.StateRunning)
	e.secretive.giveKeys(keys, e.bot())
	e.awaitOutgoing(e.account, e.bob, "without keys")
	e.nothingPlain()
}

// A bridge whose encryption was switched off leaves encrypted rooms alone.
func TestDendriteNothingIsSentAsItIsIntoAnEncryptedRoom(t *testing.T) {
	e := newEncrypted(t)
	e.stop()
	e.config.Encryption.Allow = false
	e.start()
	e.node.receive(e.account, e.bob, "a secret")
	e.await("it waits", func() bool { return len(e.status().Waiting) == 1 && e.status().Waiting[0].Error != "" })
	e.stop()
	e.config.Encryption.Allow = true
	e.start()
	e.awaitRead("hello Alice", "a secret")
	e.nothingPlain()
}
