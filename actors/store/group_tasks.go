// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// EnqueueGroupTask keeps what our user wants of a mediator until the mediator has
// answered. Tasks of a group are done in their order. The result is [GroupTaskQueued].
//
// Errors: [ErrNotFound] when the group, or the message to delete, is unknown;
// [ErrTasksFull], [ErrDiskFull], [ErrInvalid].
type EnqueueGroupTask struct{ Task GroupTask }

// GroupTaskQueued is the result of [EnqueueGroupTask].
type GroupTaskQueued struct{ Seq uint64 }

// FinishGroupTask removes a task, with what it has changed. The result is whether it was
// there.
type FinishGroupTask struct {
	Account identity.PublicKey
	Group   ConversationID
	Seq     uint64
	// Failed says that it was given up. Reason is for people; it may be set too when it
	// was done.
	Failed bool
	Reason string
	// What a task that was done has changed, nil and zero for nothing.
	Info    *GroupInfo
	Member  *MemberChange
	State   *GroupState
	Message MessageID // was deleted
}

func (op EnqueueGroupTask) size() int {
	n := opOverhead + len(op.Task.Avatar)
	for _, text := range []*string{op.Task.Name, op.Task.Description} {
		if text != nil {
			n += len(*text)
		}
	}
	return n
}

func (op EnqueueGroupTask) apply(t *txn) (any, error) {
	task := op.Task
	if err := task.check(); err != nil {
		return nil, err
	}
	if _, _, err := t.group(task.Account, task.Group); err != nil {
		return nil, err
	}
	if task.Kind == TaskDeleteMessage {
		if known, err := t.has(refKey(task.Account, task.Group, task.Message)); err != nil || !known {
			return nil, errors.Join(err, fmt.Errorf("message %s: %w", task.Message, ErrNotFound))
		}
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	progress, err := t.progress(task.Account, task.Group)
	if err != nil {
		return nil, err
	}
	n := 0
	err = t.scan(conversationPrefix(task.Account, tableTask, task.Group), func([]byte, []byte) error {
		n++
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n >= maxGroupTasks {
		return nil, fmt.Errorf("group %s has %d tasks: %w", task.Group.Short(), n, ErrTasksFull)
	}
	// Numbers follow those of events, so that they are not used again when the group is
	// removed, and the event that finishes a task is found at its number or behind it.
	last, err := t.lastSeq(task.Account)
	if err != nil {
		return nil, err
	}
	before := progress.groupProgress
	progress.LastTask = max(progress.LastTask, last) + 1
	task.Seq, task.Created = progress.LastTask, orNow(task.Created, t.now)
	if err := t.putProgress(task.Account, task.Group, progress, before); err != nil {
		return nil, err
	}
	if err := t.put(taskKey(task.Account, task.Group, task.Seq), task); err != nil {
		return nil, err
	}
	// No event: nothing has happened yet. Those who watch the group are woken all the same.
	t.touch(Conversation{task.Account, task.Group}, touchedAll)
	return GroupTaskQueued{task.Seq}, nil
}

func (task GroupTask) check() error {
	user := false
	switch task.Kind {
	case TaskInvite, TaskRole, TaskBan, TaskUnban:
		user = true
	case TaskEdit:
		if task.Name == nil && task.Description == nil && !task.SetAvatar {
			return fmt.Errorf("nothing to edit: %w", ErrInvalid)
		}
		for _, text := range []*string{task.Name, task.Description} {
			if text != nil && len(*text) > MaxText {
				return fmt.Errorf("text of %d bytes: %w", len(*text), ErrInvalid)
			}
		}
	case TaskLeave, TaskDelete, TaskDeleteMessage:
	default:
		return fmt.Errorf("task of kind %d: %w", task.Kind, ErrInvalid)
	}
	if user == task.User.IsZero() {
		return fmt.Errorf("task %s, user %s: %w", task.Kind, task.User.Short(), ErrInvalid)
	}
	return checkProfile(task.Avatar)
}

func (op FinishGroupTask) size() int {
	n := opOverhead + len(op.Reason)
	if op.Info != nil {
		n += len(op.Info.Avatar)
	}
	return n
}

func (op FinishGroupTask) apply(t *txn) (any, error) {
	if err := checkTexts(op.Reason); err != nil {
		return nil, err
	}
	task := GroupTask{Account: op.Account, Group: op.Group, Seq: op.Seq}
	key := taskKey(op.Account, op.Group, op.Seq)
	if _, err := t.load(key, &task); err != nil {
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return nil, err
	}
	if _, err := t.members(op.Account, op.Group); err != nil { // before anything is changed
		return nil, err
	}
	t.delete(key)
	if !op.Failed {
		changes := AcceptGroupMessages{Account: op.Account, Group: op.Group}
		if err := changes.effects(t, &GroupMessage{Info: op.Info, Member: op.Member}); err != nil {
			return nil, err
		}
		if err := op.settle(t); err != nil {
			return nil, err
		}
	}
	kind := GroupTaskDone
	if op.Failed {
		kind = GroupTaskFailed
	}
	return true, t.event(Event{
		Account: op.Account, Conversation: op.Group, Kind: kind, Reason: op.Reason, Member: task.User, Task: op.Seq, Message: task.Message,
	})
}

// settle changes the state of the group, and deletes the message.
func (op FinishGroupTask) settle(t *txn) error {
	if op.State != nil {
		g, old, err := t.group(op.Account, op.Group)
		if err != nil {
			return err
		}
		if g.State != *op.State {
			if err := t.moveGroup(&g, *op.State, op.Reason); err != nil {
				return err
			}
			if err := t.updateGroup(g, old); err != nil {
				return err
			}
		}
	}
	if op.Message.IsZero() {
		return nil
	}
	var ref messageRef
	if _, err := t.load(refKey(op.Account, op.Group, op.Message), &ref); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	msg, _, err := t.message(op.Account, op.Group, ref.Order)
	if err != nil {
		return missingIsCorrupt(err)
	}
	return t.deleteMessage(op.Account, op.Group, msg.serverGUID())
}
