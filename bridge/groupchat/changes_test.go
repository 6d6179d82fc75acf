// SPDX-License-Identifier: MPL-2.0

package groupchat_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

var bob, carol = identity.PublicKey{1}, identity.PublicKey{2}

func TestTasks_Pending_ShownAsDone(t *testing.T) {
	name, description, picture := "Great Choir", "We sing", []byte("picture")
	moderator := store.Permissions(mediator.PermissionModerator)
	tasks := groupchat.Tasks{
		{Kind: store.TaskEdit, Name: &name},
		{Kind: store.TaskEdit, Description: &description, Avatar: picture, SetAvatar: true},
		{Kind: store.TaskRole, User: bob, Permissions: moderator},
		{Kind: store.TaskBan, User: bob},
		{Kind: store.TaskUnban, User: carol},
		{Kind: store.TaskInvite, User: carol},
	}
	g := tasks.Group(store.Group{Name: "Choir", Description: "About", Muted: true})
	if g.Name != name || g.Description != description || string(g.Avatar) != "picture" || !g.Muted {
		t.Errorf("the group is %+v", g)
	}
	if g := tasks[:1].Group(store.Group{Description: "About", Avatar: picture}); g.Description != "About" || len(g.Avatar) == 0 {
		t.Errorf("what is not changed is %+v", g)
	}
	if m := tasks[:3].Member(store.Member{ID: bob}); m.Permissions != moderator || m.Standing != store.StandingMember {
		t.Errorf("bob is %+v", m)
	}
	if m := tasks.Member(store.Member{ID: bob}); m.Standing != store.StandingBanned {
		t.Errorf("bob is %+v", m)
	}
	if m := tasks.Member(store.Member{ID: carol, Standing: store.StandingBanned}); m.Standing != store.StandingLeft {
		t.Errorf("carol is %+v", m)
	}
	if m := tasks[:4].Member(store.Member{ID: carol, Standing: store.StandingBanned}); m.Standing != store.StandingBanned {
		t.Errorf("carol is %+v", m)
	}
	if !tasks.Invites(carol) || tasks.Invites(bob) {
		t.Error("carol is not invited, or bob is")
	}
}

