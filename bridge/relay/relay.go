// SPDX-License-Identifier: MPL-2.0

// Package relay has what bridgev2's relay mode lacks. In relay mode people without a login
// write into a conversation through the login of somebody else, with their name before the
// text.
//
// A person who does not want that says `!mimir relay off`, for themselves: their choice is in
// the bridge's tables before it is confirmed, and nothing that they write afterwards leaves
// the room. A conversation can be bound to a room that existed before, see [Binding]: such a
// room belongs to its people, and the bridge changes neither its state nor its members.
//
// The people on Mimir are told when that begins and when it ends, each once, see told.go.
//
// [Relay.Handles] is called by package appservice for each event, the rest by the connector,
// which builds a Relay.
package relay

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/keylock"
)

// maxOff bounds the people of a conversation whose choice is stored: anybody in its room may
// make one.
const maxOff = 10_000

// Deps is what a [Relay] uses.
type Deps struct {
	Bridge *bridgev2.Bridge
	// Permissions says who may use the bridge for what.
	Permissions bridgeconfig.PermissionConfig
	// IsOurs reports whether the bridge has sent an event.
	IsOurs func(evt *event.Event) bool
	// Say answers an event with a text in its room, once however often the event is handled.
	// After an error the event has to be handled again.
	Say func(ctx context.Context, evt *event.Event, scope, text string) error
	// Tell queues a text of an account for the other side of a conversation, once for each
	// source. It returns an error that wraps [ErrMayNotWrite] when the account may not write there.
	Tell func(ctx context.Context, account string, portal networkid.PortalKey, source, text string) error
	// Retry is the pause after the other side could not be told something.
	Retry kernel.Backoff
	Log   *slog.Logger
}

// Relay knows who is not relayed, and which conversations are bound to rooms. It is safe for
// use by many goroutines.
type Relay struct {
	deps Deps
	// telling is held by who changes what the other side of a conversation was told.
	telling keylock.Locks[networkid.PortalKey]
	again   chan struct{} // holds one value when Run has to reconcile
}

// New returns a relay. The tables of bridgev2 exist when its methods are called.
func New(deps Deps) *Relay { return &Relay{deps: deps, again: make(chan struct{}, 1)} }

// Binding is a conversation that is shown in a room which existed before. The bridge leaves
// name, topic, picture, power levels and people of that room alone, and never deletes it.
type Binding struct {
	Room id.RoomID `json:"room"`
	// Next is the room that replaces it, from before the conversation has moved there.
	Next id.RoomID `json:"next,omitempty"`
	// Event is the command that has bound it. It names what the other side is told.
	Event id.EventID `json:"event"`
	// Name is what the room was called.
	Name string `json:"name,omitempty"`
	// Told means that the other side was told of it, and has to be told of its end.
	Told bool `json:"told,omitempty"`
	// By is the account of the member who has bound it, who tells the other side.
	By string `json:"by,omitempty"`
}

// ErrBound answers a user who wants to delete, or to replace, the room of a binding.
var ErrBound = errors.New("this room existed before the group was bridged to it, and stays: `unbridge` ends that")

// IsRoom reports whether a room is the bound one.
func (b Binding) IsRoom(room id.RoomID) bool {
	return room != "" && (room == b.Room || room == b.Next)
}

func bindingKey(portal networkid.PortalKey) database.Key {
	return database.Key(boundPrefix + string(portal.Receiver) + "." + string(portal.ID))
}

// offPrefix begins the keys of the people of a conversation who are not relayed.
func offPrefix(portal networkid.PortalKey) string {
	return "im.mimir.relay_off." + string(portal.Receiver) + "." + string(portal.ID) + "."
}

// Binding returns the binding of a conversation, the zero value for none. The conversation
// may have another room meanwhile, see IsBound.
func (r *Relay) Binding(ctx context.Context, portal networkid.PortalKey) (b Binding, err error) {
	text, err := r.read(ctx, bindingKey(portal))
	if err != nil || text == "" {
		return b, err
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("%w: binding of a room: %w", homeserver.ErrDatabase, err)
	}
	return b, nil
}

