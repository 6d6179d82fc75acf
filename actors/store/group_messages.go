// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// The variants of incoming messages in groups. Members choose the guids of their own
// messages: they must not be able to hide what others say under guids of another origin.
const (
	variantMember     = 0 // the guid inside of the message
	variantMediator   = 1 // the guid of what the mediator itself says
	variantUnreadable = 2 // the mediator's guid of what could not be decrypted or read
)

// AcceptGroupMessages stores messages of a group that a mediator delivered, and moves
// the position up to which the history is stored, both or neither. A message is known
// when the group has one with the guid, of any author; one of ours that comes back is
// delivered. The result is [GroupAccepted].
//
// Errors: [ErrPosition] when the position is not Since; [ErrNotFound], [ErrDiskFull],
// [ErrContactFull], [ErrBusy], [ErrInvalid].
type AcceptGroupMessages struct {
	Account identity.PublicKey
	Group   ConversationID
	// Since is the position before, Upto the one afterwards: the mediator has no messages
	// in between but these.
	Since, Upto int64
	// Messages have ascending numbers above Since, the last of at most Upto.
	Messages []GroupMessage
	Received Millis
}

// GroupMessage is a message as a mediator delivered it, read by the caller.
type GroupMessage struct {
	Number int64
	// GUID is that inside of the message, and the mediator's for what could not be read
	// or is of the mediator itself. ServerGUID is always the mediator's.
	GUID, ServerGUID int64
	Author           identity.PublicKey
	// System says that the mediator itself is the author, Unreadable that the message
	// could not be decrypted or read.
	System, Unreadable bool
	Type               int32
	ReplyTo            int64
	SendTime           Millis
	Payload            []byte
	Reaction           *ReactionTo
	Media              *Media

	// What a system message changes; nil and false for nothing.

	Deletes bool // the message with DeletedGUID, a guid of the mediator
	// DeletedGUID may be 0.
	DeletedGUID int64
	Info        *GroupInfo
	Member      *MemberChange
}

// GroupInfo is a change of what a group is called: nil where nothing changes.
type GroupInfo struct {
	Name, Description *string
	Avatar            []byte
	SetAvatar         bool // to Avatar, none when that is empty
}

// GroupAccepted is the result of [AcceptGroupMessages].
type GroupAccepted struct {
	Position   int64
	Stored     int // new messages
	Duplicates int
	Stray      int // reactions to messages that the group does not have
}

// ResetGroupPosition lets the history of a group be read again from its start, because
// the mediator has lost a part of it. What is stored stays. The result is whether the
// position was above 0.
type ResetGroupPosition struct {
	Account identity.PublicKey
	Group   ConversationID
}

// MarkGroupDelivered takes a message out of the outbox because the mediator has it. The
// message gets the mediator's number and guid in the same commit. When the number follows
// the position, the position moves with it. The result is whether the message was
// undelivered, or had been given up.
type MarkGroupDelivered struct {
	Account    identity.PublicKey
	Group      ConversationID
	GUID       int64
	ServerGUID int64
	Number     int64
	Time       Millis
}

func (op AcceptGroupMessages) size() int {
	n := opOverhead
	for i := range op.Messages {
		n += opOverhead + len(op.Messages[i].Payload)
	}
	return n
}

func (op AcceptGroupMessages) check() error {
	if err := checkConversation(op.Account, op.Group); err != nil {
		return err
	}
	last := op.Since
	for i := range op.Messages {
		m := &op.Messages[i]
		switch {
		case m.Number <= last || m.Number > op.Upto:
			return fmt.Errorf("message %d follows %d: %w", m.Number, last, ErrInvalid)
		case m.GUID == 0 || len(m.Payload) > MaxPayload:
			return fmt.Errorf("guid %d, payload of %d bytes: %w", m.GUID, len(m.Payload), ErrInvalid)
		}
		last = m.Number
	}
	if op.Upto <= op.Since {
		return fmt.Errorf("position %d after %d: %w", op.Upto, op.Since, ErrInvalid)
	}
	return nil
}

