// SPDX-License-Identifier: MPL-2.0

//go:build goolm

package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// Device is what a client that encrypts has more than others. The library below
// encrypts with it whatever is sent into an encrypted room but reactions, as the
// apps do.
type Device struct {
	// mu lets one goroutine at a time use the machine, which has the keys: the library's
	// store of keys in memory reads signatures without its lock.
	mu      sync.Mutex
	machine *crypto.OlmMachine
	client  *mautrix.Client
	states  *mautrix.MemoryStateStore
	late    []*event.Event // without keys yet; of the goroutine that syncs
}

func newDevice(ctx context.Context, client *mautrix.Client) (*Device, error) {
	states, ok := mautrix.NewMemoryStateStore().(*mautrix.MemoryStateStore)
	if !ok {
		return nil, errors.New("the library keeps state in another way")
	}
	log := zerolog.Nop()
	client.StateStore = states
	d := &Device{client: client, machine: crypto.NewOlmMachine(client, &log, crypto.NewMemoryStore(nil), states), states: states}
	if err := d.machine.Load(ctx); err != nil {
		return nil, fmt.Errorf("make a device: %w", err)
	}
	if err := d.machine.ShareKeys(ctx, -1); err != nil {
		return nil, fmt.Errorf("publish the keys of a device: %w", err)
	}
	client.Crypto = d
	return d, nil
}

// Use hands out what has the keys, for as long as the function runs; the client waits
// meanwhile.
func (d *Device) Use(what func(*crypto.OlmMachine)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what(d.machine)
}

// receive takes what concerns devices and keys from an answer to /sync, and returns
// the events of before that can be read now.
func (d *Device) receive(ctx context.Context, resp *mautrix.RespSync, since string) (opened []*event.Event) {
	d.mu.Lock()
	d.machine.ProcessSyncResponse(ctx, resp, since)
	d.mu.Unlock()
	late := d.late
	d.late = nil
	for _, evt := range late {
		if evt := d.open(ctx, evt); evt.Type != event.EventEncrypted {
			opened = append(opened, evt)
		} else {
			d.late = append(d.late, evt)
		}
	}
	return opened
}

// note takes an event of a room that concerns who is in it and whether it is
// encrypted. It asks for the state that Dendrite v0.15.2 now and then leaves out of
// the first answer to /sync with a room in it.
func (d *Device) note(ctx context.Context, evt *event.Event) {
	if evt.Type == event.EventEncrypted || evt.Mautrix.WasEncrypted {
		if known, err := d.states.IsEncrypted(ctx, evt.RoomID); err == nil && !known {
			_, _ = d.client.State(ctx, evt.RoomID) // it fills the table
		}
	}
	if evt.StateKey == nil {
		return
	}
	mautrix.UpdateStateStore(ctx, d.states, evt)
	if evt.Type == event.StateMember {
		d.mu.Lock()
		d.machine.HandleMemberEvent(ctx, evt)
		d.mu.Unlock()
	}
}

// keep remembers an event that cannot be read yet.
func (d *Device) keep(evt *event.Event) { d.late = append(d.late, evt) }

// open returns what is in an event, or the event itself where it cannot be read.
func (d *Device) open(ctx context.Context, evt *event.Event) *event.Event {
	if evt.Type != event.EventEncrypted {
		return evt
	}
	decrypted, err := d.Decrypt(ctx, evt)
	if err != nil {
		return evt
	}
	return decrypted
}

// Encrypt implements the library's interface: the members of the room get the keys.
func (d *Device) Encrypt(ctx context.Context, room id.RoomID, kind event.Type, content any) (*event.EncryptedEventContent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	encrypted, err := d.machine.EncryptMegolmEvent(ctx, room, kind, content)
	if !crypto.IsShareError(err) {
		return encrypted, err
	}
	members, err := d.states.GetRoomJoinedOrInvitedMembers(ctx, room)
	if err != nil {
		return nil, err
	}
	if err := d.machine.ShareGroupSession(ctx, room, members); err != nil {
		return nil, err
	}
	return d.machine.EncryptMegolmEvent(ctx, room, kind, content)
}

// Decrypt implements the library's interface.
func (d *Device) Decrypt(ctx context.Context, evt *event.Event) (*event.Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.machine.DecryptMegolmEvent(ctx, evt)
}

// Init implements the library's interface, as the methods below do; nobody calls them
// here.
func (*Device) Init(context.Context) error { return nil }

// WaitForSession is explained at Init.
func (*Device) WaitForSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, time.Duration) bool {
	return false
}

// RequestSession is explained at Init.
func (*Device) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

var _ mautrix.CryptoHelper = (*Device)(nil)
