// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// startTask asks the mediator for what our user wants first, and reports whether there is
// anything. All of it can be asked for again: when an answer is lost, the mediator says
// that it is done already.
func (x *chat) startTask(c *kernel.Context) bool {
	if x.task.Seq != 0 || !x.record.State.IsActive() || !x.subscribed && !x.polling {
		return false
	}
	tasks, err := x.deps.Store.GroupTasks(x.account, x.id, 1)
	if err != nil {
		c.Fail(err)
	}
	if len(tasks) == 0 {
		return false
	}
	q, err := x.taskRequest(tasks[0])
	if err != nil {
		x.finishTask(c, store.FinishGroupTask{Seq: tasks[0].Seq, Failed: true, Reason: err.Error()})
		return true
	}
	x.task = tasks[0]
	x.ask(c, askTask, q)
	return true
}

// errNoKey says that nobody can be invited, because the key of the group is missing.
var errNoKey = errors.New("The key of this group is missing, so nobody can be invited.") //nolint:staticcheck // a sentence for people

// taskRequest makes the request of a task. Its error is a sentence for people.
func (x *chat) taskRequest(task store.GroupTask) (mediator.Request, error) {
	chat := x.chat()
	switch task.Kind {
	case store.TaskEdit:
		q := &mediator.UpdateChatInfo{Chat: chat, Name: task.Name, Description: task.Description}
		if task.SetAvatar {
			q.Avatar = append([]byte{}, task.Avatar...) // empty, not nil: removes it
		}
		return q, nil
	case store.TaskInvite:
		if x.secret.IsZero() {
			return nil, errNoKey
		}
		data, err := x.secret.Wrap(rand.Reader, task.User)
		if err != nil {
			return nil, fmt.Errorf("This key cannot be invited: %w", err) //nolint:staticcheck // a sentence for people
		}
		return &mediator.SendInvite{Chat: chat, User: task.User, Data: data[:]}, nil
	case store.TaskRole:
		return &mediator.ChangeMemberStatus{Chat: chat, User: task.User, Permissions: mediator.Permissions(task.Permissions)}, nil
	case store.TaskBan:
		return &mediator.DeleteUser{Chat: chat, User: task.User}, nil
	case store.TaskUnban:
		return &mediator.AddUser{Chat: chat, User: task.User}, nil
	case store.TaskLeave:
		return &mediator.LeaveChat{Chat: chat}, nil
	case store.TaskDelete:
		return &mediator.DeleteChat{Chat: chat}, nil
	case store.TaskDeleteMessage:
		m, err := x.deps.Store.Message(x.account, x.id, task.Message)
		if err != nil || m.Number == 0 {
			return nil, errors.New("The mediator does not have this message.") //nolint:staticcheck // a sentence for people
		}
		guid := m.ID.GUID
		if m.ServerGUID != 0 {
			guid = m.ServerGUID
		}
		return &mediator.DeleteMessage{Chat: chat, GUID: peer.GUID(guid)}, nil
	}
	return nil, fmt.Errorf("This version cannot do that (%s).", task.Kind) //nolint:staticcheck // a sentence for people
}

func (x *chat) onTaskAnswered(c *kernel.Context, _ mediator.Answer, refused *mediator.ServerError) {
	task := x.task
	if refused != nil && isTransient(refused) && x.tries < maxTries {
		x.task = store.GroupTask{}
		x.backOff(c)
		return
	}
	x.tries = 0
	done := store.FinishGroupTask{Seq: task.Seq}
	if refused != nil {
		done.Failed, done.Reason = true, refusalReason(task, refused)
		if already, note := isDone(task, refused); already {
			done.Failed, done.Reason = false, note
		} else if refused.NotMember() {
			x.checkDue = true // or our role is too low
		}
	}
	if !done.Failed {
		x.taskDone(&done, task)
		x.historyDue = true // the mediator's message about it is not pushed to us
	}
	// Until the store has it the record says that we are a member, and a refusal would
	// be taken for news.
	x.ending = done.State != nil
	x.finishTask(c, done)
}

