// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

const (
	// selfTestRoomKey is the key of the room of the self-test in the tables.
	selfTestRoomKey database.Key = "im.mimir.self_test_room"
	// selfTestRoomName is the name of the rooms that only the bot is in.
	selfTestRoomName = "Mimir bridge self-test"
)

// selfTestEvent is sent into a room that only the bot is in.
var selfTestEvent = event.Type{Type: "im.mimir.self_test", Class: event.MessageEventType}

// SelfTestRoom returns the room of the self-test, "" for none.
func (f *Finder) SelfTestRoom(ctx context.Context) id.RoomID {
	return id.RoomID(f.br.DB.KV.Get(ctx, selfTestRoomKey))
}

// SelfTest sends an event that the homeserver has to send back, so that also an unused
// bridge knows whether the homeserver reaches it.
func (f *Finder) SelfTest(ctx context.Context) error {
	bot := f.matrix.Bot()
	if room := f.SelfTestRoom(ctx); room != "" {
		_, err := bot.SendMessageEvent(ctx, room, selfTestEvent, struct{}{})
		if !errors.Is(err, mautrix.MForbidden) && !errors.Is(err, mautrix.MNotFound) {
			return err
		}
	}
	room, err := bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Name: selfTestRoomName, Preset: "private_chat",
		CreationContent: map[string]any{"m.federate": false},
	})
	if err != nil {
		return err
	}
	f.br.DB.KV.Set(ctx, selfTestRoomKey, string(room.RoomID))
	return nil
}
