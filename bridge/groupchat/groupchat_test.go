// SPDX-License-Identifier: MPL-2.0

package groupchat_test

import (
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

func TestRoles_LevelAndBack_SameRole(t *testing.T) {
	for role, level := range map[mediator.Permissions]int{
		mediator.PermissionOwner | mediator.PermissionUser: 100,
		mediator.PermissionAdmin:                           75,
		mediator.PermissionModerator:                       50,
		mediator.PermissionUser:                            0,
		mediator.PermissionReadOnly:                        -10,
	} {
		if have := groupchat.Level(store.Permissions(role)); have != level {
			t.Errorf("%s has level %d, want %d", role, have, level)
		}
		if back := groupchat.RoleAt(level); back != role {
			t.Errorf("level %d is %s, want %s", level, back, role)
		}
	}
	for level, role := range map[int]mediator.Permissions{
		9001: mediator.PermissionOwner | mediator.PermissionUser, 99: mediator.PermissionAdmin, 74: mediator.PermissionModerator,
		49: mediator.PermissionUser, -1: mediator.PermissionReadOnly,
	} {
		if have := groupchat.RoleAt(level); have != role {
			t.Errorf("level %d is %s, want %s", level, have, role)
		}
	}
	muted := store.Permissions(mediator.PermissionReadOnly | mediator.PermissionAdmin)
	if groupchat.MayEdit(muted) || groupchat.MayModerate(muted) {
		t.Error("somebody who may only read may moderate")
	}
}

func TestSystemText_EveryEvent_InWords(t *testing.T) {
	name := func(key identity.PublicKey) string {
		return map[identity.PublicKey]string{bob: "Bob", carol: "Carol"}[key]
	}
	text := "Choir"
	for want, s := range map[string]mediator.System{
		"Bob has joined the group, invited by Carol.":       {Event: mediator.EventUserAdded, User: bob, Actor: carol},
		"Bob has joined the group.":                         {Event: mediator.EventUserAdded, User: bob, Actor: bob},
		"Bob has left the group.":                           {Event: mediator.EventUserLeft, User: bob},
		"Carol has banned Bob from the group.":              {Event: mediator.EventUserBanned, User: bob, Actor: carol},
		"Carol has changed the role of Bob to moderator.":   {Event: mediator.EventPermissions, User: bob, Actor: carol, Permissions: mediator.PermissionModerator},
		"Carol has changed the name of the group to Choir.": {Event: mediator.EventInfoChanged, Actor: carol, Name: &text},
		"Carol has changed the description of the group.":   {Event: mediator.EventInfoChanged, Actor: carol, Description: &text},
		"Carol has changed the picture of the group.":       {Event: mediator.EventInfoChanged, Actor: carol, Avatar: []byte("picture")},
		"": {Event: mediator.EventMessageDeleted, Actor: carol, GUID: 7},
	} {
		if have := groupchat.SystemText(s.AppendTo(nil), name); have != want {
			t.Errorf("event %d is %q, want %q", s.Event, have, want)
		}
	}
	for _, payload := range [][]byte{nil, {200}, {1, 2}} {
		if text := groupchat.SystemText(payload, name); !strings.Contains(text, "does not know") {
			t.Errorf("%x is %q", payload, text)
		}
	}
}
