// SPDX-License-Identifier: MPL-2.0

package store

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// MediatorGroup is a group that our mediator keeps.
type MediatorGroup struct {
	ID mediator.ChatID `cbor:"-"`
	// Owner is the creator, who alone may delete it.
	Owner       identity.PublicKey `cbor:"1,keyasint"`
	Name        string             `cbor:"2,keyasint,omitempty"`
	Description string             `cbor:"3,keyasint,omitempty"`
	Avatar      []byte             `cbor:"4,keyasint,omitempty"`
	Created     Millis             `cbor:"5,keyasint,omitempty"`
	// HasAvatar tells an empty picture from none.
	HasAvatar bool `cbor:"6,keyasint,omitempty"`
}

// MediatorUsage is what changes in a group with each message.
type MediatorUsage struct {
	// Last is the highest id that was given to a message.
	Last     mediator.MessageID `cbor:"1,keyasint,omitempty"`
	Messages uint64             `cbor:"2,keyasint,omitempty"`
	// Bytes is what the messages take, with [MediatorOverhead] for each, and the pictures
	// and profiles.
	Bytes uint64 `cbor:"3,keyasint,omitempty"`
	// Members counts those that are not banned, Invites the pending ones.
	Members uint64             `cbor:"4,keyasint,omitempty"`
	Invites uint64             `cbor:"5,keyasint,omitempty"`
	Owner   identity.PublicKey `cbor:"6,keyasint"`
	// Quota bounds Bytes; 0 is the mediator's default.
	Quota uint64 `cbor:"7,keyasint,omitempty"`
}

// MediatorMember is a member of a group, or somebody who is banned from it.
type MediatorMember struct {
	Group       mediator.ChatID      `cbor:"-"`
	User        identity.PublicKey   `cbor:"-"`
	Permissions mediator.Permissions `cbor:"1,keyasint,omitempty"`
	Banned      bool                 `cbor:"2,keyasint,omitempty"`
	Added       Millis               `cbor:"3,keyasint,omitempty"`
	// Changed and LastSeen are Unix seconds; Changed may be what the member claims.
	Changed  int64 `cbor:"4,keyasint,omitempty"`
	LastSeen int64 `cbor:"5,keyasint,omitempty"`
	// Profile is the size of the profile in bytes.
	Profile uint64 `cbor:"6,keyasint,omitempty"`
}

// MediatorMessage is a message of a group. Its author is the mediator's key when it is an
// event.
type MediatorMessage struct {
	ID     mediator.MessageID `cbor:"-"`
	GUID   int64              `cbor:"1,keyasint,omitempty"`
	Time   int64              `cbor:"2,keyasint,omitempty"` // the author's claim, Unix seconds
	Author identity.PublicKey `cbor:"3,keyasint"`
	Blob   []byte             `cbor:"4,keyasint,omitempty"`
	Stored Millis             `cbor:"5,keyasint,omitempty"`
}

// MediatorInvite is an invite that was not answered.
type MediatorInvite struct {
	ID    mediator.InviteID  `cbor:"-"`
	Group mediator.ChatID    `cbor:"1,keyasint"`
	From  identity.PublicKey `cbor:"2,keyasint"`
	To    identity.PublicKey `cbor:"3,keyasint"`
	Time  int64              `cbor:"4,keyasint,omitempty"` // Unix seconds
	Data  []byte             `cbor:"5,keyasint,omitempty"`
	Sent  bool               `cbor:"6,keyasint,omitempty"` // it was pushed once
}

// MediatorTotals is what all groups take together.
type MediatorTotals struct {
	Groups     uint64            `cbor:"1,keyasint,omitempty"`
	Messages   uint64            `cbor:"2,keyasint,omitempty"`
	Bytes      uint64            `cbor:"3,keyasint,omitempty"`
	Invites    uint64            `cbor:"4,keyasint,omitempty"`
	LastInvite mediator.InviteID `cbor:"5,keyasint,omitempty"`
}

// MediatorOwner is what the groups of one creator take.
type MediatorOwner struct {
	Groups uint64 `cbor:"1,keyasint,omitempty"`
	Bytes  uint64 `cbor:"2,keyasint,omitempty"`
}

// MediatorBan is an identity that may not log in.
type MediatorBan struct {
	User  identity.PublicKey `cbor:"-"`
	Since Millis             `cbor:"1,keyasint,omitempty"`
}

func (MediatorGroup) lastField() uint64  { return 6 }
func (MediatorUsage) lastField() uint64  { return 7 }
func (MediatorMember) lastField() uint64 { return 6 }
func (MediatorInvite) lastField() uint64 { return 6 }
func (MediatorTotals) lastField() uint64 { return 5 }
func (MediatorOwner) lastField() uint64  { return 2 }

// MediatorOverhead is what a message counts beside its blob, for its rows.
const MediatorOverhead = 256

func (m MediatorMessage) cost() uint64 { return MediatorOverhead + uint64(len(m.Blob)) }

// MediatorLimits bound what a mediator keeps; zero is unlimited. Bytes are counted as in
// [MediatorUsage], and BytesPerMember is about the messages of one member in one group.
type MediatorLimits struct {
	Groups, GroupsPerOwner, MembersPerGroup, InvitesPerGroup uint64

	Bytes, BytesPerGroup, BytesPerOwner, BytesPerMember uint64

	ofEvents bool
}

// forEvents are the limits for events, with an eighth on top.
func (l MediatorLimits) forEvents() MediatorLimits {
	l.ofEvents = true
	l.Bytes, l.BytesPerOwner = l.Bytes+l.Bytes/8, l.BytesPerOwner+l.BytesPerOwner/8
	return l
}

// ofGroup is what the messages of a group may take.
func (l MediatorLimits) ofGroup(usage *MediatorUsage) uint64 {
	limit := l.BytesPerGroup
	if usage.Quota > 0 {
		limit = usage.Quota
	}
	if l.ofEvents {
		limit += limit / 8
	}
	return limit
}
