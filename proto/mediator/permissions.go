// SPDX-License-Identifier: MPL-2.0

package mediator

// Permissions are the roles of a member, a set of bits. An action names the bits
// that permit it, and any of them suffices.
type Permissions byte

// The permissions. The creator of a group has PermissionOwner and PermissionUser.
// When an app changes a role it writes exactly one of the bits from
// PermissionAdmin to PermissionUser.
const (
	PermissionOwner     Permissions = 0x80
	PermissionAdmin     Permissions = 0x40
	PermissionModerator Permissions = 0x20
	PermissionUser      Permissions = 0x10
	PermissionReadOnly  Permissions = 0x08
	PermissionBanned    Permissions = 0x01
)

const knownPermissions = PermissionOwner | PermissionAdmin | PermissionModerator | PermissionUser |
	PermissionReadOnly | PermissionBanned

// HasAny reports whether any of the wanted bits is set.
func (p Permissions) HasAny(wanted Permissions) bool { return p&wanted != 0 }

// Valid reports whether a mediator takes p in a [ChangeMemberStatus]: at least one
// known bit is set.
func (p Permissions) Valid() bool { return p.HasAny(knownPermissions) }

// String returns the name of the role: what restricts a member first, then the
// highest bit. A value without a known bit is "none".
func (p Permissions) String() string {
	for _, role := range []struct {
		bit  Permissions
		name string
	}{
		{PermissionBanned, "banned"},
		{PermissionReadOnly, "read-only"},
		{PermissionOwner, "owner"},
		{PermissionAdmin, "admin"},
		{PermissionModerator, "moderator"},
		{PermissionUser, "user"},
	} {
		if p.HasAny(role.bit) {
			return role.name
		}
	}
	return "none"
}
