// SPDX-License-Identifier: MPL-2.0

//go:build !goolm || nocrypto

package botcrypto

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

// CanEncrypt is whether this program can take part in encrypted rooms.
const CanEncrypt = false

// BotDevice is none: this program has no encryption in it.
type BotDevice struct{}

func New(
	*bridgeconfig.Config, *appservice.AppService, *bridgev2.Bridge, *sqlstatestore.SQLStateStore, id.UserID, *slog.Logger,
) *BotDevice {
	return &BotDevice{}
}

// Init says why there is none.
func (*BotDevice) Init(context.Context) error { return ErrNoEncryption }

// What follows is never called: without Init the device is given up.

func (*BotDevice) Start()                                                {}
func (*BotDevice) Stop()                                                 {}
func (*BotDevice) Reset(context.Context, bool) error                     { return ErrNoEncryption }
func (*BotDevice) ShareKeys(context.Context) error                       { return ErrNoEncryption }
func (*BotDevice) Client() *mautrix.Client                               { return nil }
func (*BotDevice) HandleMemberEvent(context.Context, *event.Event)       {}
func (*BotDevice) ResetSession(context.Context, id.RoomID)               {}
func (*BotDevice) BeeperStreamPublisher() bridgev2.BeeperStreamPublisher { return nil }
func (*BotDevice) Request(context.Context, *event.Event)                 {}
func (*BotDevice) Explain(context.Context, id.UserID) string             { return "" }
func (*BotDevice) Decrypt(context.Context, *event.Event) (*event.Event, error) {
	return nil, ErrNoEncryption
}

func (*BotDevice) Encrypt(context.Context, id.RoomID, event.Type, *event.Content) error {
	return ErrNoEncryption
}

func (*BotDevice) WaitForSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, time.Duration) bool {
	return false
}

func (*BotDevice) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

func (*BotDevice) Receive(context.Context, *mautrix.RespSync, func(context.Context) error) error {
	return ErrNoEncryption
}

var _ Device = (*BotDevice)(nil)
