// SPDX-License-Identifier: MPL-2.0

//go:build goolm

package bridge_test

import (
	"strings"
	"testing"

	"github.com/mimird/mimird/bridge/botcrypto"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
)

// encrypted is a conversation in an encrypted room of a real Dendrite.
type encrypted struct {
	*real
	bob  identity.PublicKey
	room id.RoomID
}

func newEncrypted(t *testing.T) *encrypted {
	t.Helper()
	e := &encrypted{real: newRealWith(t, func(c *matrixconfig.Config) { c.Encryption.Allow = true })}
	e.bob = e.node.addContact(e.account, "Bob")
	e.node.receive(e.account, e.bob, "hello Alice")
	e.room = e.awaitText(e.alice, e.ghost(e.bob), "hello Alice")
	return e
}

func (e *encrypted) awaitRead(want ...string) {
	e.t.Helper()
	e.awaitTexts(e.room, e.ghost(e.bob), want...)
}

func (e *encrypted) write(text string) id.EventID {
	e.t.Helper()
	evt, err := e.alice.SendText(soon(e.t), e.room, text)
	if err != nil {
		e.t.Fatal(err)
	}
	return evt
}

// botDevices asks for the devices of the bot.
func (e *encrypted) botDevices() map[id.DeviceID]*id.Device {
	e.t.Helper()
	var devices map[id.UserID]map[id.DeviceID]*id.Device
	var err error
	e.alice.Device.Use(func(m *crypto.OlmMachine) { devices, err = m.FetchKeys(soon(e.t), []id.UserID{e.bot()}, true) })
	if err != nil {
		e.t.Fatal(err)
	}
	return devices[e.bot()]
}

func TestDendrite_EncryptedConversation(t *testing.T) {
	e := newEncrypted(t)
	out := []string{"hello Bob"}
	if state := e.status().Encryption; state.State != botcrypto.On || state.Error != "" {
		t.Errorf("encryption is %+v", state)
	}
	e.write(out[0])
	e.awaitOutgoing(e.account, e.bob, out...)

	// Clients see that the device is the bot's.
	devices := e.botDevices()
	if len(devices) != 1 {
		t.Fatalf("the bot has %d devices", len(devices))
	}
	var device id.DeviceID
	for _, dev := range devices {
		device = dev.DeviceID
		var trust id.TrustState
		var err error
		e.alice.Device.Use(func(m *crypto.OlmMachine) { trust, err = m.ResolveTrustContext(soon(t), dev) })
		if err != nil || trust < id.TrustStateCrossSignedTOFU {
			t.Errorf("the bot's device is %s, %v", trust, err)
		}
	}

	// What the bot says is encrypted too.
	e.write("!mimir check-encryption")
	said, err := e.alice.Wait(soon(t), e.botSaying(e.room, "This room is encrypted"))
	if err != nil {
		t.Fatal(err)
	}
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
	e.write("while you were away")
	e.start()
	e.node.receive(e.account, e.bob, "after")
	e.awaitRead("hello Alice", "in doubt", "after")
	e.awaitOutgoing(e.account, e.bob, append(out, "while you were away")...)
	if devices = e.botDevices(); len(devices) != 1 || devices[device] == nil {
		t.Errorf("the bot has %d devices", len(devices))
	}
	e.nothingPlain(1)
}

// Keys come later than the message, after the bridge was started anew, and all that
// it was sent before is not lost.
//
// Bar R01
func TestDendrite_KeysLate_MessageDecrypted(t *testing.T) {
	e := newEncrypted(t)
	var session *crypto.OutboundGroupSession
	var err error
	e.alice.Device.Use(func(m *crypto.OlmMachine) {
		if err = m.ShareGroupSession(soon(t), e.room, nil); err == nil { // nobody is given the keys
			session, err = m.CryptoStore.GetOutboundGroupSession(soon(t), e.room)
		}
	})
	if err != nil || session == nil {
		t.Fatal("no keys", err)
	}
	keys := session.ShareContent() // for all that comes after
	sent := e.write("without keys")
	_, err = e.alice.Wait(soon(t), func(evt *event.Event) bool {
		status, ok := evt.Content.Parsed.(*event.BeeperMessageStatusEventContent)
		return ok && status.RelatesTo.EventID == sent && status.Status == event.MessageStatusPending
	})
	if err != nil {
		t.Fatalf("the room is not told: %v", err)
	}
	e.stop()
	e.start()
	e.awaitState(bridge.StateRunning)
	for _, device := range e.botDevices() {
		e.alice.Device.Use(func(m *crypto.OlmMachine) {
			err = m.SendEncryptedToDevice(soon(t), device, event.ToDeviceRoomKey, keys)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	e.awaitOutgoing(e.account, e.bob, "without keys")
	e.nothingPlain(1)
}

// A bridge whose encryption was switched off leaves encrypted rooms alone.
func TestDendrite_EncryptedRoom_NoPlaintext(t *testing.T) {
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
	e.nothingPlain(1)
}
