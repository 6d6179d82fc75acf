// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/homeserver"
)

// roomClaim is what the state of a room says about it, as far as the bridge's bot is its
// sender. Only the bot can send in its name, and a user who copies the state into another
// room is the sender there.
type roomClaim struct {
	room id.RoomID
	// key names the conversation that the room shows, or the login whose space it is,
	// with the ID homeserver.SpaceChannel. It is empty when the bot has written neither.
	key networkid.PortalKey
	// people are the members who are neither the bot nor ghosts, invited ones
	// included; ghosts is the number of members who are.
	people []id.UserID
	ghosts int
	joined []id.UserID // those of people who have joined
	// ownRoom means that the bot has created the room.
	ownRoom bool
	// named are the users whom the bot has given a power level.
	named []id.UserID
	name  string
	// movedTo is the room that replaces this one, and predecessor the one it replaces, as
	// its own state says.
	movedTo, predecessor id.RoomID
	// givenUp means that the bridge has created another room instead.
	givenUp bool
}

// givenUpKey is set for a room that the bridge has given up for another one: the bot may
// be unable to leave it, and it must not be adopted again.
func givenUpKey(room id.RoomID) database.Key {
	return database.Key("im.mimir.given_up." + string(room))
}

// GiveUp stores that the bridge gives up a room for another one. It is called before the
// room is left. The library's own function only logs a failure.
func (f *Finder) GiveUp(ctx context.Context, room id.RoomID) error {
	_, err := f.br.DB.Exec(ctx, `INSERT INTO kv_store (bridge_id, key, value) VALUES ($1, $2, '1')
		ON CONFLICT (bridge_id, key) DO NOTHING`, f.br.ID, givenUpKey(room))
	if err != nil {
		return fmt.Errorf("note that a room is given up: %w", err)
	}
	return nil
}

// belongsTo reports whether only the bridge and users of these logins are in the room. The
// bot has created a room without people for its users.
func (c *roomClaim) belongsTo(logins []*bridgev2.UserLogin) bool {
	if len(c.people) == 0 {
		return c.ownRoom
	}
	for _, user := range c.people {
		if !slices.ContainsFunc(logins, func(login *bridgev2.UserLogin) bool { return login.UserMXID == user }) {
			return false
		}
	}
	return true
}

// isUnfinished reports whether a room may be one whose creation goes on: the homeserver
// has put the bot into it, and its state follows.
func (c *roomClaim) isUnfinished() bool {
	return c.ownRoom && c.key.IsEmpty() && c.name == "" && len(c.people) == 0 && c.ghosts == 0
}

func (c *roomClaim) isSpace() bool { return c.key.ID == homeserver.SpaceChannel }

// readState returns the state of a room. Unlike State of the library's client it does not
// change the tables: another goroutine may be inviting people into the room, and then the
// answer is older than the tables are.
func (f *Finder) readState(ctx context.Context, room id.RoomID) (mautrix.RoomStateMap, error) {
	events, err := f.matrix.Bot().StateAsArray(mautrix.WithMaxRetries(ctx, 0), room)
	if err != nil {
		return nil, err
	}
	state := make(mautrix.RoomStateMap)
	for _, evt := range events {
		if evt.StateKey == nil {
			continue
		}
		_ = evt.Content.ParseRaw(evt.Type) // content that is not parsed counts as none
		if state[evt.Type] == nil {
			state[evt.Type] = make(map[string]*event.Event)
		}
		state[evt.Type][*evt.StateKey] = evt
	}
	if levels, ok := state[event.StatePowerLevels][""]; ok {
		levels.Content.AsPowerLevels().CreateEvent = state[event.StateCreate][""]
	}
	return state, nil
}

// fillTables replaces what the bridge's tables have about a room by its state, before the
// bridge starts to use it.
func (f *Finder) fillTables(ctx context.Context, room id.RoomID) error {
	if _, err := f.matrix.Bot().Client.State(mautrix.WithMaxRetries(ctx, 0), room); err != nil {
		return fmt.Errorf("read the state of a room: %w", err)
	}
	return nil
}

// readClaim asks the homeserver for the state of a room. It returns nil when the bot is
// not in it.
func (f *Finder) readClaim(ctx context.Context, room id.RoomID) (*roomClaim, error) {
	bot := f.matrix.Bot()
	state, err := f.readState(ctx, room)
	switch {
	case errors.Is(err, mautrix.MForbidden), errors.Is(err, mautrix.MNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the state of a room: %w", err)
	}
	claim := &roomClaim{room: room, givenUp: f.br.DB.KV.Get(ctx, givenUpKey(room)) != ""}
	inRoom := false
	for user, evt := range state[event.StateMember] {
		member, ok := evt.Content.Parsed.(*event.MemberEventContent)
		switch user := id.UserID(user); {
		case !ok || !member.Membership.IsInviteOrJoin():
		case user == bot.UserID:
			inRoom = member.Membership == event.MembershipJoin
		case f.br.IsGhostMXID(user):
			claim.ghosts++
		default:
			claim.people = append(claim.people, user)
			if member.Membership == event.MembershipJoin {
				claim.joined = append(claim.joined, user)
			}
		}
	}
	if !inRoom {
		return nil, nil
	}
	if evt := state[event.StateCreate][""]; evt != nil {
		claim.ownRoom = evt.Sender == bot.UserID
		if create, ok := evt.Content.Parsed.(*event.CreateEventContent); ok {
			claim.predecessor = create.GetPredecessor().RoomID
		}
	}
	for _, evt := range state[event.StateBridge] {
		if content, ok := evt.Content.Parsed.(*event.BridgeEventContent); ok && evt.Sender == bot.UserID {
			if key := homeserver.RoomKey(content); !key.IsEmpty() {
				claim.key = key
			}
		}
	}
	if levels, ok := byBot[*event.PowerLevelsEventContent](state[event.StatePowerLevels][""], bot.UserID); ok {
		for user := range levels.Users {
			claim.named = append(claim.named, user)
		}
	}
	if name, ok := byBot[*event.RoomNameEventContent](state[event.StateRoomName][""], bot.UserID); ok {
		claim.name = name.Name
	}
	if evt := state[event.StateTombstone][""]; evt != nil {
		if tombstone, ok := evt.Content.Parsed.(*event.TombstoneEventContent); ok {
			claim.movedTo = tombstone.ReplacementRoom
		}
	}
	slices.Sort(claim.people)
	return claim, nil
}

// byBot returns the content of a state event if the bot has sent it.
func byBot[T any](evt *event.Event, bot id.UserID) (content T, ok bool) {
	if evt == nil || evt.Sender != bot {
		return content, false
	}
	content, ok = evt.Content.Parsed.(T)
	return content, ok
}
