// SPDX-License-Identifier: MPL-2.0

package groupchat

import (
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/mediator"
)

// The power levels of roles in a room.
const (
	LevelOwner     = 100
	LevelAdmin     = 75
	LevelModerator = 50
	LevelUser      = 0
	// LevelReadOnly is below what an event needs.
	LevelReadOnly = -10
)

// Level returns the power level of a member's permissions.
func Level(p store.Permissions) int {
	switch role := mediator.Permissions(p); {
	case role.HasAny(mediator.PermissionBanned | mediator.PermissionReadOnly):
		return LevelReadOnly
	case role.HasAny(mediator.PermissionOwner):
		return LevelOwner
	case role.HasAny(mediator.PermissionAdmin):
		return LevelAdmin
	case role.HasAny(mediator.PermissionModerator):
		return LevelModerator
	default:
		return LevelUser
	}
}

// RoleAt returns the permissions of the role that a power level is nearest to from above:
// a level between two roles is the lower one of them. Nobody becomes an owner in this way
// below level 100.
func RoleAt(level int) mediator.Permissions {
	switch {
	case level >= LevelOwner:
		return mediator.PermissionOwner | mediator.PermissionUser
	case level >= LevelAdmin:
		return mediator.PermissionAdmin
	case level >= LevelModerator:
		return mediator.PermissionModerator
	case level >= LevelUser:
		return mediator.PermissionUser
	default:
		return mediator.PermissionReadOnly
	}
}

// MayEdit reports whether permissions allow to change name, description and picture, and
// roles; MayModerate whether they allow to invite, to ban and to delete what others say.
func MayEdit(p store.Permissions) bool { return Level(p) >= LevelAdmin }

// MayModerate is described at [MayEdit].
func MayModerate(p store.Permissions) bool { return Level(p) >= LevelModerator }

// PowerLevels returns what is required in the room of a group, as Mimir requires it.
func PowerLevels() *bridgev2.PowerLevelOverrides {
	edit, moderate, user := LevelAdmin, LevelModerator, LevelUser
	return &bridgev2.PowerLevelOverrides{
		Events: map[event.Type]int{
			event.StateRoomName: edit, event.StateTopic: edit, event.StateRoomAvatar: edit, event.StatePowerLevels: edit,
		},
		UsersDefault: &user, EventsDefault: &user, StateDefault: &moderate,
		Invite: &moderate, Kick: &moderate, Ban: &moderate, Redact: &moderate,
	}
}
