// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"math"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// mediatorGUIDs is how many guids are tried for a message, as in the reference.
const mediatorGUIDs = 10

// SendMediatorMessage stores a message of a member. A retry with the guid and time of a
// stored message stores nothing; a guid that another message has is counted up until one
// is free. The result is [MediatorSent].
//
// Errors: a *mediator.ServerError, [ErrDiskFull], [ErrBusy], [ErrInvalid].
type SendMediatorMessage struct {
	Group  mediator.ChatID
	Author identity.PublicKey
	GUID   int64
	Time   *int64 // Unix seconds; nil is now
	Blob   []byte
	Limits MediatorLimits
}

// MediatorSent is the result of [SendMediatorMessage].
type MediatorSent struct {
	Message   MediatorMessage
	Duplicate bool // nothing was stored
}

func (op SendMediatorMessage) size() int { return opOverhead + len(op.Blob) }

func (op SendMediatorMessage) apply(t *txn) (any, error) {
	if len(op.Blob) > MaxPayload {
		return nil, fmt.Errorf("message of %d bytes: %w", len(op.Blob), ErrInvalid)
	}
	author, ok, err := t.mediatorMember(op.Group, op.Author)
	switch {
	case err != nil:
		return nil, err
	case !ok || author.Banned:
		return nil, refusal(mediator.TextNotMemberOrBanned)
	case author.Permissions.HasAny(mediator.PermissionReadOnly):
		return nil, refusal(mediator.TextReadOnly)
	}
	m := MediatorMessage{GUID: op.GUID, Time: int64(t.now / 1000), Author: op.Author, Blob: op.Blob}
	if op.Time != nil {
		m.Time = *op.Time
	}
	taken, err := t.freeMediatorGUID(op.Group, &m)
	if err != nil {
		return nil, err
	}
	if taken != nil {
		return MediatorSent{Message: *taken, Duplicate: true}, nil
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return nil, err
	}
	written, err := t.mediatorWritten(op.Group, op.Author)
	if err != nil {
		return nil, err
	}
	if over(written, m.cost(), op.Limits.BytesPerMember) {
		return nil, refusal(mediator.TextMemberQuota)
	}
	if err := (mediatorSums{&usage, &totals, &owner}).fits(m.cost(), op.Limits); err != nil {
		return nil, err
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	if err := t.put(mediatorUserKey(tableMediatorWritten, op.Group, op.Author), written+m.cost()); err != nil {
		return nil, err
	}
	if err := t.insertMediatorMessage(op.Group, &m, usage, totals, owner); err != nil {
		return nil, err
	}
	return MediatorSent{Message: m}, nil
}

// freeMediatorGUID counts the guid of a message up to a free one. It returns the stored
// message instead when this is a retry of it.
func (t *txn) freeMediatorGUID(group mediator.ChatID, m *MediatorMessage) (*MediatorMessage, error) {
	for range mediatorGUIDs {
		stored, err := t.mediatorMessage(group, m.GUID)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, err
		case stored.Time == m.Time:
			return &stored, nil
		}
		if m.GUID == math.MaxInt64 {
			m.GUID = math.MinInt64
		} else {
			m.GUID++
		}
	}
	return nil, refusal(mediator.TextGUIDCollision)
}

// mediatorMessage reads the message that has a guid.
func (t *txn) mediatorMessage(group mediator.ChatID, guid int64) (m MediatorMessage, err error) {
	var id uint64
	if _, err := t.load(mediatorGUIDKey(group, guid), &id); err != nil {
		return m, err
	}
	m.ID = mediator.MessageID(id)
	_, err = t.load(mediatorMessageKey(group, m.ID), &m)
	return m, missingIsCorrupt(err)
}

// mediatorWritten is what the messages of a user in a group take.
func (t *txn) mediatorWritten(group mediator.ChatID, user identity.PublicKey) (bytes uint64, err error) {
	_, err = t.load(mediatorUserKey(tableMediatorWritten, group, user), &bytes)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return bytes, err
}

// insertMediatorMessage gives a message its id and writes it.
func (t *txn) insertMediatorMessage(group mediator.ChatID, m *MediatorMessage, usage MediatorUsage, totals MediatorTotals, owner MediatorOwner) error {
	usage.Last++
	usage.Messages++
	totals.Messages++
	mediatorSums{&usage, &totals, &owner}.add(m.cost())
	m.ID, m.Stored = usage.Last, t.now
	return errors.Join(
		t.put(mediatorMessageKey(group, m.ID), *m),
		t.put(mediatorGUIDKey(group, m.GUID), uint64(m.ID)),
		t.putMediatorSums(group, usage, totals, owner),
	)
}

