// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/mimird/mimird/proto/identity"
)

// The part of the model that groups have beside contacts. There is one group for each
// account, modelConversation(4).

// modelGroup is what the model knows of a group.
type modelGroup struct {
	group    Group
	members  map[identity.PublicKey]Member
	tasks    []GroupTask
	position int64
	lastTask uint64
}

func newModelGroup(g Group) *modelGroup {
	return &modelGroup{group: g, members: make(map[identity.PublicKey]Member)}
}

func (g *modelGroup) clone() *modelGroup {
	if g == nil {
		return nil
	}
	c := *g
	c.members, c.tasks = maps.Clone(g.members), slices.Clone(g.tasks)
	return &c
}

// modelMediator is who says what a group's mediator says.
var modelMediator = identity.PublicKey{1}

// drawGroupOp draws an operation of a group.
func drawGroupOp(t *rapid.T) Op {
	account, group := modelKey(rapid.IntRange(1, 2).Draw(t, "account")), modelConversation(4)
	user := modelKey(rapid.IntRange(1, 4).Draw(t, "user"))
	guid := func() int64 { return rapid.Int64Range(1, 6).Draw(t, "guid") }
	text := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "text") }
	number := func() int64 { return rapid.Int64Range(0, 8).Draw(t, "number") }
	change := func() MemberChange {
		return MemberChange{
			Member: user, Fields: MemberFields(rapid.IntRange(0, 7).Draw(t, "fields")), Permissions: Permissions(number()),
			Standing: Standing(rapid.IntRange(0, 2).Draw(t, "standing")), Name: text(), ProfileTime: number(),
		}
	}
	switch rapid.IntRange(0, 15).Draw(t, "group op") {
	case 0:
		return ReceiveInvite{Group: Group{Account: account, Mediator: identity.NodeKey{1}, Chat: 1, Name: text(), Inviter: user, Invite: number() + 1, Key: GroupKey{9}}}
	case 1:
		return DecideInvite{Account: account, Group: group, Accept: rapid.Bool().Draw(t, "accept")}
	case 2:
		return SetGroupState{Account: account, Group: group, State: rapid.SampledFrom([]GroupState{GroupMember, GroupBanned, GroupLeft}).Draw(t, "state"), Permissions: 1, Reason: text()}
	case 3:
		return UpdateGroup{Account: account, Group: group, Fields: GroupFieldName | GroupFieldMuted, Name: text(), Muted: rapid.Bool().Draw(t, "muted")}
	case 4:
		if rapid.IntRange(0, 3).Draw(t, "remove") > 0 {
			return AddGroup{Account: account, Mediator: identity.NodeKey{1}, Chat: 1}
		}
		return RemoveGroup{Account: account, Group: group}
	case 5:
		return UpdateMembers{Account: account, Group: group, Changes: []MemberChange{change()}}
	case 6:
		return EnqueueGroupTask{GroupTask{Account: account, Group: group, Kind: TaskBan, User: user}}
	case 7:
		return FinishGroupTask{Account: account, Group: group, Seq: uint64(rapid.IntRange(5, 14).Draw(t, "seq")), Failed: rapid.Bool().Draw(t, "failed"), Reason: text()}
	case 8:
		return ResetGroupPosition{Account: account, Group: group}
	case 9, 10:
		return MarkGroupDelivered{Account: account, Group: group, GUID: guid(), ServerGUID: guid(), Number: number() + 1, Time: 1}
	}
	op := AcceptGroupMessages{Account: account, Group: group, Since: number(), Received: 1}
	op.Upto = op.Since
	for range rapid.IntRange(1, 4).Draw(t, "messages") {
		op.Upto += rapid.Int64Range(1, 2).Draw(t, "gap")
		m := GroupMessage{Number: op.Upto, GUID: guid(), Author: user, Type: 1, Payload: []byte(text())}
		m.ServerGUID = m.GUID
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			m.System, m.Author = true, modelMediator
			m.Deletes, m.DeletedGUID = true, guid()
		case 1:
			m.System, m.Author = true, modelMediator
			c := change()
			m.Member = &c
		case 2:
			m.System, m.Author = true, modelMediator
			name := text()
			m.Info = &GroupInfo{Name: &name}
		case 3:
			m.Unreadable = true
		case 4:
			m.ServerGUID = guid()
		}
		op.Messages = append(op.Messages, m)
	}
	return op
}

