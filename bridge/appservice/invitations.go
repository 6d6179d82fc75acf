// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
)

// maxJoinTries is how often the bot tries to join a room that it is invited to.
const maxJoinTries = 20

// acceptInvitation joins the room that the bot is invited to, before the library
// sees the invitation: the library tries once. After an error it has to be called again.
// Until release is called no other invitation of the same user is handled, and no room is
// adopted for them: the library makes the first one the user's management room without a
// lock.
func (d *Dispatcher) acceptInvitation(ctx context.Context, evt *event.Event, failures int) (release func(), err error) {
	bot := d.deps.Matrix.Bot()
	if evt.Type != event.StateMember || id.UserID(evt.GetStateKey()) != bot.UserID ||
		evt.Content.AsMember().Membership != event.MembershipInvite {
		return func() {}, nil
	}
	user, err := d.deps.Bridge.GetUserByMXID(ctx, evt.Sender)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if user == nil || !user.Permissions.Commands {
		return func() {}, nil // the library refuses it
	}
	err = bot.EnsureJoined(mautrix.WithMaxRetries(ctx, 0), evt.RoomID)
	switch {
	case err == nil:
	case homeserver.IsFinal(err), failures >= maxJoinTries:
		d.deps.Log.Warn("dropping an invitation that cannot be accepted", "room_id", evt.RoomID, "err", fault.OneLine(err))
	default:
		return nil, fmt.Errorf("accept the invitation to %s: %w", evt.RoomID, err)
	}
	return d.deps.Rooms.HoldManagementRoom(ctx, evt.Sender)
}
