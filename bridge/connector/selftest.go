// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
)

const (
	// selfTestRoomKey is the key of the room of the self-test in the tables.
	selfTestRoomKey database.Key = "im.mimir.self_test_room"
	// stateUnreachable is in a bridge state while the homeserver does not reach the
	// bridge.
	stateUnreachable = status.BridgeStateErrorCode("mimir-deaf")
)

// selfTestEvent is sent into a room that only the bot is in.
var selfTestEvent = event.Type{Type: "im.mimir.self_test", Class: event.MessageEventType}

// SelfTest sends an event that the homeserver has to send back, so that also an unused
// bridge knows whether the homeserver reaches it.
func (c *Connector) SelfTest(ctx context.Context) error {
	bot := c.matrix.Bot()
	if room := id.RoomID(c.br.DB.KV.Get(ctx, selfTestRoomKey)); room != "" {
		_, err := bot.SendMessageEvent(ctx, room, selfTestEvent, struct{}{})
		if !errors.Is(err, mautrix.MForbidden) && !errors.Is(err, mautrix.MNotFound) {
			return err
		}
	}
	room, err := bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Name: "Mimir bridge self-test", Preset: "private_chat",
		CreationContent: map[string]any{"m.federate": false},
	})
	if err != nil {
		return err
	}
	c.br.DB.KV.Set(ctx, selfTestRoomKey, string(room.RoomID))
	return nil
}

// TellInbound tells all logins that the homeserver does not reach the bridge, or nil that
// it does again.
func (c *Connector) TellInbound(unreachable error) {
	for _, login := range c.br.GetAllCachedUserLogins() {
		cl, ok := login.Client.(*client)
		if !ok || !cl.IsLoggedIn() || login.BridgeState == nil {
			continue
		}
		state := c.connected(cl.account)
		if unreachable != nil {
			state = status.BridgeState{
				StateEvent: status.StateUnknownError, Error: stateUnreachable,
				Message: "What you write does not reach the bridge: " + fault.OneLine(unreachable) + ".",
			}
		}
		c.sendState(login, state)
	}
}