func (m *model) group(account identity.PublicKey) (*modelAccount, *modelContact) {
	a, c := m.conversation(account, modelConversation(4))
	if c == nil {
		return a, nil
	}
	return a, c
}

// applyGroup carries out an operation of a group; ok is false for other operations.
func (m *model) applyGroup(op Op) (result any, err error, ok bool) {
	id := modelConversation(4)
	event := func(a *modelAccount, ev Event) {
		ev.Conversation = id
		m.event(a, ev)
	}
	add := func(a *modelAccount, g Group) {
		g.ID, g.Added, g.StateTime = id, m.now, m.now
		a.contacts[id] = &modelContact{originals: make(map[MessageID]AcceptMessage), group: newModelGroup(g)}
		event(a, Event{Kind: GroupAdded})
	}
	switch op := op.(type) {
	case AddGroup:
		a, c := m.group(op.Account)
		switch {
		case a == nil:
			return nil, ErrNotFound, true
		case c != nil:
			return false, nil, true
		}
		add(a, Group{Account: op.Account, Mediator: op.Mediator, Chat: op.Chat})
		return true, nil, true
	case RemoveGroup:
		a, c := m.group(op.Account)
		if c == nil {
			return false, nil, true
		}
		delete(a.contacts, id)
		event(a, Event{Kind: GroupRemoved})
		return true, nil, true
	case ReceiveInvite:
		a, c := m.group(op.Group.Account)
		if a == nil {
			return nil, ErrNotFound, true
		}
		if c == nil {
			op.Group.State, op.Group.Invited = GroupInvited, m.now
			add(a, op.Group)
			event(a, Event{Kind: InviteReceived})
			return InviteStored(true), nil, true
		}
		g := &c.group.group
		if g.State == GroupMember || g.State == GroupJoining {
			return InviteStored(false), nil, true
		}
		if g.State != GroupInvited {
			g.StateTime = m.now
		}
		g.State, g.Reason, g.Name, g.Inviter, g.Invite, g.Invited, g.Key = GroupInvited, "", op.Group.Name, op.Group.Inviter, op.Group.Invite, m.now, op.Group.Key
		event(a, Event{Kind: GroupChanged})
		event(a, Event{Kind: InviteReceived})
		return InviteStored(true), nil, true
	}
	account, isGroup := groupOf(op)
	if !isGroup {
		return nil, nil, false
	}
	a, c := m.group(account)
	if c == nil {
		switch op.(type) {
		case MarkGroupDelivered, FinishGroupTask:
			return false, nil, true
		}
		return nil, ErrNotFound, true
	}
	g := c.group
	switch op := op.(type) {
	case DecideInvite:
		to := GroupDeclined
		if op.Accept {
			to = GroupJoining
		}
		switch state := g.group.State; {
		case state == to, op.Accept && state == GroupMember:
			return false, nil, true
		case state != GroupInvited && state != GroupDeclined || g.group.Invite == 0:
			return nil, ErrInvalid, true
		}
		g.group.State, g.group.StateTime, g.group.Reason = to, m.now, ""
		event(a, Event{Kind: GroupChanged})
		return true, nil, true
	case SetGroupState:
		before := g.group
		if g.group.State != op.State {
			g.group.StateTime = m.now
		}
		g.group.State, g.group.Permissions, g.group.Reason = op.State, op.Permissions, op.Reason
		if before.State == op.State && before.Permissions == op.Permissions && before.Reason == op.Reason {
			return false, nil, true
		}
		event(a, Event{Kind: GroupChanged})
		return true, nil, true
	case UpdateGroup:
		if g.group.Name == op.Name && g.group.Muted == op.Muted {
			return false, nil, true
		}
		g.group.Name, g.group.Muted = op.Name, op.Muted
		event(a, Event{Kind: GroupChanged})
		return true, nil, true
	case UpdateMembers:
		if !m.changeMember(a, g, op.Changes[0]) {
			return 0, nil, true
		}
		return 1, nil, true
	case EnqueueGroupTask:
		g.lastTask = max(g.lastTask, uint64(len(a.events))) + 1
		op.Task.Seq, op.Task.Created = g.lastTask, m.now
		g.tasks = append(g.tasks, op.Task)
		return GroupTaskQueued{g.lastTask}, nil, true
	case FinishGroupTask:
		i := slices.IndexFunc(g.tasks, func(task GroupTask) bool { return task.Seq == op.Seq })
		if i < 0 {
			return false, nil, true
		}
		ev := Event{Kind: GroupTaskDone, Reason: op.Reason, Member: g.tasks[i].User, Task: op.Seq}
		if op.Failed {
			ev.Kind = GroupTaskFailed
		}
		event(a, ev)
		g.tasks = slices.Delete(slices.Clone(g.tasks), i, i+1)
		return true, nil, true
	case ResetGroupPosition:
		was := g.position
		g.position = 0
		return was != 0, nil, true
	case MarkGroupDelivered:
		delivered := m.groupDelivered(a, c, op.GUID, op.ServerGUID, op.Number, 1)
		if op.Number == g.position+1 {
			g.position++
		}
		return delivered, nil, true
	case AcceptGroupMessages:
		if g.position != op.Since {
			return nil, ErrPosition, true
		}
		g.position = op.Upto
		result := GroupAccepted{Position: op.Upto}
		for _, msg := range op.Messages {
			if m.acceptGroup(a, c, op, msg) {
				result.Stored++
			} else {
				result.Duplicates++
			}
		}
		return result, nil, true
	}
	return nil, errors.New("not in the model"), true
}

