// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/binary"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// The tables of the mediator role: groups that this node keeps for others. They have a
// space of their own and nothing to do with the groups that accounts of ours are in.
//
//	key                            value
//	50 00                          MediatorTotals
//	50 01 owner                    MediatorOwner: what the groups of that creator take
//	50 02 identity                 MediatorBan: may not log in
//	50 03 group                    empty: deleted, its members are still to be removed
//	50 10 group                    MediatorGroup
//	50 11 group                    MediatorUsage; a group exists when this row does
//	50 20 group user               MediatorMember
//	50 21 group user               bytes: the profile, as it came
//	50 22 group user               uint: what the user's messages take
//	50 30 group id:8               MediatorMessage
//	50 31 group guid:8             uint: id of the message
//	50 40 id:8                     MediatorInvite
//	50 41 user group               uint: id of the invite
//	50 50 user group               empty: the user has a row among the members
//
// A group is the 8 bytes of its id, the signed guid has its sign bit flipped.
const (
	spaceMediator = 0x50

	tableMediatorTotals    = 0x00
	tableMediatorOwner     = 0x01
	tableMediatorBan       = 0x02
	tableMediatorDeleted   = 0x03
	tableMediatorGroup     = 0x10
	tableMediatorUsage     = 0x11
	tableMediatorMember    = 0x20
	tableMediatorProfile   = 0x21
	tableMediatorWritten   = 0x22
	tableMediatorMessage   = 0x30
	tableMediatorGUID      = 0x31
	tableMediatorInvite    = 0x40
	tableMediatorInviteOf  = 0x41
	tableMediatorUserGroup = 0x50
)

// mediatorFields says what follows the table in a key, in this order.
type mediatorFields uint8

const (
	mediatorUserFirst mediatorFields = 1 << iota
	mediatorGroupID
	mediatorUser
	mediatorNumber
)

var mediatorTables = map[byte]mediatorFields{
	tableMediatorTotals:    0,
	tableMediatorOwner:     mediatorUserFirst,
	tableMediatorBan:       mediatorUserFirst,
	tableMediatorDeleted:   mediatorGroupID,
	tableMediatorGroup:     mediatorGroupID,
	tableMediatorUsage:     mediatorGroupID,
	tableMediatorMember:    mediatorGroupID | mediatorUser,
	tableMediatorProfile:   mediatorGroupID | mediatorUser,
	tableMediatorWritten:   mediatorGroupID | mediatorUser,
	tableMediatorMessage:   mediatorGroupID | mediatorNumber,
	tableMediatorGUID:      mediatorGroupID | mediatorNumber,
	tableMediatorInvite:    mediatorNumber,
	tableMediatorInviteOf:  mediatorUserFirst | mediatorGroupID,
	tableMediatorUserGroup: mediatorUserFirst | mediatorGroupID,
}

func mediatorTable(table byte) []byte { return append(newKey(), spaceMediator, table) }

func mediatorTotalsKey() []byte { return mediatorTable(tableMediatorTotals) }

func mediatorOwnerKey(owner identity.PublicKey) []byte {
	return append(mediatorTable(tableMediatorOwner), owner[:]...)
}

func mediatorBanKey(user identity.PublicKey) []byte {
	return append(mediatorTable(tableMediatorBan), user[:]...)
}

// mediatorPrefix starts the keys of a group in a table, and is the whole key in those
// that have one row for each group.
func mediatorPrefix(table byte, group mediator.ChatID) []byte {
	return binary.BigEndian.AppendUint64(mediatorTable(table), uint64(group))
}

func mediatorUserKey(table byte, group mediator.ChatID, user identity.PublicKey) []byte {
	return append(mediatorPrefix(table, group), user[:]...)
}

func mediatorMessageKey(group mediator.ChatID, id mediator.MessageID) []byte {
	return binary.BigEndian.AppendUint64(mediatorPrefix(tableMediatorMessage, group), uint64(id))
}

func mediatorGUIDKey(group mediator.ChatID, guid int64) []byte {
	return binary.BigEndian.AppendUint64(mediatorPrefix(tableMediatorGUID, group), uint64(guid)^signBit)
}

func mediatorInviteKey(id mediator.InviteID) []byte {
	return binary.BigEndian.AppendUint64(mediatorTable(tableMediatorInvite), uint64(id))
}

// mediatorOfUser starts the keys of a user in the tables that are ordered by users.
func mediatorOfUser(table byte, user identity.PublicKey) []byte {
	return append(mediatorTable(table), user[:]...)
}

func mediatorInviteOfKey(user identity.PublicKey, group mediator.ChatID) []byte {
	return binary.BigEndian.AppendUint64(mediatorOfUser(tableMediatorInviteOf, user), uint64(group))
}

func mediatorUserGroupKey(user identity.PublicKey, group mediator.ChatID) []byte {
	return binary.BigEndian.AppendUint64(mediatorOfUser(tableMediatorUserGroup, user), uint64(group))
}

func parseMediatorKey(k parsedKey, rest []byte, bad func() (parsedKey, error)) (parsedKey, error) {
	if len(rest) == 0 {
		return bad()
	}
	fields, known := mediatorTables[rest[0]]
	if !known {
		return bad()
	}
	k.table, rest = rest[0], rest[1:]
	user := func() bool {
		if len(rest) < identity.KeySize {
			return false
		}
		k.other, rest = identity.PublicKey(rest[:identity.KeySize]), rest[identity.KeySize:]
		return true
	}
	number := func(to *uint64) bool {
		if len(rest) < 8 {
			return false
		}
		*to, rest = binary.BigEndian.Uint64(rest), rest[8:]
		return true
	}
	if fields&mediatorUserFirst != 0 && !user() ||
		fields&mediatorGroupID != 0 && !number(&k.group) ||
		fields&mediatorUser != 0 && !user() ||
		fields&mediatorNumber != 0 && !number(&k.number) ||
		len(rest) != 0 {
		return bad()
	}
	return k, nil
}

func (k parsedKey) encodeMediator() []byte {
	key := mediatorTable(k.table)
	fields := mediatorTables[k.table]
	if fields&mediatorUserFirst != 0 {
		key = append(key, k.other[:]...)
	}
	if fields&mediatorGroupID != 0 {
		key = binary.BigEndian.AppendUint64(key, k.group)
	}
	if fields&mediatorUser != 0 {
		key = append(key, k.other[:]...)
	}
	if fields&mediatorNumber != 0 {
		key = binary.BigEndian.AppendUint64(key, k.number)
	}
	return key
}