// taskDone fills in what a task has changed.
func (x *chat) taskDone(done *store.FinishGroupTask, task store.GroupTask) {
	state := func(s store.GroupState) { done.State = &s }
	switch task.Kind {
	case store.TaskEdit:
		done.Info = &store.GroupInfo{Name: task.Name, Description: task.Description, Avatar: task.Avatar, SetAvatar: task.SetAvatar}
	case store.TaskRole:
		done.Member = &store.MemberChange{Member: task.User, Fields: store.MemberPermissions, Permissions: task.Permissions}
	case store.TaskBan:
		done.Member = &store.MemberChange{Member: task.User, Fields: store.MemberStanding, Standing: store.StandingBanned}
	case store.TaskUnban:
		done.Member = &store.MemberChange{
			Member: task.User, Fields: store.MemberStanding | store.MemberPermissions, Permissions: store.Permissions(mediator.PermissionUser),
		}
	case store.TaskLeave:
		state(store.GroupLeft)
	case store.TaskDelete:
		state(store.GroupDeleted)
	case store.TaskDeleteMessage:
		done.Message = task.Message
	case store.TaskInvite:
	}
}

func (x *chat) finishTask(c *kernel.Context, op store.FinishGroupTask) {
	op.Account, op.Group = x.account, x.id
	x.task.Seq = op.Seq // until the store has it
	x.write(c, op, func(c *kernel.Context, msg store.Written) {
		x.ending = false
		if x.task = (store.GroupTask{}); msg.Err != nil {
			x.storeRefused(c, msg.Err)
			return
		}
		if op.State != nil {
			x.onLook(c)
		}
	})
}

// isTransient reports whether a refusal says nothing about what was asked for.
func isTransient(refused *mediator.ServerError) bool {
	text := strings.ToLower(refused.Text)
	return strings.Contains(text, mediator.TextDatabaseError) && !strings.Contains(text, "collision")
}

// isDone reports whether a refusal says that what was asked for is the case.
func isDone(task store.GroupTask, refused *mediator.ServerError) (done bool, note string) {
	switch task.Kind {
	case store.TaskInvite:
		if strings.Contains(refused.Text, mediator.TextInviteExists) {
			return true, "An invite waits for an answer already; a new one is possible an hour after it was sent."
		}
	case store.TaskLeave:
		return refused.NotMember() && !strings.Contains(refused.Text, mediator.TextOwnerCannotLeave), ""
	case store.TaskDeleteMessage:
		return strings.Contains(refused.Text, mediator.TextMessageNotFound), ""
	case store.TaskDelete:
		return strings.Contains(refused.Text, mediator.TextNoSuchChat), ""
	case store.TaskEdit, store.TaskRole, store.TaskBan, store.TaskUnban:
	}
	return false, ""
}

// refusalReason says in a sentence why the mediator does not do something.
func refusalReason(task store.GroupTask, refused *mediator.ServerError) string {
	for _, known := range []struct{ text, reason string }{
		{mediator.TextUserInChat, "This person is a member already."},
		{mediator.TextOwnerCannotLeave, "The owner of a group cannot leave it; delete the group instead."},
		{mediator.TextNotOwner, "Only the person who created the group can delete it."},
		{mediator.TextOwnPermissions, "You cannot change your own role; ask another admin."},
		{mediator.TextTargetNotMember, "This person is not a member of the group."},
		{mediator.TextOwnerPermissions, "Only an owner can change the role of an owner."},
		{mediator.TextPermissions, "Your role in this group does not permit that."},
		{mediator.TextPermissionFlags, "The mediator does not know this role."},
		{mediator.TextNameTooLong, "The name is too long."},
		{mediator.TextDescriptionLong, "The description is too long."},
		{mediator.TextAvatarTooLarge, "The picture is too large."},
		{mediator.TextFieldTooLarge, "Name, description or picture are too large."},
		{mediator.TextNotMemberOrBanned, "Your role in this group does not permit that."},
	} {
		if strings.Contains(strings.ToLower(refused.Text), known.text) {
			return known.reason
		}
	}
	return fmt.Sprintf("The mediator refused (%s): %s", task.Kind, refused.Text)
}

// onInviteAnswered gets the mediator's word on our answer to an invite.
func (x *chat) onInviteAnswered(c *kernel.Context, refused *mediator.ServerError) {
	if refused != nil && isTransient(refused) && x.tries < maxTries {
		x.backOff(c)
		return
	}
	x.tries = 0
	if x.record.State == store.GroupDeclined {
		x.record.Invite = 0 // told, or there is nothing to tell
		x.write(c, store.SettleInvite{Account: x.account, Group: x.id}, nil)
		return
	}
	if refused != nil && !refused.Already() {
		// Another device of ours may have accepted it.
		x.setState(c, store.GroupLost, 0, "The mediator does not know this invite any more. Ask to be invited again.")
		x.subscribed, x.polling = false, false // and asks whether we are a member
		return
	}
	x.setState(c, store.GroupMember, store.Permissions(mediator.PermissionUser), "")
	x.subscribed, x.historyDue, x.membersDue, x.profilesDue, x.profileWanted = false, true, true, true, true
}
