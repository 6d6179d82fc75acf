// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Event is what a [System] message reports.
type Event byte

// The events. 2 is reserved.
const (
	EventUserAdded      Event = 1
	EventUserLeft       Event = 3
	EventUserBanned     Event = 4
	EventChatDeleted    Event = 5 // in a message with id 0, which is not stored
	EventInfoChanged    Event = 6
	EventPermissions    Event = 7
	EventMessageDeleted Event = 8
	EventMemberOnline   Event = 9 // in a message with id 0, which is not stored

)

// System is the blob of a message whose author is the mediator's node key: not
// encrypted, one byte with the event and then
//
//	EventUserAdded       user 32, actor 32, random 32
//	EventUserLeft        user 32, random 32
//	EventUserBanned      user 32, actor 32, random 32
//	EventChatDeleted     actor 32, random 32
//	EventInfoChanged     fields: PUBKEY of the actor, then what changed of NAME, DESC, AVATAR
//	EventPermissions     user 32, permissions 1, actor 32, random 32
//	EventMessageDeleted  guid 8, actor 32
//	EventMemberOnline    user 32, online 1, time 8 (Unix seconds)
//
// Readers ignore bytes that follow. Nobody but the mediator can send one, as it sets
// the author of every message.
type System struct {
	Event Event
	User  identity.PublicKey // zero for EventChatDeleted, EventInfoChanged, EventMessageDeleted
	// Actor caused the event; for EventUserAdded after an invite, the one who invited.
	Actor identity.PublicKey // zero for EventUserLeft, EventMemberOnline
	// What EventInfoChanged says: nil where nothing changed, an empty Avatar when the
	// picture was removed.
	Name        *string
	Description *string
	Avatar      []byte
	Permissions Permissions // EventPermissions
	GUID        peer.GUID   // EventMessageDeleted
	Online      bool        // EventMemberOnline
	Time        int64       // EventMemberOnline
	// Random makes the guid of the message unique.
	Random [32]byte
}

// AppendTo appends the blob. An event that is not one of the above panics: it is a
// mistake of the caller.
func (s System) AppendTo(b []byte) []byte {
	b = append(b, byte(s.Event))
	switch s.Event {
	case EventUserAdded, EventUserBanned:
		b = append(append(append(b, s.User[:]...), s.Actor[:]...), s.Random[:]...)
	case EventUserLeft:
		b = append(append(b, s.User[:]...), s.Random[:]...)
	case EventChatDeleted:
		b = append(append(b, s.Actor[:]...), s.Random[:]...)
	case EventInfoChanged:
		b = appendPayload(b, (*infoChange)(&s))
	case EventPermissions:
		b = append(append(b, s.User[:]...), byte(s.Permissions))
		b = append(append(b, s.Actor[:]...), s.Random[:]...)
	case EventMessageDeleted:
		b = append(wire.AppendInt64(b, int64(s.GUID)), s.Actor[:]...)
	case EventMemberOnline:
		b = wire.AppendBool(append(b, s.User[:]...), s.Online)
		b = wire.AppendInt64(b, s.Time)
	default:
		panic("mediator: system message without an event")
	}
	return b
}

// ParseSystem parses the blob of a message whose author is the mediator. Errors are
// violations, also for an event of a later version, which a reader counts and ignores.
// Avatar points into blob.
func ParseSystem(blob []byte) (System, error) {
	c := wire.NewCursor(blob)
	s := System{Event: Event(c.Uint8("event"))}
	switch s.Event {
	case EventUserAdded, EventUserBanned:
		c.Fixed("user", s.User[:])
		c.Fixed("actor", s.Actor[:])
		c.Fixed("random", s.Random[:])
	case EventUserLeft:
		c.Fixed("user", s.User[:])
		c.Fixed("random", s.Random[:])
	case EventChatDeleted:
		c.Fixed("actor", s.Actor[:])
		c.Fixed("random", s.Random[:])
	case EventInfoChanged:
		if err := parsePayload(c.Rest(), (*infoChange)(&s)); err != nil {
			return System{}, err
		}
	case EventPermissions:
		c.Fixed("user", s.User[:])
		s.Permissions = Permissions(c.Uint8("permissions"))
		c.Fixed("actor", s.Actor[:])
		c.Fixed("random", s.Random[:])
	case EventMessageDeleted:
		s.GUID = peer.GUID(c.Int64("guid"))
		c.Fixed("actor", s.Actor[:])
	case EventMemberOnline:
		c.Fixed("user", s.User[:])
		s.Online = c.Uint8("online") != 0
		s.Time = c.Int64("time")
	default:
		c.Fail(wire.NewViolation(wire.CodeValue, "event %d", s.Event))
	}
	if err := c.Err(); err != nil {
		return System{}, err
	}
	return s, nil
}

// infoChange is the part of a System with fields.
type infoChange System

func (s *infoChange) fields(f *fields) {
	f.key(tagPublicKey, "actor", &s.Actor)
	f.optionalText(tagName, &s.Name, wire.MaxGroupName)
	f.optionalText(tagDescription, &s.Description, wire.MaxGroupDescription)
	f.optionalBlob(tagAvatar, &s.Avatar)
}

// SystemGUID returns the guid that a mediator gives to a message of its own, from the
// blob and the time in Unix seconds.
func SystemGUID(blob []byte, time int64) peer.GUID { return legacy.OldGUID(blob, time) }
