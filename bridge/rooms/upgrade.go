// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
)

// A room that was upgraded is replaced by another one: a tombstone in the old room names
// the new one, and the new one its predecessor. The conversation moves when both agree,
// the sender of the tombstone had the power to send it, and the owner of the login is in
// the new room. A condition that is missing may be met later: all are checked again when a
// user joins the new room, and when all rooms are searched.

// Tombstone handles an event that says that the room of
// a conversation was replaced. It reports false for other events, and for a tombstone
// that names no other room: the library gives up the room then.
func (f *Finder) Tombstone(ctx context.Context, evt *event.Event) (handled bool, err error) {
	if evt.Type != event.StateTombstone || evt.GetStateKey() != "" {
		return false, nil
	}
	portal, err := f.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	content, ok := evt.Content.Parsed.(*event.TombstoneEventContent)
	switch {
	case portal == nil, f.IsOurs(evt):
		return true, nil
	case !ok || content.ReplacementRoom == "":
		return false, nil
	}
	logins, err := f.loginsOf(ctx, portal.PortalKey)
	if err != nil || len(logins) == 0 {
		return true, err
	}
	moved := false
	for _, login := range logins {
		if moved, err = f.moveTo(ctx, login, content.ReplacementRoom, evt.Sender); moved || err != nil {
			break
		}
	}
	if moved || err != nil && !f.failures.isHopeless(evt.ID, err, maxTries) {
		return true, err
	}
	return true, f.tellUpgrade(ctx, evt)
}

// moveTo moves a conversation to the room that a tombstone names, if that is possible
// now.
func (f *Finder) moveTo(ctx context.Context, login *bridgev2.UserLogin, room id.RoomID, via id.UserID) (moved bool, err error) {
	entered, err := f.enter(ctx, login, room, via)
	if err != nil || !entered {
		return false, err
	}
	claim, err := f.readClaim(ctx, room)
	if err != nil || claim == nil {
		return false, err
	}
	return f.follow(ctx, claim)
}

// BotInvited checks whether a room that the bot was
// invited to replaces the room of a conversation.
func (f *Finder) BotInvited(ctx context.Context, evt *event.Event) error {
	if evt.Type != event.StateMember || evt.GetStateKey() != string(f.matrix.Bot().UserID) || f.IsOurs(evt) ||
		evt.Content.AsMember().Membership != event.MembershipInvite {
		return nil
	}
	claim, err := f.readClaim(ctx, evt.RoomID)
	if err == nil && claim != nil {
		_, err = f.follow(ctx, claim)
	}
	if err != nil && f.failures.isHopeless(evt.ID, err, maxTries) {
		f.log.Warn("possible upgrade of a room not checked", "room_id", evt.RoomID, "err", fault.OneLine(err))
		return nil
	}
	return err
}

// tellUpgrade says in the old room which condition is missing for the conversation to
// move.
func (f *Finder) tellUpgrade(ctx context.Context, evt *event.Event) error {
	return f.Say(ctx, evt, "upgrade/"+string(evt.ID), fmt.Sprintf(
		"This room was replaced. The conversation moves to the new room when you are in it and have invited %s there.", f.matrix.Bot().UserID))
}

// Say answers an event with a notice in its room. scope names the notice: said again, it is
// the same one. After an error it has to be called again; a notice that the homeserver
// refuses, or fails to send several times while it answers other requests, is given up.
func (f *Finder) Say(ctx context.Context, evt *event.Event, scope, text string) error {
	ctx, cancel := homeserver.NewNamedScope(scope).With(ctx, ctx)
	defer cancel()
	_, err := f.matrix.BotIntent().SendMessage(ctx, evt.RoomID, event.EventMessage, &event.Content{Parsed: msgconv.Notice(text)}, nil)
	if err = homeserver.WithRetryAfter(err); err != nil && f.failures.isHopeless(evt.ID, err, maxTries) {
		f.log.Warn("room not told", "room_id", evt.RoomID, "event_id", evt.ID, "err", fault.OneLine(err))
		return nil
	}
	return err
}