// mediatorEvent puts an event into the history of a group. usage is what the operation has
// changed of it already, nil for nothing. Events may exceed the quotas by an eighth, so that
// somebody can be banned from a group that is full.
func (t *txn) mediatorEvent(c MediatorChange, s mediator.System, usage *MediatorUsage) (MediatorMessage, error) {
	if usage == nil {
		now, err := t.mediatorUsage(c.Group)
		if err != nil {
			return MediatorMessage{}, err
		}
		usage = &now
	}
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return MediatorMessage{}, err
	}
	m := MediatorMessage{Time: int64(t.now / 1000), Author: c.Mediator, Blob: s.AppendTo(nil)}
	if !c.byOperator() {
		if err := (mediatorSums{usage, &totals, &owner}).fits(m.cost(), c.Limits.forEvents()); err != nil {
			return m, err
		}
	}
	for m.GUID = int64(mediator.SystemGUID(m.Blob, m.Time)); ; m.GUID++ {
		taken, err := t.has(mediatorGUIDKey(c.Group, m.GUID))
		if err != nil {
			return m, err
		}
		if !taken {
			break
		}
	}
	return m, t.insertMediatorMessage(c.Group, &m, *usage, totals, owner)
}

// DeleteMediatorMessage deletes a message, for its author or who may moderate. The result
// is the [MediatorMessage] of the event.
type DeleteMediatorMessage struct {
	MediatorChange
	GUID int64
}

func (op DeleteMediatorMessage) size() int { return 2 * opOverhead }

func (op DeleteMediatorMessage) apply(t *txn) (any, error) {
	m, err := t.mediatorMessage(op.Group, op.GUID)
	if errors.Is(err, ErrNotFound) {
		return nil, refusal(mediator.TextMessageNotFound)
	}
	if err != nil {
		return nil, err
	}
	if m.Author != op.Actor && !op.byOperator() {
		actor, ok, err := t.mediatorMember(op.Group, op.Actor)
		if err != nil {
			return nil, err
		}
		if !ok || actor.Banned || !actor.Permissions.HasAny(mediatorModerators) {
			return nil, refusal(mediator.TextPermissions)
		}
	}
	if err := t.removeMediatorMessages(op.Group, []MediatorMessage{m}, op.Mediator); err != nil {
		return nil, err
	}
	return t.mediatorEvent(op.MediatorChange, mediator.System{Event: mediator.EventMessageDeleted, GUID: peer.GUID(op.GUID), Actor: op.Actor}, nil)
}

// ExpireMediatorMessages removes messages, without an event. The result is how many there
// were.
type ExpireMediatorMessages struct {
	Mediator identity.PublicKey
	Group    mediator.ChatID
	IDs      []mediator.MessageID
}

func (op ExpireMediatorMessages) size() int { return opOverhead * (1 + len(op.IDs)) }

func (op ExpireMediatorMessages) apply(t *txn) (any, error) {
	var found []MediatorMessage
	for _, id := range op.IDs {
		m := MediatorMessage{ID: id}
		_, err := t.load(mediatorMessageKey(op.Group, id), &m)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	if len(found) == 0 {
		return 0, nil
	}
	return len(found), t.removeMediatorMessages(op.Group, found, op.Mediator)
}

// removeMediatorMessages removes messages that were read, and what they count.
func (t *txn) removeMediatorMessages(group mediator.ChatID, messages []MediatorMessage, events identity.PublicKey) error {
	usage, err := t.mediatorUsage(group)
	if err != nil {
		return missingIsCorrupt(err)
	}
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return err
	}
	for _, m := range messages {
		t.delete(mediatorMessageKey(group, m.ID))
		t.delete(mediatorGUIDKey(group, m.GUID))
		usage.Messages, totals.Messages = less(usage.Messages, 1), less(totals.Messages, 1)
		mediatorSums{&usage, &totals, &owner}.remove(m.cost())
		if m.Author == events {
			continue
		}
		written, err := t.mediatorWritten(group, m.Author)
		if err != nil {
			return err
		}
		key := mediatorUserKey(tableMediatorWritten, group, m.Author)
		if written = less(written, m.cost()); written == 0 {
			t.delete(key)
		} else if err := t.put(key, written); err != nil {
			return err
		}
	}
	return t.putMediatorSums(group, usage, totals, owner)
}
