// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// realKeys returns keys that exist: the library looks at them.
func realKeys() (dave, erin identity.PublicKey) {
	return identity.NewPrivateKey([identity.SeedSize]byte{1}).Public(), identity.NewPrivateKey([identity.SeedSize]byte{2}).Public()
}

// awaitCreation waits until a group with a name is to be created.
func (f *groupFixture) awaitCreation(name string) {
	f.t.Helper()
	f.await(name+" is to be created", func() bool { _, err := f.node.creation(f.account, name); return err == nil })
}

func TestGroupCreation_Command_RoomAppears(t *testing.T) {
	f := newGroupFixture(t)
	f.say(f.alice, f.management, "create-group", "say the name of the group")
	f.say(f.alice, f.management, "create-group Opera", "The group is being created")
	f.say(f.alice, f.management, "create-group Orchestra", "The group is being created")
	opera, orchestra := f.node.create(f.account, 21, "Opera"), f.node.create(f.account, 22, "Orchestra")
	f.node.says(f.account, opera, f.bob, "in the opera")
	f.node.says(f.account, orchestra, f.bob, "in the orchestra")
	rooms := [2]id.RoomID{f.awaitText(f.alice, f.ghost(f.bob), "in the opera"), f.awaitText(f.alice, f.ghost(f.bob), "in the orchestra")}
	if rooms[0] == rooms[1] {
		t.Fatal("two groups share a room")
	}
	f.await("alice is the owner", func() bool {
		return contains(f.state(rooms[0], "m.room.name"), "Opera") && f.level(rooms[0], f.alice.UserID()) == 100
	})
	f.say(f.alice, rooms[0], "!mimir invite-to-group Bob", "The invite is on its way")
	if task := f.task(f.account, opera); task.Kind != store.TaskInvite || task.User != f.bob {
		t.Errorf("the task is %+v", task)
	}
	f.noTask(f.account, orchestra)
	f.say(f.alice, f.bobAsContact, "!mimir invite-to-group Bob", "this is not the room of a group")
	f.say(f.alice, f.management, "create-group "+strings.Repeat("x", 26), "a name has 1 to 25 characters")
}

func TestGroupCreation_API_RoomAndInvites(t *testing.T) {
	f := newGroupFixture(t)
	dave, erin := realKeys()
	answer := make(chan string, 1)
	body, err := json.Marshal(map[string]any{
		"name": map[string]any{"name": "Opera"}, "topic": map[string]any{"topic": "We sing"}, "participants": []string{dave.String(), f.ghost(erin).String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { answer <- f.provision(http.MethodPost, "/v3/create_group/group", string(body)) }()
	f.awaitCreation("Opera")
	opera := f.node.create(f.account, 21, "Opera")
	var created struct {
		ID   string    `json:"id"`
		Room id.RoomID `json:"mxid"`
	}
	if text := <-answer; json.Unmarshal([]byte(text), &created) != nil || created.ID != opera.String() || created.Room == "" {
		t.Fatalf("the answer is %s", text)
	}
	f.await("both are invited", func() bool {
		tasks, err := f.node.GroupTasks(f.account, opera, 10)
		return err == nil && len(tasks) == 2 && tasks[0].User == dave && tasks[1].User == erin
	})
	if topic := f.state(created.Room, "m.room.topic"); !contains(topic, "We sing") {
		t.Errorf("the topic is %s", topic)
	}
}

func TestGroupCreation_OwnRoomWithGhosts_BecomesItsRoom(t *testing.T) {
	f := newGroupFixture(t)
	dave, erin := realKeys()
	made, err := f.alice.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{
		Name: "Opera", Topic: "We sing", Invite: []id.UserID{f.bot(), f.ghost(dave), f.ghost(erin)},
	})
	if err != nil {
		t.Fatal(err)
	}
	room := made.RoomID
	f.await("the bot has joined", func() bool { return f.joined(room, f.bot()) })
	f.say(f.alice, room, "!mimir create-group", "give @mimirbot:mimir.test the power level 100 in it first")
	levels := &event.PowerLevelsEventContent{}
	levels.SetUserLevel(f.bot(), 100)
	levels.SetUserLevel(f.alice.UserID(), 100)
	f.setState(f.alice.Matrix, room, event.StatePowerLevels, levels)
	if _, err := f.alice.SendText(soon(t), room, "!mimir create-group"); err != nil {
		t.Fatal(err)
	}
	f.awaitCreation("Opera")
	opera := f.node.create(f.account, 21, "Opera")
	f.said(f.alice, room, "Successfully created group")
	f.await("both are invited", func() bool {
		tasks, err := f.node.GroupTasks(f.account, opera, 10)
		return err == nil && len(tasks) == 2
	})
	f.write(room, "hello")
	f.await("it is queued for the group", func() bool { return len(f.outgoing(f.account, opera)) == 1 })
	f.node.member(f.account, opera, store.MemberChange{
		Member: dave, Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(mediator.PermissionUser),
	})
	f.awaitMembers(room, "join", f.ghost(dave))
	f.node.says(f.account, opera, dave, "I have accepted")
	if in := f.awaitText(f.alice, f.ghost(dave), "I have accepted"); in != room {
		t.Errorf("Dave writes in %s, want %s", in, room)
	}
	if membership := f.membership(room, f.ghost(erin)); membership != "invite" {
		t.Errorf("Erin has not accepted, and is %s", membership)
	}
}