// enter brings the bot into a room that replaces another: by itself, or with an
// invitation of the owner of the login, if the bridge may act as them.
func (f *Finder) enter(ctx context.Context, login *bridgev2.UserLogin, room id.RoomID, via id.UserID) (bool, error) {
	ctx = mautrix.WithMaxRetries(ctx, 0)
	join := func() (bool, error) {
		_, err := f.matrix.Bot().JoinRoom(ctx, string(room), &mautrix.ReqJoinRoom{Via: []string{via.Homeserver()}})
		switch {
		case err == nil:
			return true, nil
		case homeserver.IsFinal(err):
			return false, nil
		default:
			return false, fmt.Errorf("enter an upgraded room: %w", err)
		}
	}
	entered, err := join()
	if err != nil || entered {
		return entered, err
	}
	puppet := login.User.DoublePuppet(ctx)
	if puppet == nil {
		return false, nil
	}
	if err := puppet.EnsureInvited(ctx, room, f.matrix.Bot().UserID); err != nil {
		f.log.Info("bot not invited into an upgraded room", "room_id", room, "err", fault.OneLine(err))
	}
	return join()
}

// follow moves a conversation to the room that replaces its own, and reports whether it
// has.
func (f *Finder) follow(ctx context.Context, claim *roomClaim) (bool, error) {
	if claim.predecessor == "" {
		return false, nil
	}
	portal, err := f.br.GetPortalByMXID(ctx, claim.predecessor)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal == nil {
		return false, nil
	}
	logins, err := f.loginsOf(ctx, portal.PortalKey)
	at := slices.IndexFunc(logins, func(login *bridgev2.UserLogin) bool { return slices.Contains(claim.joined, login.UserMXID) })
	if err != nil || at < 0 {
		return false, err
	}
	login := logins[at]
	release, err := f.changing.Hold(ctx, portal.PortalKey)
	if err != nil {
		return false, err
	}
	defer release()
	if replaced, err := f.isReplaced(ctx, portal.MXID, claim.room); err != nil || !replaced {
		return false, err
	}
	return true, f.move(ctx, login, portal, claim.room)
}

// isReplaced reports whether a room has a tombstone that names another one, from a sender
// who had the power and is not of the bridge.
func (f *Finder) isReplaced(ctx context.Context, old, replacement id.RoomID) (bool, error) {
	state, err := f.readState(ctx, old)
	switch {
	case errors.Is(err, mautrix.MForbidden), errors.Is(err, mautrix.MNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the state of an upgraded room: %w", err)
	}
	tombstone, levels := state[event.StateTombstone][""], state[event.StatePowerLevels][""]
	if tombstone == nil || levels == nil || f.IsOurs(tombstone) {
		return false, nil
	}
	content, ok := tombstone.Content.Parsed.(*event.TombstoneEventContent)
	power, isPower := levels.Content.Parsed.(*event.PowerLevelsEventContent)
	if !ok || !isPower || content.ReplacementRoom != replacement {
		return false, nil
	}
	if power.GetUserLevel(tombstone.Sender) < power.GetEventLevel(event.StateTombstone) {
		f.log.Warn("upgrade of a room ignored, its sender had no power", "room_id", old, "user_id", tombstone.Sender)
		return false, nil
	}
	return true, nil
}

// move makes another room that of a conversation, and links the old one to it.
func (f *Finder) move(ctx context.Context, login *bridgev2.UserLogin, portal *bridgev2.Portal, room id.RoomID) error {
	account, conversationID, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return fmt.Errorf("move a conversation: %w", err) // a portal of no conversation
	}
	conversation, old := store.Conversation{Account: account, ID: conversationID}, portal.MXID
	// The bot may have no power to invite there; its owner may.
	if puppet := login.User.DoublePuppet(ctx); puppet != nil {
		for _, who := range []networkid.UserID{mimirid.User(conversationID.Contact()), mimirid.User(account)} {
			if conversationID.Kind() == store.KindGroup {
				break // its members join by themselves
			}
			if ghost, err := f.br.GetGhostByID(ctx, who); err == nil {
				_ = puppet.EnsureInvited(ctx, room, ghost.Intent.GetMXID()) // or the bot does
			}
		}
	}
	// First, so that the history is not shown again.
	if err := f.conversations.ShownIn(ctx, conversation, room); err != nil {
		return err
	}
	if err := f.take(ctx, login, portal, room); err != nil {
		return err
	}
	f.log.Info("conversation moved to an upgraded room", "contact", conversationID.Short(), "room_id", room)
	f.conversations.Retry(conversation)
	scope := homeserver.NewNamedScope("moved/" + string(old) + "/" + string(room))
	ctx, cancel := scope.With(ctx, ctx)
	defer cancel()
	text := "This conversation goes on here. What was written before is in " + old.URI(f.matrix.ServerName()).MatrixToURL()
	if _, err := f.matrix.BotIntent().SendMessage(ctx, room, event.EventMessage, &event.Content{Parsed: msgconv.Notice(text)}, nil); err != nil {
		f.log.Warn("old room not linked", "room_id", room, "err", fault.OneLine(err))
	}
	return nil
}
