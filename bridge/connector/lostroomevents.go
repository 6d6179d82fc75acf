// SPDX-License-Identifier: MPL-2.0

package connector

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

// UnknownRoom implements [appservice.Rooms]: it adopts the room of an event if it can,
// and reports whether the event is to be handled, because the room is the management room
// or has just become that of a conversation. Other events are answered when a user may
// have meant them for a contact. After an error it has to be called again.
func (l *lostRooms) UnknownRoom(ctx context.Context, evt *event.Event) (handle bool, err error) {
	bot := l.matrix.Bot().UserID
	inRoom := l.matrix.AppService().StateStore.IsInRoom(ctx, evt.RoomID, bot)
	if l.isOurs(evt) {
		return inRoom, nil
	}
	if !inRoom {
		joined, err := l.list(ctx, joinedAge)
		if err == nil && !joined[evt.RoomID] {
			l.passOver(evt)
		}
		if err != nil || !joined[evt.RoomID] {
			return false, err
		}
	}
	if key, seen := l.key(evt.RoomID); seen && key.IsEmpty() {
		return true, nil
	}
	claim, err := l.readClaim(ctx, evt.RoomID)
	if l.isUnreadable(evt.RoomID, err) {
		return false, l.answer(ctx, evt, errNotReadable) // which waits while the homeserver is away
	}
	if err != nil {
		return false, err
	}
	if claim == nil { // the bot was in it
		l.passOver(evt)
		return false, nil
	}
	if moved, err := l.follow(ctx, claim); moved || err != nil && !l.failures.isHopeless(evt.ID, err, maxTellTries) {
		return moved, err
	}
	if claim.key.IsEmpty() && claim.ghosts == 0 && len(claim.people) == 1 {
		if adopted, err := l.adoptManagement(ctx, claim); err != nil || adopted {
			return adopted, err
		}
	}
	if claim.predecessor == "" || !claim.key.IsEmpty() {
		l.remember(evt.RoomID, claim.key)
	}
	if claim.key.IsEmpty() || claim.isSpace() {
		return true, nil
	}
	return l.conversationEvent(ctx, evt, claim.key, claim)
}

// conversationEvent is UnknownRoom for a room that was one of a conversation.
func (l *lostRooms) conversationEvent(ctx context.Context, evt *event.Event, key networkid.PortalKey, claim *roomClaim) (handle bool, err error) {
	login, err := l.loginOf(ctx, key)
	switch {
	case err != nil:
		return false, err
	case login == nil:
		return false, l.answer(ctx, evt, errNoLoginForRoom)
	case !claim.belongsTo(login.UserMXID):
		return false, l.answer(ctx, evt, errNotAdopted)
	}
	if err := l.adoptKey(ctx, key, []*roomClaim{claim}); err != nil {
		if l.failures.isHopeless(evt.ID, err, maxTellTries) {
			return false, l.answer(ctx, evt, errNotReadable)
		}
		return false, err
	}
	portal, err := l.br.GetPortalByKey(ctx, key)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	case portal.MXID == evt.RoomID:
		return true, nil
	case portal.MXID == "":
		return false, l.answer(ctx, evt, errGivenUp)
	default:
		return false, l.answer(ctx, evt, msgconv.Refusal("this conversation goes on in another room: "+
			portal.MXID.URI(l.matrix.ServerName()).MatrixToURL()))
	}
}

// passOver notes a message that nothing can answer: the bot is not in its room.
func (l *lostRooms) passOver(evt *event.Event) {
	if !isUse(evt.Type) || !l.config.Bridge.Permissions.Get(evt.Sender).SendEvents {
		return
	}
	total := l.passed.Add(1)
	if l.passedLog.Allow() {
		l.log.Warn("message in a room without the bot not sent", "room_id", evt.RoomID, "event_id", evt.ID, "total", total)
	}
}

// isOurs reports whether the bridge has sent an event, also as one of its users.
func (l *lostRooms) isOurs(evt *event.Event) bool {
	if evt.Sender == l.matrix.Bot().UserID || l.br.IsGhostMXID(evt.Sender) {
		return true
	}
	value, ok := evt.Content.Raw[appservice.DoublePuppetKey]
	return ok && value == l.matrix.AppService().DoublePuppetValue
}

// answer tells the sender of a message that it was not sent, and why. After an error it
// has to be called again.
func (l *lostRooms) answer(ctx context.Context, evt *event.Event, why error) error {
	if !isUse(evt.Type) || evt.Content.AsMessage().MsgType == event.MsgNotice || !l.config.Bridge.Permissions.Get(evt.Sender).SendEvents {
		return nil
	}
	l.log.Warn("message in an unknown room not sent", "room_id", evt.RoomID, "event_id", evt.ID, "err", fault.OneLine(why))
	scope := homeserver.NewNamedScope("unknown room/" + string(evt.ID))
	ctx, cancel := scope.With(ctx, ctx)
	defer cancel()
	status := bridgev2.WrapErrorInStatus(why)
	l.status.Send(ctx, &status, bridgev2.StatusEventInfoFromEvent(evt))
	err := homeserver.WithRetryAfter(scope.Err())
	if err != nil && l.failures.isHopeless(evt.ID, err, maxTellTries) {
		l.log.Warn("sender not told", "room_id", evt.RoomID, "event_id", evt.ID, "err", fault.OneLine(err))
		return nil
	}
	return err
}