func (op AcceptGroupMessages) apply(t *txn) (any, error) {
	if err := op.check(); err != nil {
		return nil, err
	}
	if err := t.needConversation(op.Account, op.Group); err != nil {
		return nil, err
	}
	progress, err := t.progress(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	if progress.Position != op.Since {
		return nil, fmt.Errorf("group %s is at %d, not %d: %w", op.Group.Short(), progress.Position, op.Since, ErrPosition)
	}
	if len(op.Messages) > 0 {
		// Before anything is changed; the set of guids is read too.
		if err := errors.Join(t.needSpace(), t.needShare(op.Account, op.Group, op.size())); err != nil {
			return nil, err
		}
		if _, err := t.isNew(op.Account, op.Group, op.Messages[0].GUID); err != nil {
			return nil, err
		}
	}
	before := progress.groupProgress
	progress.Position, progress.Contacted = op.Upto, max(progress.Contacted, t.now)
	result := GroupAccepted{Position: op.Upto}
	for i := range op.Messages {
		if err := op.accept(t, &op.Messages[i], &result); err != nil {
			return nil, err
		}
	}
	return result, t.putProgress(op.Account, op.Group, progress, before)
}

// accept stores one message, unless it is known, and does what it says.
func (op AcceptGroupMessages) accept(t *txn, m *GroupMessage, result *GroupAccepted) error {
	known, err := op.known(t, m)
	if err != nil {
		return err
	}
	if known {
		result.Duplicates++
		return nil
	}
	msg := Message{
		Account: op.Account, Conversation: op.Group,
		ID: MessageID{Dir: m.direction(op.Account), GUID: m.GUID, Variant: m.variant()}, Type: m.Type, ReplyTo: m.ReplyTo,
		Created: orNow(op.Received, t.now), Payload: m.Payload, State: StateReceived,
		Author: m.Author, Number: m.Number, Unreadable: m.Unreadable,
	}
	if m.ServerGUID != m.GUID {
		msg.ServerGUID = m.ServerGUID
	}
	msg.SendTime, msg.StateTime = PlausibleTime(m.SendTime, msg.Created), msg.Created
	kind := MessageReceived
	if msg.ID.Dir == Out {
		msg.State, kind = StateDelivered, MessageSynced
	}
	if err := t.insertMessage(&msg, m.Reaction); err != nil {
		return err
	}
	if err := t.noteServerGUID(&msg); err != nil {
		return err
	}
	if err := t.messageEvent(&msg, kind); err != nil {
		return err
	}
	stray, err := t.isStray(&msg, m.Reaction)
	if err != nil {
		return err
	}
	if result.Stored++; stray {
		result.Stray++
	}
	if err := t.insertMedia(&msg, m.Media); err != nil {
		return err
	}
	return op.effects(t, m)
}

// known reports whether the group has the message. One of ours that was not known to be
// delivered is delivered now.
func (op AcceptGroupMessages) known(t *txn, m *GroupMessage) (bool, error) {
	if isNew, err := t.isNew(op.Account, op.Group, m.GUID); isNew || err != nil {
		return false, err
	}
	if m.variant() != variantMember {
		return t.has(refKey(op.Account, op.Group, MessageID{GUID: m.GUID, Variant: m.variant()}))
	}
	known, err := t.has(refKey(op.Account, op.Group, MessageID{GUID: m.GUID}))
	if known || err != nil {
		return known, err
	}
	known, err = t.has(refKey(op.Account, op.Group, MessageID{Dir: Out, GUID: m.GUID}))
	if !known || err != nil || m.direction(op.Account) != Out {
		return known, err
	}
	_, err = t.groupDelivered(op.Account, op.Group, m.GUID, m.ServerGUID, m.Number, orNow(op.Received, t.now))
	return true, err
}

func (m *GroupMessage) direction(account identity.PublicKey) Direction {
	if m.Author == account && !m.System && !m.Unreadable {
		return Out
	}
	return In
}

func (m *GroupMessage) variant() uint16 {
	switch {
	case m.System:
		return variantMediator
	case m.Unreadable:
		return variantUnreadable
	}
	return variantMember
}

// effects does what a system message says.
func (op AcceptGroupMessages) effects(t *txn, m *GroupMessage) error {
	if m.Deletes {
		if err := t.deleteMessage(op.Account, op.Group, m.DeletedGUID); err != nil {
			return err
		}
	}
	if m.Member != nil {
		if _, err := (UpdateMembers{Account: op.Account, Group: op.Group, Changes: []MemberChange{*m.Member}}).apply(t); err != nil {
			return err
		}
	}
	if m.Info == nil {
		return nil
	}
	change := UpdateGroup{Account: op.Account, Group: op.Group}
	if m.Info.Name != nil {
		change.Fields, change.Name = change.Fields|GroupFieldName, *m.Info.Name
	}
	if m.Info.Description != nil {
		change.Fields, change.Description = change.Fields|GroupFieldDescription, *m.Info.Description
	}
	if m.Info.SetAvatar {
		change.Fields, change.Avatar = change.Fields|GroupFieldAvatar, m.Info.Avatar
	}
	_, err := change.apply(t)
	return err
}

// noteServerGUID notes by which other guid the mediator knows a message.
func (t *txn) noteServerGUID(msg *Message) error {
	if msg.ServerGUID == 0 {
		return nil
	}
	return t.put(guidKey(msg.Account, msg.Conversation, msg.ServerGUID), guidRow{msg.ID})
}

// byServerGUID finds the message that the mediator knows by a guid.
func (t *txn) byServerGUID(account identity.PublicKey, group ConversationID, guid int64) (Message, []byte, error) {
	var row guidRow
	candidates := []MessageID{
		{GUID: guid, Variant: variantMember},
		{Dir: Out, GUID: guid},
		{GUID: guid, Variant: variantMediator},
		{GUID: guid, Variant: variantUnreadable},
	}
	_, err := t.load(guidKey(account, group, guid), &row)
	switch {
	case err == nil:
		candidates = append([]MessageID{row.Message}, candidates...)
	case !errors.Is(err, ErrNotFound):
		return Message{}, nil, err
	}
	for _, id := range candidates {
		var ref messageRef
		_, err := t.load(refKey(account, group, id), &ref)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Message{}, nil, err
		}
		msg, raw, err := t.message(account, group, ref.Order)
		if err != nil {
			return Message{}, nil, missingIsCorrupt(err)
		}
		if msg.serverGUID() == guid && msg.Number != 0 {
			return msg, raw, nil
		}
	}
	return Message{}, nil, ErrNotFound
}