func groupOf(op Op) (identity.PublicKey, bool) {
	switch op := op.(type) {
	case DecideInvite:
		return op.Account, true
	case SetGroupState:
		return op.Account, true
	case UpdateGroup:
		return op.Account, true
	case UpdateMembers:
		return op.Account, true
	case EnqueueGroupTask:
		return op.Task.Account, true
	case FinishGroupTask:
		return op.Account, true
	case ResetGroupPosition:
		return op.Account, true
	case MarkGroupDelivered:
		return op.Account, true
	case AcceptGroupMessages:
		return op.Account, true
	}
	return identity.PublicKey{}, false
}

func (m *model) changeMember(a *modelAccount, g *modelGroup, c MemberChange) bool {
	before, known := g.members[c.Member]
	after := before
	if !known {
		after = Member{Account: a.account.ID, Group: modelConversation(4), ID: c.Member, Since: m.now}
	}
	if c.Fields&MemberPermissions != 0 {
		after.Permissions = c.Permissions
	}
	if c.Fields&MemberStanding != 0 {
		after.Standing = c.Standing
	}
	if c.Fields&MemberProfile != 0 && c.ProfileTime >= after.ProfileTime {
		after.Name, after.ProfileTime = c.Name, c.ProfileTime
	}
	if known && after.Permissions == before.Permissions && after.Standing == before.Standing && after.Name == before.Name && after.ProfileTime == before.ProfileTime {
		return false
	}
	g.members[c.Member] = after
	m.event(a, Event{Conversation: modelConversation(4), Kind: MembersChanged, Member: c.Member})
	return true
}

// groupDelivered delivers a message of ours that is undelivered or was given up.
func (m *model) groupDelivered(a *modelAccount, c *modelContact, guid, server, number int64, at Millis) bool {
	for i := range c.messages {
		msg := &c.messages[i]
		if msg.ID != (MessageID{Dir: Out, GUID: guid}) || msg.State == StateDelivered {
			continue
		}
		msg.State, msg.StateTime, msg.Reason, msg.Author, msg.Number, msg.ServerGUID = StateDelivered, at, "", a.account.ID, number, 0
		if server != guid {
			msg.ServerGUID = server
		}
		// Of two messages with one guid the mediator has the later one.
		c.named(msg.ServerGUID, msg.ID)
		m.event(a, Event{Conversation: modelConversation(4), Kind: MessageDelivered, Message: msg.ID, Order: msg.Order})
		return true
	}
	return false
}

// named notes by which guid the mediator knows a message; 0 for its own.
func (c *modelContact) named(server int64, id MessageID) {
	if server == 0 {
		return
	}
	c.names = maps.Clone(c.names)
	if c.names == nil {
		c.names = make(map[int64]MessageID)
	}
	c.names[server] = id
}

