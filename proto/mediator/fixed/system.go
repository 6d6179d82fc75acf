// SPDX-License-Identifier: MPL-2.0

package fixed

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Event is what a [System] message tells.
type Event byte

// The events. 2, 6 and 7 were reserved.
const (
	EventUserAdded   Event = 1
	EventUserLeft    Event = 3
	EventUserBanned  Event = 4
	EventChatDeleted Event = 5 // in a message with the id 0, which is not stored
)

// System is the text of a message whose author is the mediator: not encrypted,
// an event of one byte and then
//
//	EventUserAdded, EventUserBanned  user 32, actor 32, random 32
//	EventUserLeft                    user 32, random 32
//	EventChatDeleted                 actor 32, random 32
type System struct {
	Event Event
	User  identity.PublicKey // zero for EventChatDeleted
	Actor identity.PublicKey // zero for EventUserLeft
	// Random makes the guid another one each time.
	Random [32]byte
}

func (s *System) fields(f *fields) {
	octet(f, "event", &s.Event)
	switch s.Event {
	case EventUserAdded, EventUserBanned:
		f.key("user", &s.User)
		f.key("actor", &s.Actor)
	case EventUserLeft:
		f.key("user", &s.User)
	case EventChatDeleted:
		f.key("actor", &s.Actor)
	default:
		if f.in != nil {
			f.in.Fail(wire.NewViolation(wire.CodeValue, "event %d", s.Event))
		}
		return
	}
	f.fixed("random", s.Random[:])
}

// AppendTo appends the text of the message. Of an event that is none of the above it
// appends the one byte, which nobody reads.
func (s System) AppendTo(b []byte) []byte { return appendPayload(b, &s) }

// ParseSystem reads the text of a message whose author is the mediator. Errors are
// violations; an event of a later time is one, too.
func ParseSystem(blob []byte) (System, error) {
	var s System
	if err := parsePayload(blob, &s); err != nil {
		return System{}, err
	}
	return s, nil
}

// SystemGUID is the guid that the mediator gives to a message of its own: that of
// the apps at the time, but with the time in Unix seconds.
func SystemGUID(blob []byte, time int64) peer.GUID { return legacy.OldGUID(blob, time) }
