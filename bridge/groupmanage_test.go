// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// managed is a groupFixture in which alice is an admin of the choir, and a user of the band;
// anna is a user of the choir.
func newManaged(t *testing.T) *groupFixture {
	f := newGroupFixture(t)
	f.hasRole(f.account, f.choir, mediator.PermissionAdmin)
	f.hasRole(f.account, f.band, mediator.PermissionUser)
	f.hasRole(f.second, f.choir, mediator.PermissionUser)
	f.await("alice has the power of an admin", func() bool { return f.level(f.choirRoom, f.alice.UserID()) == 75 })
	f.awaitMembers(f.bandRoom, "join", f.ghost(f.bob), f.ghost(f.carol))
	f.awaitMembers(f.choirRoom, "join", f.ghost(f.bob), f.ghost(f.carol))
	return f
}

// hasRole gives an account a role in a group, in the eyes of both accounts.
func (f *groupFixture) hasRole(account identity.PublicKey, group store.ConversationID, role mediator.Permissions) {
	f.t.Helper()
	f.node.apply(store.SetGroupState{Account: account, Group: group, State: store.GroupMember, Permissions: store.Permissions(role)})
	for _, viewer := range []identity.PublicKey{f.account, f.second} {
		if viewer.IsZero() { // some worlds have one account
			continue
		}
		f.node.member(viewer, group, store.MemberChange{
			Member: account, Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(role),
		})
	}
}

// level returns the power of somebody in a room.
func (f *groupFixture) level(room id.RoomID, user id.UserID) int {
	f.t.Helper()
	var levels event.PowerLevelsEventContent
	if err := f.alice.Matrix.StateEvent(soon(f.t), room, event.StatePowerLevels, "", &levels); err != nil {
		f.t.Fatal(err)
	}
	return levels.GetUserLevel(user)
}

// setLevel changes the power of somebody in a room.
func (f *groupFixture) setLevel(who *mautrix.Client, room id.RoomID, user id.UserID, level int) {
	f.t.Helper()
	var levels event.PowerLevelsEventContent
	if err := who.StateEvent(soon(f.t), room, event.StatePowerLevels, "", &levels); err != nil {
		f.t.Fatal(err)
	}
	levels.SetUserLevel(user, level)
	f.setState(who, room, event.StatePowerLevels, &levels)
}

func (f *groupFixture) setState(who *mautrix.Client, room id.RoomID, kind event.Type, content any) {
	f.t.Helper()
	if _, err := who.SendStateEvent(soon(f.t), room, kind, "", content); err != nil {
		f.t.Fatal(err)
	}
}

// task waits for the one task of a group.
func (f *groupFixture) task(account identity.PublicKey, group store.ConversationID) (task store.GroupTask) {
	f.t.Helper()
	f.await("a task is queued", func() bool {
		tasks, err := f.node.GroupTasks(account, group, 10)
		if err != nil || len(tasks) > 1 {
			f.t.Fatalf("%d tasks, %v", len(tasks), err)
		}
		if len(tasks) == 1 {
			task = tasks[0]
		}
		return len(tasks) == 1
	})
	return task
}

func (f *groupFixture) noTask(account identity.PublicKey, group store.ConversationID) {
	f.t.Helper()
	if tasks, err := f.node.GroupTasks(account, group, 10); err != nil || len(tasks) != 0 {
		f.t.Errorf("%d tasks, %v", len(tasks), err)
	}
}

// count returns how many events of a kind somebody has sent into a room.
func (f *groupFixture) count(room id.RoomID, kind event.Type, sender id.UserID) (n int) {
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == kind.Type && evt.Sender == sender {
			n++
		}
	}
	return n
}

// settled waits until everything of a group that was reported so far is in its room.
func (f *groupFixture) settled(room id.RoomID, account identity.PublicKey, group store.ConversationID, text string) {
	f.t.Helper()
	f.node.says(account, group, f.bob, text)
	f.await("the room has "+text, func() bool { return slices.Contains(f.shown(room), text) })
}

