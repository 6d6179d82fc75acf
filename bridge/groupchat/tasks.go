// SPDX-License-Identifier: MPL-2.0

package groupchat

import (
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Tasks are what our user has asked of the mediator of a group and is not answered, oldest
// first. The room shows it already, so what the room should show is what the store has with
// the tasks done. A task that is refused is gone from the list, and the room is set back.
type Tasks []store.GroupTask

// Group returns a group with the tasks done.
func (t Tasks) Group(g store.Group) store.Group {
	for _, task := range t {
		if task.Kind != store.TaskEdit {
			continue
		}
		if task.Name != nil {
			g.Name = *task.Name
		}
		if task.Description != nil {
			g.Description = *task.Description
		}
		if task.SetAvatar {
			g.Avatar = task.Avatar
		}
	}
	return g
}

// Member returns a member with the tasks done. Somebody whose ban is to be lifted has left:
// they are in the room again when the mediator has done it.
func (t Tasks) Member(m store.Member) store.Member {
	for _, task := range t {
		if task.User != m.ID {
			continue
		}
		switch task.Kind { //nolint:exhaustive // the others are not about a member
		case store.TaskRole:
			m.Permissions = task.Permissions
		case store.TaskBan:
			m.Standing = store.StandingBanned
		case store.TaskUnban:
			m.Standing = store.StandingLeft
		}
	}
	return m
}

// Invites reports whether somebody is to be invited.
func (t Tasks) Invites(user identity.PublicKey) bool {
	for _, task := range t {
		if task.Kind == store.TaskInvite && task.User == user {
			return true
		}
	}
	return false
}
