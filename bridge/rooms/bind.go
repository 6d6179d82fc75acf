// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

// ErrOtherConversation is returned by [Finder.Bind] for a room that another conversation has.
var ErrOtherConversation = errors.New("this room shows another conversation")

// Bind makes a room that exists already that of a conversation. Its history is not shown
// there. A room that the conversation had is redirected and given up. Called again it
// finishes what an earlier call has begun.
func (f *Finder) Bind(ctx context.Context, login *bridgev2.UserLogin, portal *bridgev2.Portal, room id.RoomID) error {
	account, conversationID, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return fmt.Errorf("bind a conversation: %w", err) // a portal of no conversation
	}
	conversation := store.Conversation{Account: account, ID: conversationID}
	release, err := f.changing.Hold(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	defer release()
	if portal.MXID == room {
		return nil
	}
	// First, so that what was said before is never shown to the people of the room.
	if err := f.conversations.ShownIn(ctx, conversation, room); err != nil {
		return err
	}
	if err := f.takeBack(ctx, room); err != nil {
		return err
	}
	for {
		old := portal.MXID
		if old != "" {
			if err := f.GiveUp(ctx, old); err != nil {
				return err
			}
		}
		err = f.takeIn(ctx, login, portal, room, bridgev2.UpdateMatrixRoomIDParams{ChatInfoSource: login, FailIfMXIDSet: old == ""})
		if errors.Is(err, bridgev2.ErrRoomAlreadyExists) && old == "" {
			continue // a delivery has created one meanwhile
		}
		if err != nil {
			return err
		}
		if portal.MXID != room {
			return ErrOtherConversation
		}
		f.Note(room, portal.PortalKey)
		if old != "" {
			f.point(ctx, old, room)
		}
		f.conversations.Retry(conversation)
		return nil
	}
}

// takeBack undoes GiveUp.
func (f *Finder) takeBack(ctx context.Context, room id.RoomID) error {
	_, err := f.br.DB.Exec(ctx, `DELETE FROM kv_store WHERE bridge_id=$1 AND key=$2`, f.br.ID, givenUpKey(room))
	if err != nil {
		return fmt.Errorf("note that a room is used again: %w", err)
	}
	return nil
}

// RoomState is what the state of a room says about who may do what in it.
type RoomState struct {
	Name      string
	Encrypted bool
	Levels    *event.PowerLevelsEventContent
}

// State asks the homeserver for the state of a room that the bot is in.
func (f *Finder) State(ctx context.Context, room id.RoomID) (*RoomState, error) {
	state, err := f.readState(mautrix.WithMaxRetries(ctx, 0), room)
	if err != nil {
		return nil, fmt.Errorf("read the state of the room: %w", err)
	}
	s := &RoomState{Levels: &event.PowerLevelsEventContent{CreateEvent: state[event.StateCreate][""]}}
	if evt := state[event.StatePowerLevels][""]; evt != nil {
		if levels, ok := evt.Content.Parsed.(*event.PowerLevelsEventContent); ok {
			s.Levels = levels
		}
	}
	if evt := state[event.StateRoomName][""]; evt != nil {
		if name, ok := evt.Content.Parsed.(*event.RoomNameEventContent); ok {
			s.Name = name.Name
		}
	}
	s.Encrypted = state[event.StateEncryption][""] != nil
	return s, nil
}