// SetBinding stores a binding, or that there is none when it is the zero value.
func (r *Relay) SetBinding(ctx context.Context, portal networkid.PortalKey, b Binding) error {
	if b == (Binding{}) {
		return r.remove(ctx, bindingKey(portal))
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return r.write(ctx, bindingKey(portal), string(text))
}

// IsBound reports whether a room is one that a conversation was bound to.
func (r *Relay) IsBound(ctx context.Context, portal networkid.PortalKey, room id.RoomID) (bool, error) {
	b, err := r.Binding(ctx, portal)
	return err == nil && b.IsRoom(room), err
}

// IsBoundRoom is IsBound for the room that a conversation has, if it has one.
func (r *Relay) IsBoundRoom(ctx context.Context, portal *bridgev2.Portal) (bool, error) {
	if portal == nil || portal.MXID == "" {
		return false, nil
	}
	return r.IsBound(ctx, portal.PortalKey, portal.MXID)
}

// IsOff reports whether somebody has said that they are not to be relayed.
func (r *Relay) IsOff(ctx context.Context, portal networkid.PortalKey, user id.UserID) (bool, error) {
	text, err := r.read(ctx, database.Key(offPrefix(portal)+string(user)))
	return text != "", err
}

// errTooManyOff is said to a person whose choice has no place.
var errTooManyOff = errors.New("too many people of this room have said that already; ask an admin of the room to say `unset-relay`")

// setOff stores the choice of a person.
func (r *Relay) setOff(ctx context.Context, portal networkid.PortalKey, user id.UserID, off bool) error {
	key := database.Key(offPrefix(portal) + string(user))
	if !off {
		return r.remove(ctx, key)
	}
	db := r.deps.Bridge.DB
	count := 0
	prefix := offPrefix(portal)
	err := db.QueryRow(ctx, `SELECT COUNT(*) FROM kv_store WHERE bridge_id=$1 AND SUBSTR(key, 1, $2)=$3 AND key<>$4`,
		db.BridgeID, len(prefix), prefix, key).Scan(&count)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if count >= maxOff {
		return errTooManyOff
	}
	return r.write(ctx, key, "1")
}

// Handles reports whether the library is to handle an event. It answers the command with
// which a person chooses whether they are relayed, and leaves out what somebody writes who is
// not, and what is changed in the state of a bound room. After an error it has to be called again.
func (r *Relay) Handles(ctx context.Context, evt *event.Event) (bool, error) {
	switch evt.Type {
	case event.EventMessage, event.EventSticker, event.EventUnstablePollStart, event.EventUnstablePollResponse:
	case event.StateRoomName, event.StateTopic, event.StateRoomAvatar, event.StatePowerLevels, event.StateMember:
		return r.handlesState(ctx, evt)
	default:
		return true, nil
	}
	if r.deps.IsOurs(evt) || !r.deps.Permissions.Get(evt.Sender).SendEvents {
		return true, nil // which ignores them
	}
	portal, err := r.deps.Bridge.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal == nil {
		return true, nil
	}
	words, isCommand := r.command(evt)
	if isCommand && len(words) > 0 && strings.EqualFold(words[0], "relay") {
		text, err := r.choose(ctx, portal, evt.Sender, words[1:])
		if err != nil {
			return false, err
		}
		return false, r.deps.Say(ctx, evt, "relay/"+string(evt.ID), text)
	}
	if isCommand || portal.Relay == nil {
		return true, nil
	}
	if owner, err := r.isOwner(ctx, portal, evt.Sender); owner || err != nil {
		return err == nil, err
	}
	off, err := r.IsOff(ctx, portal.PortalKey, evt.Sender)
	return !off && err == nil, err
}

// handlesState is Handles for a change of a room: what the people of a bound room change is
// theirs alone.
func (r *Relay) handlesState(ctx context.Context, evt *event.Event) (bool, error) {
	if evt.Type == event.StateMember && evt.GetStateKey() == string(r.deps.Bridge.Bot.GetMXID()) {
		return true, nil
	}
	portal, err := r.deps.Bridge.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal == nil {
		return true, nil
	}
	bound, err := r.IsBound(ctx, portal.PortalKey, evt.RoomID)
	return !bound && err == nil, err
}

// command returns the words of a command to the bot.
func (r *Relay) command(evt *event.Event) (words []string, isCommand bool) {
	if evt.Type != event.EventMessage {
		return nil, false
	}
	content := evt.Content.AsMessage()
	text := content.Body
	if content.RelatesTo.GetReplyTo() != "" {
		text = event.TrimReplyFallbackText(text)
	}
	if content.RelatesTo.GetReplaceID() != "" {
		return nil, false
	}
	rest, isCommand := strings.CutPrefix(text, r.deps.Bridge.Config.CommandPrefix)
	return strings.Fields(rest), isCommand
}

// isOwner reports whether somebody writes into a conversation with a login of their own.
func (r *Relay) isOwner(ctx context.Context, portal *bridgev2.Portal, user id.UserID) (bool, error) {
	logins, err := r.deps.Bridge.GetUserLoginsInPortal(ctx, portal.PortalKey)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return slices.ContainsFunc(logins, func(login *bridgev2.UserLogin) bool { return login.UserMXID == user }), nil
}

// choose stores what a person has said about being relayed, and returns the answer.
func (r *Relay) choose(ctx context.Context, portal *bridgev2.Portal, user id.UserID, words []string) (answer string, err error) {
	prefix := r.deps.Bridge.Config.CommandPrefix
	owner, err := r.isOwner(ctx, portal, user)
	switch {
	case err != nil:
		return "", err
	case owner:
		return "This conversation is yours: what you write in this room is always sent.", nil
	case len(words) == 1 && strings.EqualFold(words[0], "off"):
		err := r.setOff(ctx, portal.PortalKey, user, true)
		if errors.Is(err, errTooManyOff) {
			return "That did not work: " + errTooManyOff.Error() + ".", nil
		}
		return fmt.Sprintf("From now on nothing that %s writes here leaves this room. `%s relay on` undoes it.", user, prefix), err
	case len(words) == 1 && strings.EqualFold(words[0], "on"):
		err := r.setOff(ctx, portal.PortalKey, user, false)
		if portal.Relay == nil {
			return fmt.Sprintf("What %s writes here may be sent on, when an admin of the room switches that on.", user), err
		}
		return fmt.Sprintf("From now on what %s writes here is sent to people on Mimir, with their name. `%s relay off` undoes it.", user, prefix), err
	case len(words) > 0:
		return fmt.Sprintf("Say `%s relay off` or `%s relay on`.", prefix, prefix), nil
	}
	off, err := r.IsOff(ctx, portal.PortalKey, user)
	switch {
	case err != nil:
		return "", err
	case off:
		return fmt.Sprintf("Nothing that %s writes here leaves this room. `%s relay on` changes that.", user, prefix), nil
	case portal.Relay == nil:
		return "Only what people with a login of their own write leaves this room.", nil
	default:
		return fmt.Sprintf("What %s writes here is sent to people on Mimir, with their name. `%s relay off` ends that.", user, prefix), nil
	}
}

// read returns a value of the tables, "" for none. The library's own function hides errors.
func (r *Relay) read(ctx context.Context, key database.Key) (value string, err error) {
	db := r.deps.Bridge.DB
	err = db.QueryRow(ctx, `SELECT value FROM kv_store WHERE bridge_id=$1 AND key=$2`, db.BridgeID, key).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return value, nil
}

func (r *Relay) write(ctx context.Context, key database.Key, value string) error {
	db := r.deps.Bridge.DB
	_, err := db.Exec(ctx, `INSERT INTO kv_store (bridge_id, key, value) VALUES ($1, $2, $3)
		ON CONFLICT (bridge_id, key) DO UPDATE SET value=excluded.value`, db.BridgeID, key, value)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return nil
}

func (r *Relay) remove(ctx context.Context, key database.Key) error {
	db := r.deps.Bridge.DB
	if _, err := db.Exec(ctx, `DELETE FROM kv_store WHERE bridge_id=$1 AND key=$2`, db.BridgeID, key); err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return nil
}