// membership returns the membership of somebody in a room.
func (f *groupFixture) membership(room id.RoomID, user id.UserID) string {
	for _, membership := range []string{"join", "invite", "ban", "leave"} {
		if slices.Contains(f.homeserver.Members(room, membership), user) {
			return membership
		}
	}
	return ""
}

func TestGroupManagement_NameTopicPicture_DoneOnceAndNotEchoed(t *testing.T) {
	f := newManaged(t)
	room, alice := f.choirRoom, f.alice.Matrix
	before := [3]int{f.count(room, event.StateRoomName, f.bot()), f.count(room, event.StateTopic, f.bot()), f.count(room, event.StateRoomAvatar, f.bot())}
	f.setState(alice, room, event.StateRoomName, &event.RoomNameEventContent{Name: "Great Choir"})
	task := f.task(f.account, f.choir)
	if task.Name == nil || *task.Name != "Great Choir" {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	f.setState(alice, room, event.StateTopic, &event.TopicEventContent{Topic: "We sing"})
	f.node.answer(f.task(f.account, f.choir), "")
	drawn := picture(t, 8, 8)
	uploaded, err := alice.UploadBytes(soon(t), drawn, "image/png")
	if err != nil {
		t.Fatal(err)
	}
	f.setState(alice, room, event.StateRoomAvatar, &event.RoomAvatarEventContent{URL: uploaded.ContentURI.CUString()})
	if task = f.task(f.account, f.choir); !slices.Equal(task.Avatar, drawn) {
		t.Errorf("the picture has %d bytes, want %d", len(task.Avatar), len(drawn))
	}
	f.node.answer(task, "")
	g, err := f.node.Group(f.account, f.choir)
	if err != nil || g.Name != "Great Choir" || g.Description != "We sing" || !slices.Equal(g.Avatar, drawn) {
		t.Errorf("the group is %q, %q, %d bytes, %v", g.Name, g.Description, len(g.Avatar), err)
	}
	// Another member changes the same, and that is told.
	name := "Choir"
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventInfoChanged, Actor: f.carol, Name: &name}, store.GroupMessage{
		Info: &store.GroupInfo{Name: &name},
	})
	f.botSays(room, "Carol has changed the name of the group to Choir.")
	f.await("the room has that name", func() bool { return f.count(room, event.StateRoomName, f.bot()) == before[0]+1 }) // or it never has
	// The same by another device of alice is told, too.
	again := "Great Choir"
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventInfoChanged, Actor: f.account, Name: &again}, store.GroupMessage{
		Info: &store.GroupInfo{Name: &again},
	})
	f.botSays(room, "Alice has changed the name of the group to Great Choir.")
	f.settled(room, f.account, f.choir, "behind it")
	for _, text := range f.texts(f.alice, room, f.bot()) {
		if contains(text, "description") || contains(text, "picture") {
			t.Errorf("the room is told %q", text)
		}
	}
	after := [3]int{f.count(room, event.StateRoomName, f.bot()), f.count(room, event.StateTopic, f.bot()), f.count(room, event.StateRoomAvatar, f.bot())}
	if after != [3]int{before[0] + 2, before[1], before[2]} { // of Carol, and of the other device
		t.Errorf("the bot has set name, topic and picture %d times, before %d", after, before)
	}
	f.noTask(f.account, f.band)
	f.noTask(f.second, f.choir)
}

func TestGroupManagement_NameNotAllowed_SetBackAndTold(t *testing.T) {
	f := newManaged(t)
	for name, room := range map[string]id.RoomID{"Choir": f.choirRoom, "Band": f.bandRoom} {
		who := f.alice
		if room == f.choirRoom {
			who = f.anna
		}
		f.setState(who.Matrix, room, event.StateRoomName, &event.RoomNameEventContent{Name: "Mine"})
		f.said(who, room, "The name of the group was not changed: only owners and admins of the group can do that.")
		f.await("the name is set back", func() bool { return contains(f.state(room, "m.room.name"), name) })
	}
	f.noTask(f.second, f.choir)
	f.noTask(f.account, f.band)
	f.setState(f.alice.Matrix, f.choirRoom, event.StateRoomName, &event.RoomNameEventContent{Name: "The greatest of all choirs"})
	f.botSays(f.choirRoom, "a name has 1 to 25 characters")
	f.await("the name is set back", func() bool { return contains(f.state(f.choirRoom, "m.room.name"), `"Choir"`) })
	f.noTask(f.account, f.choir)
}

