// SPDX-License-Identifier: MPL-2.0

//go:build !goolm || nocrypto

package botcrypto

import (
	"context"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// CanEncrypt says whether this program was built with encryption.
const CanEncrypt = false

// BotDevice replaces the device in a program without encryption.
type BotDevice struct{}

// New returns a device that cannot be initialised.
func New(Deps) *BotDevice { return &BotDevice{} }

// Init returns [ErrNoEncryption].
func (*BotDevice) Init(context.Context) error { return ErrNoEncryption }

// Nothing calls the other methods, because Init fails.

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