func TestChanges_Reported_OnceEach(t *testing.T) {
	name, other, description := "Great Choir", "Choir", "We sing"
	user := mediator.PermissionUser
	changes := groupchat.Changes{
		{Kind: groupchat.ChangeName, Event: "$1", Value: groupchat.TextValue(name)},
		{Kind: groupchat.ChangeName, Event: "$2", Value: groupchat.TextValue(name)},
		{Kind: groupchat.ChangeTopic, Event: "$3", Value: groupchat.TextValue(description)},
		{Kind: groupchat.ChangeAvatar, Event: "$4", Value: groupchat.AvatarValue([]byte{})},
		{Kind: groupchat.ChangeRole, Event: "$5", User: bob, Value: groupchat.RoleValue(user)},
		{Kind: groupchat.ChangeBan, Event: "$6", User: bob},
		{Kind: groupchat.ChangeUnban, Event: "$7", User: bob},
		{Kind: groupchat.ChangeInvite, Event: "$8", User: carol},
	}
	for i, c := range []struct {
		s       mediator.System
		message string
		want    bool
	}{
		{mediator.System{Event: mediator.EventInfoChanged, Name: &name}, "a", true},
		{mediator.System{Event: mediator.EventInfoChanged, Name: &name}, "a", true}, // the same message again
		{mediator.System{Event: mediator.EventInfoChanged, Name: &other}, "b", false},
		{mediator.System{Event: mediator.EventInfoChanged, Name: &name}, "c", true},
		{mediator.System{Event: mediator.EventInfoChanged, Name: &name}, "d", false}, // of another device
		{mediator.System{Event: mediator.EventInfoChanged, Description: &description}, "e", true},
		{mediator.System{Event: mediator.EventInfoChanged, Avatar: []byte("picture")}, "f", false},
		{mediator.System{Event: mediator.EventInfoChanged, Avatar: []byte{}}, "g", true},
		{mediator.System{Event: mediator.EventInfoChanged}, "h", false},
		{mediator.System{Event: mediator.EventPermissions, User: bob, Permissions: mediator.PermissionModerator}, "i", false},
		{mediator.System{Event: mediator.EventPermissions, User: carol, Permissions: user}, "j", false},
		{mediator.System{Event: mediator.EventPermissions, User: bob, Permissions: user}, "k", true},
		{mediator.System{Event: mediator.EventUserBanned, User: carol}, "l", false},
		{mediator.System{Event: mediator.EventUserBanned, User: bob}, "m", true},
		{mediator.System{Event: mediator.EventUserAdded, User: bob}, "n", true},
		{mediator.System{Event: mediator.EventUserAdded, User: carol}, "o", false}, // has accepted: news
	} {
		if have := changes.Reported(c.s, c.message); have != c.want {
			t.Errorf("message %d is a report: %t, want %t", i, have, c.want)
		}
		text, err := json.Marshal(changes) // as between two messages
		changes = nil
		if err := json.Unmarshal(text, &changes); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestChanges_OfEventAndTask_Bounded(t *testing.T) {
	var changes groupchat.Changes
	for i := range 100 {
		changes = changes.Add(groupchat.Change{Kind: groupchat.ChangeBan, Event: id.EventID(fmt.Sprint("$", i)), User: bob, Task: uint64(i)})
		changes = changes.Add(groupchat.Change{Kind: groupchat.ChangeBan, Event: id.EventID(fmt.Sprint("$", i)), User: carol})
	}
	if len(changes) != 64 || changes[63].Event != "$99" {
		t.Fatalf("%d changes, the last is %s", len(changes), changes[len(changes)-1].Event)
	}
	if changes.Find("$5", bob) != nil || changes.Find("$99", bob) == nil || changes.Find("$99", identity.PublicKey{}) != nil {
		t.Error("another change was found")
	}
	if change, ok := changes.OfTask(98); !ok || change.Event != "$98" || change.User != bob {
		t.Errorf("task 98 is of %+v", change)
	}
	if _, ok := changes.OfTask(0); ok {
		t.Error("a change without a task has one")
	}
	left := changes.Without("$99", bob)
	if len(left) != 63 || left.Find("$99", bob) != nil || left.Find("$99", carol) == nil {
		t.Errorf("%d changes are left", len(left))
	}
}

func TestChange_Allowed_ByRole(t *testing.T) {
	group := func(role mediator.Permissions) store.Group {
		return store.Group{State: store.GroupMember, Permissions: store.Permissions(role)}
	}
	for kind, least := range map[groupchat.ChangeKind]mediator.Permissions{
		groupchat.ChangeName: mediator.PermissionAdmin, groupchat.ChangeTopic: mediator.PermissionAdmin, groupchat.ChangeAvatar: mediator.PermissionAdmin,
		groupchat.ChangeRole: mediator.PermissionAdmin, groupchat.ChangeBan: mediator.PermissionModerator,
		groupchat.ChangeUnban: mediator.PermissionModerator, groupchat.ChangeInvite: mediator.PermissionModerator, groupchat.ChangeLeave: mediator.PermissionReadOnly,
	} {
		change := groupchat.Change{Kind: kind}
		for _, role := range []mediator.Permissions{
			mediator.PermissionOwner | mediator.PermissionUser, mediator.PermissionAdmin, mediator.PermissionModerator, mediator.PermissionUser, mediator.PermissionReadOnly,
		} {
			want := groupchat.Level(store.Permissions(role)) >= groupchat.Level(store.Permissions(least))
			if reason := change.Allowed(group(role)); (reason == "") != want {
				t.Errorf("%s by %s: %q", kind, role, reason)
			}
		}
		if reason := change.Allowed(store.Group{State: store.GroupLeft, Permissions: store.Permissions(mediator.PermissionOwner)}); reason == "" {
			t.Errorf("%s after leaving is allowed", kind)
		}
		if text := (groupchat.Change{Kind: kind}).Refused("Bob", "It is refused."); !strings.HasSuffix(text, "It is refused.") || strings.HasSuffix(text, "..") {
			t.Errorf("%s is refused with %q", kind, text)
		}
	}
}

func TestTexts_OfRooms_Checked(t *testing.T) {
	for name, ok := range map[string]bool{"": false, "Choir": true, strings.Repeat("ä", 25): true, strings.Repeat("ä", 26): false} {
		if reason := groupchat.CheckName(groupchat.NameFrom(" " + name + "\u200b")); (reason == "") != ok {
			t.Errorf("the name %q: %q", name, reason)
		}
	}
	for topic, ok := range map[string]bool{"": true, strings.Repeat("ä", 200): true, strings.Repeat("ä", 201): false} {
		if reason := groupchat.CheckTopic(groupchat.TopicFrom(topic + "\n")); (reason == "") != ok {
			t.Errorf("the description %q: %q", topic, reason)
		}
	}
	if have := []bool{groupchat.CheckAvatar(200<<10) == "", groupchat.CheckAvatar(200<<10+1) == ""}; !reflect.DeepEqual(have, []bool{true, false}) {
		t.Errorf("pictures at the limit: %t", have)
	}
}

func TestWhyUndelivered_ByState_InWords(t *testing.T) {
	for state, want := range map[store.GroupState]string{
		store.GroupMember: "has not confirmed it", store.GroupMediatorGone: "long time", store.GroupReadOnly: "only read", store.GroupBanned: "not a member",
	} {
		if text := groupchat.WhyUndelivered(store.Group{State: state}, store.Message{}); !strings.Contains(text, want) {
			t.Errorf("state %d: %q", state, text)
		}
	}
}