func TestGroupManagement_MediatorRefuses_SetBackAndToldOnce(t *testing.T) {
	f := newManaged(t)
	room := f.choirRoom
	const reason = "Your role in this group does not permit that."
	f.setState(f.alice.Matrix, room, event.StateRoomName, &event.RoomNameEventContent{Name: "Great Choir"})
	f.node.answer(f.task(f.account, f.choir), reason)
	f.botSays(room, "The name of the group was not changed: Your role in this group does not permit that.")
	f.await("the name is set back", func() bool { return contains(f.state(room, "m.room.name"), `"Choir"`) })

	f.setLevel(f.alice.Matrix, room, f.ghost(f.carol), 50)
	f.node.answer(f.task(f.account, f.choir), reason)
	f.botSays(room, "The role of Carol was not changed: Your role")
	f.await("the level is set back", func() bool { return f.level(room, f.ghost(f.carol)) == 0 })

	if _, err := f.alice.Matrix.BanUser(soon(t), room, &mautrix.ReqBanUser{UserID: f.ghost(f.carol)}); err != nil {
		t.Fatal(err)
	}
	f.node.answer(f.task(f.account, f.choir), reason)
	f.botSays(room, "Carol was not banned from the group: Your role")
	f.await("Carol is back", func() bool { return f.membership(room, f.ghost(f.carol)) == "join" })

	dave := f.node.addContact(f.account, "Dave")
	if _, err := f.alice.Matrix.InviteUser(soon(t), room, &mautrix.ReqInviteUser{UserID: f.ghost(dave)}); err != nil {
		t.Fatal(err)
	}
	f.node.answer(f.task(f.account, f.choir), reason)
	f.botSays(room, "Dave was not invited to the group: Your role")
	f.await("Dave is not invited", func() bool { return f.membership(room, f.ghost(dave)) == "leave" })
	f.settled(room, f.account, f.choir, "behind it")
	told := 0
	for _, text := range f.texts(f.alice, room, f.bot()) {
		if contains(text, "does not permit that") {
			told++
		}
	}
	if told != 4 {
		t.Errorf("the room was told %d times, want 4", told)
	}
}

// What the node refuses is not tried again, as nothing changes it.
func TestGroupManagement_NodeRefuses_SetBackAndTold(t *testing.T) {
	f := newManaged(t)
	f.node.banRefused.Store(true)
	if _, err := f.alice.Matrix.BanUser(soon(t), f.choirRoom, &mautrix.ReqBanUser{UserID: f.ghost(f.carol)}); err != nil {
		t.Fatal(err)
	}
	f.botSays(f.choirRoom, "Carol was not banned from the group: this is the account itself")
	f.await("Carol is back", func() bool { return f.membership(f.choirRoom, f.ghost(f.carol)) == "join" })
	f.node.banRefused.Store(false)
	if _, err := f.alice.Matrix.BanUser(soon(t), f.choirRoom, &mautrix.ReqBanUser{UserID: f.ghost(f.carol)}); err != nil {
		t.Fatal(err)
	}
	if task := f.task(f.account, f.choir); task.Kind != store.TaskBan || task.User != f.carol {
		t.Errorf("%+v", task)
	}
	f.noTask(f.second, f.band)
}

