// SPDX-License-Identifier: MPL-2.0

//go:build !goolm || nocrypto

package bridge

import (
	"context"
	"log/slog"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/sqlstatestore"
)

// canEncrypt is whether this program can take part in encrypted rooms.
const canEncrypt = false

// botDevice is none: this program has no encryption in it.
type botDevice struct{}

func newBotDevice(
	*bridgeconfig.Config, *appservice.AppService, *bridgev2.Bridge, *sqlstatestore.SQLStateStore, id.UserID, *slog.Logger,
) *botDevice {
	return &botDevice{}
}

// Init says why there is none.
func (*botDevice) Init(context.Context) error { return ErrNoEncryption }

// What follows is never called: without Init the device is given up.

func (*botDevice) Start()                                                {}
func (*botDevice) Stop()                                                 {}
func (*botDevice) Reset(context.Context, bool) error                     { return ErrNoEncryption }
func (*botDevice) ShareKeys(context.Context) error                       { return ErrNoEncryption }
func (*botDevice) Client() *mautrix.Client                               { return nil }
func (*botDevice) client() *mautrix.Client                               { return nil }
func (*botDevice) HandleMemberEvent(context.Context, *event.Event)       {}
func (*botDevice) ResetSession(context.Context, id.RoomID)               {}
func (*botDevice) BeeperStreamPublisher() bridgev2.BeeperStreamPublisher { return nil }
func (*botDevice) request(context.Context, *event.Event)                 {}
func (*botDevice) explain(context.Context, id.UserID) string             { return "" }
func (*botDevice) decrypt(context.Context, *event.Event) (*event.Event, error) {
	return nil, ErrNoEncryption
}

func (*botDevice) Decrypt(context.Context, *event.Event) (*event.Event, error) {
	return nil, ErrNoEncryption
}

func (*botDevice) Encrypt(context.Context, id.RoomID, event.Type, *event.Content) error {
	return ErrNoEncryption
}

func (*botDevice) WaitForSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, time.Duration) bool {
	return false
}

func (*botDevice) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

func (*botDevice) receive(context.Context, *mautrix.RespSync, func(context.Context) error) error {
	return ErrNoEncryption
}

var _ device = (*botDevice)(nil)