// serverGUID is the guid by which the mediator knows the message.
func (m *Message) serverGUID() int64 {
	if m.ServerGUID != 0 {
		return m.ServerGUID
	}
	return m.ID.GUID
}

// deleteMessage leaves a tombstone of the message that a mediator knows by a guid, if the
// group has it.
func (t *txn) deleteMessage(account identity.PublicKey, group ConversationID, guid int64) error {
	msg, raw, err := t.byServerGUID(account, group, guid)
	if errors.Is(err, ErrNotFound) || err == nil && (msg.Deleted || msg.IsExpired()) {
		return nil // deleted before it was read, or gone
	}
	if err != nil {
		return err
	}
	msg.Deleted, msg.Payload, msg.StateTime = true, nil, t.now
	if err := t.updateMessage(msg, raw); err != nil {
		return err
	}
	if err := t.removeMedia(account, group, msg.ID); err != nil {
		return err
	}
	if err := t.retractReaction(&msg); err != nil {
		return err
	}
	return t.messageEvent(&msg, MessageDeleted)
}

// removeMedia forgets the file of a message, if it has one.
func (t *txn) removeMedia(account identity.PublicKey, conversation ConversationID, id MessageID) error {
	key := mediaKey(account, conversation, id)
	m := Media{Account: account, Conversation: conversation, Message: id}
	_, err := t.load(key, &m)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, place := range m.places() {
		t.delete(place)
	}
	t.delete(key)
	return nil
}

func (op ResetGroupPosition) size() int { return opOverhead }

func (op ResetGroupPosition) apply(t *txn) (any, error) {
	if err := t.needConversation(op.Account, op.Group); err != nil {
		return nil, err
	}
	progress, err := t.progress(op.Account, op.Group)
	if err != nil || progress.Position == 0 {
		return false, err
	}
	before := progress.groupProgress
	progress.Position = 0
	return true, t.putProgress(op.Account, op.Group, progress, before)
}

func (op MarkGroupDelivered) size() int { return opOverhead }

func (op MarkGroupDelivered) apply(t *txn) (any, error) {
	err := t.needConversation(op.Account, op.Group)
	if errors.Is(err, ErrNotFound) {
		return false, nil // removed meanwhile
	}
	if err != nil {
		return nil, err
	}
	delivered, err := t.groupDelivered(op.Account, op.Group, op.GUID, op.ServerGUID, op.Number, orNow(op.Time, t.now))
	if err != nil {
		return nil, err
	}
	progress, err := t.progress(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	before := progress.groupProgress
	if op.Number == progress.Position+1 {
		progress.Position = op.Number
	}
	return delivered, t.putProgress(op.Account, op.Group, progress, before)
}

// groupDelivered takes a message of ours out of the outbox, with what the mediator says
// of it.
func (t *txn) groupDelivered(account identity.PublicKey, group ConversationID, guid, serverGUID, number int64, at Millis) (any, error) {
	var id MessageID
	done, err := t.settle(account, group, guid, func(msg *Message) (EventKind, bool) {
		if msg.State != StatePending && msg.State != StateFailed {
			return 0, false
		}
		id = msg.ID
		msg.State, msg.StateTime, msg.Reason = StateDelivered, at, ""
		msg.Author, msg.Number, msg.ServerGUID = account, number, 0
		if serverGUID != guid {
			msg.ServerGUID = serverGUID
		}
		return MessageDelivered, true
	})
	if err == nil && !id.IsZero() && serverGUID != guid {
		err = t.put(guidKey(account, group, serverGUID), guidRow{id})
	}
	return done, err
}
