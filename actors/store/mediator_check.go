// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"

	"github.com/mimird/mimird/proto/mediator"
)

// checkMediator checks one row of the mediator role and the rows that it names.
func (c *checker) checkMediator(k parsedKey, row row) {
	group := mediator.ChatID(k.group)
	// ofGroup names the row without which there is no group. Members of a deleted one
	// remain for a while.
	ofGroup := func() { c.exists(k, mediatorPrefix(tableMediatorUsage, group), &MediatorUsage{}) }
	switch k.table {
	case tableMediatorTotals:
		c.decodes(k, row, &MediatorTotals{})
	case tableMediatorOwner:
		c.decodes(k, row, &MediatorOwner{})
	case tableMediatorBan:
		c.decodes(k, row, &MediatorBan{})
	case tableMediatorDeleted:
		if _, err := getRow(c.rows, mediatorPrefix(tableMediatorUsage, group)); !errors.Is(err, ErrNotFound) {
			c.problem(k, "the deleted group exists")
		}
	case tableMediatorGroup:
		if c.decodes(k, row, &MediatorGroup{}) {
			ofGroup()
		}
	case tableMediatorUsage:
		c.checkMediatorUsage(k, row, group)
	case tableMediatorMember:
		if c.decodes(k, row, &MediatorMember{}) {
			c.exists(k, mediatorUserGroupKey(k.other, group), nil)
		}
	case tableMediatorProfile:
		var profile []byte
		var member MediatorMember
		if c.decodes(k, row, &profile) && c.exists(k, mediatorUserKey(tableMediatorMember, group, k.other), &member) &&
			member.Profile != uint64(len(profile)) {
			c.problem(k, "profile of %d bytes, the member has %d", len(profile), member.Profile)
		}
	case tableMediatorWritten:
		c.decodes(k, row, new(uint64))
		ofGroup()
	case tableMediatorMessage:
		var m MediatorMessage
		var id uint64
		if c.decodes(k, row, &m) && c.exists(k, mediatorGUIDKey(group, m.GUID), &id) && id != k.number {
			c.problem(k, "guid %d is of message %d", m.GUID, id)
		}
	case tableMediatorGUID:
		var id uint64
		var m MediatorMessage
		if c.decodes(k, row, &id) && c.exists(k, mediatorMessageKey(group, mediator.MessageID(id)), &m) && uint64(m.GUID)^signBit != k.number {
			c.problem(k, "message %d has guid %d", id, m.GUID)
		}
	case tableMediatorInvite:
		var invite MediatorInvite
		var id uint64
		if c.decodes(k, row, &invite) && c.exists(k, mediatorInviteOfKey(invite.To, invite.Group), &id) && id != k.number {
			c.problem(k, "the invite of %s to group %d is %d", invite.To.Short(), invite.Group, id)
		}
	case tableMediatorInviteOf:
		var id uint64
		if c.decodes(k, row, &id) {
			c.exists(k, mediatorInviteKey(mediator.InviteID(id)), &MediatorInvite{})
		}
	case tableMediatorUserGroup:
		c.exists(k, mediatorUserKey(tableMediatorMember, group, k.other), &MediatorMember{})
	}
}

// checkMediatorUsage compares what a group is said to have with what it has.
func (c *checker) checkMediatorUsage(k parsedKey, row row, group mediator.ChatID) {
	var usage, found MediatorUsage
	var g MediatorGroup
	if !c.decodes(k, row, &usage) || !c.exists(k, mediatorPrefix(tableMediatorGroup, group), &g) {
		return
	}
	found.Bytes = uint64(len(g.Avatar))
	for member, err := range mediatorMembers(c.rows, group) {
		if err != nil {
			return // its own row is named
		}
		found.Bytes += member.Profile
		if !member.Banned {
			found.Members++
		}
	}
	for row, err := range mediatorAfter(c.rows, group, 0) {
		var m MediatorMessage
		if err != nil || row.load(&m) != nil {
			return // (same)
		}
		found.Messages++
		found.Bytes += m.cost()
		found.Last = mediator.MessageID(row.number())
	}
	if found.Last > usage.Last || found.Messages != usage.Messages || found.Bytes != usage.Bytes || found.Members != usage.Members {
		c.problem(k, "%d messages of %d bytes up to %d and %d members, there are %d of %d up to %d and %d",
			usage.Messages, usage.Bytes, usage.Last, usage.Members, found.Messages, found.Bytes, found.Last, found.Members)
	}
}