func TestGroupManagement_RolesBansInvites_AskedOfMediator(t *testing.T) {
	f := newManaged(t)
	room, carol := f.choirRoom, f.ghost(f.carol)
	f.setLevel(f.alice.Matrix, room, carol, 60) // above 50, so a moderator
	task := f.task(f.account, f.choir)
	if task.Kind != store.TaskRole || task.User != f.carol || task.Permissions != store.Permissions(mediator.PermissionModerator) {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	f.await("the level is that of the role", func() bool { return f.level(room, carol) == 50 })
	f.setLevel(f.alice.Matrix, room, carol, -10)
	f.node.answer(f.task(f.account, f.choir), "")

	if _, err := f.alice.Matrix.BanUser(soon(t), room, &mautrix.ReqBanUser{UserID: carol}); err != nil {
		t.Fatal(err)
	}
	if task = f.task(f.account, f.choir); task.Kind != store.TaskBan || task.User != f.carol {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	if _, err := f.alice.Matrix.UnbanUser(soon(t), room, &mautrix.ReqUnbanUser{UserID: carol}); err != nil {
		t.Fatal(err)
	}
	if task = f.task(f.account, f.choir); task.Kind != store.TaskUnban || task.User != f.carol {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	f.await("Carol is back", func() bool { return f.membership(room, carol) == "join" })

	// Mimir does not tell a kick from a ban; who is invited again is a member again.
	if _, err := f.alice.Matrix.KickUser(soon(t), room, &mautrix.ReqKickUser{UserID: carol}); err != nil {
		t.Fatal(err)
	}
	if task = f.task(f.account, f.choir); task.Kind != store.TaskBan || task.User != f.carol {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	for _, invited := range []identity.PublicKey{f.carol, f.node.addContact(f.account, "Dave")} {
		if _, err := f.alice.Matrix.InviteUser(soon(t), room, &mautrix.ReqInviteUser{UserID: f.ghost(invited)}); err != nil {
			t.Fatal(err)
		}
		if task = f.task(f.account, f.choir); task.Kind != store.TaskInvite || task.User != invited {
			t.Fatalf("the task is %+v", task)
		}
		f.node.answer(task, "")
	}
	f.settled(room, f.account, f.choir, "behind it")
	if membership := f.membership(room, carol); membership != "invite" {
		t.Errorf("Carol was invited, and is %s", membership)
	}
	for _, text := range f.texts(f.alice, room, f.bot()) {
		if contains(text, "Carol") {
			t.Errorf("the room is told %q", text)
		}
	}
	// What others do is told.
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventPermissions, User: f.carol, Actor: f.bob, Permissions: mediator.PermissionUser}, store.GroupMessage{})
	f.botSays(room, "Bob has changed the role of Carol to user.")

	// Nothing of it is done where alice is a user, and nothing by anna.
	f.setLevel(f.alice.Matrix, f.bandRoom, carol, 50)
	f.botSays(f.bandRoom, "The role of Carol was not changed: only owners and admins of the group can do that.")
	f.await("the level is set back", func() bool { return f.level(f.bandRoom, carol) == 0 })
	if _, err := f.alice.Matrix.KickUser(soon(t), f.bandRoom, &mautrix.ReqKickUser{UserID: carol}); err != nil {
		t.Fatal(err)
	}
	f.botSays(f.bandRoom, "Carol was not banned from the group: only owners, admins and moderators of the group can do that.")
	f.await("Carol is back in the band", func() bool { return f.membership(f.bandRoom, carol) == "join" })
	f.noTask(f.account, f.band)
	f.noTask(f.second, f.choir)
}

func TestGroupManagement_RulesAndOwnRole_SetBack(t *testing.T) {
	f := newManaged(t)
	room := f.choirRoom
	var levels event.PowerLevelsEventContent
	if err := f.alice.Matrix.StateEvent(soon(t), room, event.StatePowerLevels, "", &levels); err != nil {
		t.Fatal(err)
	}
	levels.EventsDefault = 50
	f.setState(f.alice.Matrix, room, event.StatePowerLevels, &levels)
	f.botSays(room, "Mimir has the roles owner (100), admin (75)")
	f.await("the rule is set back", func() bool {
		var now event.PowerLevelsEventContent
		err := f.alice.Matrix.StateEvent(soon(t), room, event.StatePowerLevels, "", &now)
		return err == nil && now.EventsDefault == 0
	})
	f.setLevel(f.alice.Matrix, room, f.alice.UserID(), 0)
	f.botSays(room, "The role of Alice was not changed: nobody can change their own role")
	f.await("the level is set back", func() bool { return f.level(room, f.alice.UserID()) == 75 })
	f.noTask(f.account, f.choir)
}

func TestGroupManagement_EventRepeated_OneTask(t *testing.T) {
	f := newManaged(t)
	room := f.choirRoom
	if _, err := f.alice.Matrix.KickUser(soon(t), room, &mautrix.ReqKickUser{UserID: f.ghost(f.carol)}); err != nil {
		t.Fatal(err)
	}
	task := f.task(f.account, f.choir)
	timeline := f.homeserver.Timeline(room)
	at := slices.IndexFunc(timeline, func(evt bridgetest.Event) bool {
		return evt.Type == event.StateMember.Type && evt.Sender == f.alice.UserID() && *evt.StateKey == f.ghost(f.carol).String()
	})
	kick := timeline[at]
	body, err := json.Marshal(map[string]any{"events": []any{kick}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status := f.push(f.config.AppService.HSToken, transactions+"again", bytes.NewReader(body)); status != http.StatusOK {
			t.Fatalf("the listener answers %d", status)
		}
	}
	f.write(room, "behind it")
	f.await("what is behind it is queued", func() bool { return len(f.outgoing(f.account, f.choir)) == 1 })
	if again := f.task(f.account, f.choir); again.Seq != task.Seq {
		t.Errorf("the task is %d, want %d", again.Seq, task.Seq)
	}
	// Answered meanwhile, it is not asked for again.
	f.node.answer(task, "")
	if status := f.push(f.config.AppService.HSToken, transactions+"once more", bytes.NewReader(body)); status != http.StatusOK {
		t.Fatalf("the listener answers %d", status)
	}
	f.write(room, "and behind that")
	f.await("what is behind it is queued", func() bool { return len(f.outgoing(f.account, f.choir)) == 2 })
	f.noTask(f.account, f.choir)
}

func TestGroupManagement_Leave_ByCommand(t *testing.T) {
	f := newManaged(t)
	f.say(f.alice, f.bandRoom, "!mimir leave-group", "You leave the group as soon as its mediator confirms it.")
	task := f.task(f.account, f.band)
	if task.Kind != store.TaskLeave {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "The owner of a group cannot leave it; delete the group instead.")
	f.botSays(f.bandRoom, "What you asked of the group was refused: The owner of a group cannot leave it; delete the group instead.")
	f.say(f.alice, f.bandRoom, "!mimir leave-group", "You leave the group as soon as its mediator confirms it.")
	f.node.answer(f.task(f.account, f.band), "")
	f.said(f.alice, f.management, "Band: You have left this group") // the room is anna's
	f.awaitMembers(f.bandRoom, "leave", f.alice.UserID())
	f.say(f.alice, f.bobAsContact, "!mimir leave-group", "this is not the room of a group")
	f.noTask(f.account, f.choir)
}

// With bridge.bridge_matrix_leave leaving the room is leaving the group.
func TestGroupManagement_RoomLeft_GroupLeft(t *testing.T) {
	f := newGroupFixtureWith(t, func(c *matrixconfig.Config) { c.Bridge.BridgeMatrixLeave = true })
	if _, err := f.alice.Matrix.LeaveRoom(soon(t), f.bandRoom); err != nil {
		t.Fatal(err)
	}
	task := f.task(f.account, f.band)
	if task.Kind != store.TaskLeave {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "The owner of a group cannot leave it; delete the group instead.")
	f.botSays(f.bandRoom, "You have not left the group: The owner of a group cannot leave it")
	f.await("alice is back", func() bool { return f.membership(f.bandRoom, f.alice.UserID()) == "join" })
	f.noTask(f.account, f.choir)
	f.noTask(f.second, f.choir)
}
