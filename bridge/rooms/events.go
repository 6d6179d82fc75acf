// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/msgconv"
)

// The answers to messages in rooms of the bridge without a conversation.
var (
	errNoLoginForRoom = msgconv.Refusal("the bridge does not know this room any more: say `login attach` to the bot, where you talk with it alone, " +
		"and the room will be used again")
	errNotAdopted = msgconv.Refusal("the bridge does not know this room any more, and does not adopt it, because another user is in it, or somebody " +
		"else uses the identity now")
	errGivenUp     = msgconv.Refusal("the bridge has given up this room; the next message of the contact comes in another one")
	errNotReadable = msgconv.Refusal("the bridge does not know this room any more, and the homeserver does not say what it was")
)

// UnknownRoom adopts the room of an event if it can,
// and reports whether the event is to be handled, because the room is the management room
// or has just become that of a conversation. Other events are answered when a user may
// have meant them for a contact. After an error it has to be called again.
func (f *Finder) UnknownRoom(ctx context.Context, evt *event.Event) (handle bool, err error) {
	bot := f.matrix.Bot().UserID
	inRoom := f.matrix.AppService().StateStore.IsInRoom(ctx, evt.RoomID, bot)
	if f.IsOurs(evt) {
		return inRoom, nil
	}
	if !inRoom {
		joined, err := f.Joined(ctx, joinedAge)
		if err == nil && !joined[evt.RoomID] {
			f.passOver(evt)
		}
		if err != nil || !joined[evt.RoomID] {
			return false, err
		}
	}
	if key, seen := f.key(evt.RoomID); seen && key.IsEmpty() {
		return true, nil
	}
	claim, err := f.readClaim(ctx, evt.RoomID)
	if f.isUnreadable(evt.RoomID, err) {
		return false, f.answer(ctx, evt, errNotReadable) // which waits while the homeserver is away
	}
	if err != nil {
		return false, err
	}
	if claim == nil { // the bot was in it
		f.passOver(evt)
		return false, nil
	}
	if moved, err := f.follow(ctx, claim); moved || err != nil && !f.failures.isHopeless(evt.ID, err, maxTellTries) {
		return moved, err
	}
	if claim.key.IsEmpty() && claim.ghosts == 0 && len(claim.people) == 1 {
		if adopted, err := f.adoptManagement(ctx, claim); err != nil || adopted {
			return adopted, err
		}
	}
	if claim.predecessor == "" || !claim.key.IsEmpty() {
		f.Note(evt.RoomID, claim.key)
	}
	if claim.key.IsEmpty() || claim.isSpace() {
		return true, nil
	}
	return f.conversationEvent(ctx, evt, claim.key, claim)
}

// conversationEvent is UnknownRoom for a room that was one of a conversation.
func (f *Finder) conversationEvent(ctx context.Context, evt *event.Event, key networkid.PortalKey, claim *roomClaim) (handle bool, err error) {
	logins, err := f.loginsOf(ctx, key)
	switch {
	case err != nil:
		return false, err
	case len(logins) == 0:
		return false, f.answer(ctx, evt, errNoLoginForRoom)
	case !claim.belongsTo(logins):
		return false, f.answer(ctx, evt, errNotAdopted)
	}
	release, err := f.changing.Hold(ctx, key)
	if err != nil {
		return false, err
	}
	defer release()
	if err := f.adoptRooms(ctx, key, []*roomClaim{claim}); err != nil {
		if f.failures.isHopeless(evt.ID, err, maxTellTries) {
			return false, f.answer(ctx, evt, errNotReadable)
		}
		return false, err
	}
	portal, err := f.br.GetPortalByKey(ctx, key)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	case portal.MXID == evt.RoomID:
		return true, nil
	case portal.MXID == "":
		return false, f.answer(ctx, evt, errGivenUp)
	default:
		return false, f.answer(ctx, evt, msgconv.Refusal("this conversation goes on in another room: "+
			portal.MXID.URI(f.matrix.ServerName()).MatrixToURL()))
	}
}

// passOver notes a message that nothing can answer: the bot is not in its room.
func (f *Finder) passOver(evt *event.Event) {
	if !isUse(evt.Type) || !f.permissions.Get(evt.Sender).SendEvents {
		return
	}
	total := f.passed.Add(1)
	if f.passedLog.Allow() {
		f.log.Warn("message in a room without the bot not sent", "room_id", evt.RoomID, "event_id", evt.ID, "total", total)
	}
}

// IsOurs reports whether the bridge has sent an event, also as one of its users.
func (f *Finder) IsOurs(evt *event.Event) bool {
	if evt.Sender == f.matrix.Bot().UserID || f.br.IsGhostMXID(evt.Sender) {
		return true
	}
	value, ok := evt.Content.Raw[appservice.DoublePuppetKey]
	return ok && value == f.matrix.AppService().DoublePuppetValue
}

// answer tells the sender of a message that it was not sent, and why. After an error it
// has to be called again.
func (f *Finder) answer(ctx context.Context, evt *event.Event, why error) error {
	if !isUse(evt.Type) || evt.Content.AsMessage().MsgType == event.MsgNotice || !f.permissions.Get(evt.Sender).SendEvents {
		return nil
	}
	f.log.Warn("message in an unknown room not sent", "room_id", evt.RoomID, "event_id", evt.ID, "err", fault.OneLine(why))
	scope := homeserver.NewNamedScope("unknown room/" + string(evt.ID))
	ctx, cancel := scope.With(ctx, ctx)
	defer cancel()
	status := bridgev2.WrapErrorInStatus(why)
	f.status.Send(ctx, &status, bridgev2.StatusEventInfoFromEvent(evt))
	err := homeserver.WithRetryAfter(scope.Err())
	if err != nil && f.failures.isHopeless(evt.ID, err, maxTellTries) {
		f.log.Warn("sender not told", "room_id", evt.RoomID, "event_id", evt.ID, "err", fault.OneLine(err))
		return nil
	}
	return err
}