// acceptGroup stores a message unless it is known, and reports whether it was stored.
func (m *model) acceptGroup(a *modelAccount, c *modelContact, op AcceptGroupMessages, in GroupMessage) bool {
	own := in.Author == a.account.ID && !in.System && !in.Unreadable
	id := MessageID{GUID: in.GUID}
	switch {
	case in.System:
		id.Variant = 1
	case in.Unreadable:
		id.Variant = 2
	case own:
		id.Dir = Out
	}
	for _, msg := range c.messages {
		if msg.ID == id || id.Variant == 0 && msg.ID.Variant == 0 && msg.ID.GUID == in.GUID {
			if own && !slices.ContainsFunc(c.messages, func(msg Message) bool { return msg.ID == MessageID{GUID: in.GUID} }) {
				m.groupDelivered(a, c, in.GUID, in.ServerGUID, in.Number, 1)
			}
			return false
		}
	}
	msg := Message{
		Account: a.account.ID, Conversation: op.Group, Order: uint64(len(c.messages) + 1), ID: id, Type: in.Type, SendTime: 1, Created: 1, StateTime: 1,
		Payload: in.Payload, Author: in.Author, Number: in.Number, Unreadable: in.Unreadable,
	}
	if in.ServerGUID != in.GUID {
		msg.ServerGUID = in.ServerGUID
	}
	kind := MessageReceived
	if own {
		msg.State, kind = StateDelivered, MessageSynced
	}
	c.messages = append(c.messages, msg)
	c.named(msg.ServerGUID, id)
	m.event(a, Event{Conversation: op.Group, Kind: kind, Message: id, Order: msg.Order})
	if in.Deletes {
		m.deleteGroupMessage(a, c, in.DeletedGUID)
	}
	if in.Member != nil {
		m.changeMember(a, c.group, *in.Member)
	}
	if in.Info != nil && c.group.group.Name != *in.Info.Name {
		c.group.group.Name = *in.Info.Name
		m.event(a, Event{Conversation: op.Group, Kind: GroupChanged})
	}
	return true
}

func (m *model) deleteGroupMessage(a *modelAccount, c *modelContact, server int64) {
	candidates := []MessageID{{GUID: server}, {Dir: Out, GUID: server}, {GUID: server, Variant: 1}, {GUID: server, Variant: 2}}
	if id, ok := c.names[server]; ok {
		candidates = append([]MessageID{id}, candidates...)
	}
	for _, id := range candidates {
		for i := range c.messages {
			msg := &c.messages[i]
			at := msg.ServerGUID
			if at == 0 {
				at = msg.ID.GUID
			}
			if msg.ID != id || at != server || msg.Number == 0 {
				continue
			}
			if !msg.Deleted {
				msg.Deleted, msg.Payload, msg.StateTime = true, nil, m.now
				m.event(a, Event{Conversation: modelConversation(4), Kind: MessageDeleted, Message: msg.ID, Order: msg.Order})
			}
			return
		}
	}
}

// compareGroup compares what the group of an account has beside messages.
func (r *run) compareGroup(account identity.PublicKey, c *modelContact) {
	id := modelConversation(4)
	want := newModelGroup(Group{})
	if c != nil {
		want = c.group
		got, err := r.store.Group(account, id)
		r.equal("group", want.group, got, err)
	}
	var members []Member
	for _, key := range slices.SortedFunc(maps.Keys(want.members), func(a, b identity.PublicKey) int { return bytes.Compare(a[:], b[:]) }) {
		members = append(members, want.members[key])
	}
	var after identity.PublicKey
	var got []Member
	for {
		page, err := r.store.Members(account, id, after, r.limit)
		if err != nil {
			r.t.Fatalf("%v", err)
		}
		if len(page) == 0 {
			break
		}
		got, after = append(got, page...), page[len(page)-1].ID
	}
	r.equal("members", members, got, nil)
	tasks, err := r.store.GroupTasks(account, id, 0)
	r.equal("tasks", want.tasks, tasks, err)
	position, _, err := r.store.GroupPosition(account, id)
	r.equal("position", want.position, position, err)
}
