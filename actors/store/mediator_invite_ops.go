// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// mediatorInviteAgain is for how many seconds an invite is not replaced by another one.
const mediatorInviteAgain = 3600

// SendMediatorInvite stores an invite to a group. There is one for each recipient and
// group; one that is older than an hour is replaced and keeps its id. The result is the
// [MediatorInvite].
//
// Errors: a *mediator.ServerError, [ErrDiskFull], [ErrBusy], [ErrInvalid].
type SendMediatorInvite struct {
	Group  mediator.ChatID
	Actor  identity.PublicKey
	User   identity.PublicKey
	Data   []byte
	Limits MediatorLimits
}

func (op SendMediatorInvite) size() int { return opOverhead + len(op.Data) }

func (op SendMediatorInvite) apply(t *txn) (any, error) {
	if len(op.Data) > MaxText {
		return nil, fmt.Errorf("invite of %d bytes: %w", len(op.Data), ErrInvalid)
	}
	actor, ok, err := t.mediatorMember(op.Group, op.Actor)
	if err != nil {
		return nil, err
	}
	if !ok || actor.Banned || !actor.Permissions.HasAny(mediatorModerators) {
		return nil, refusal(mediator.TextNotMemberOrBanned)
	}
	target, ok, err := t.mediatorMember(op.Group, op.User)
	if err != nil {
		return nil, err
	}
	if ok && !target.Banned && target.Permissions.HasAny(mediatorModerators|mediator.PermissionUser|mediator.PermissionReadOnly) {
		return nil, refusal(mediator.TextUserInChat)
	}
	fresh := MediatorInvite{Group: op.Group, From: op.Actor, To: op.User, Time: int64(t.now / 1000), Data: op.Data}
	var id uint64
	switch _, err := t.load(mediatorInviteOfKey(op.User, op.Group), &id); {
	case err == nil:
		var before MediatorInvite
		fresh.ID = mediator.InviteID(id)
		raw, err := t.load(mediatorInviteKey(fresh.ID), &before)
		if err != nil {
			return nil, missingIsCorrupt(err)
		}
		if fresh.Time-before.Time < mediatorInviteAgain {
			return nil, refusal(mediator.TextInviteExists)
		}
		return fresh, t.update(mediatorInviteKey(fresh.ID), raw, fresh)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	if over(usage.Invites, 1, op.Limits.InvitesPerGroup) {
		return nil, refusal(mediator.TextTooManyInvites)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return nil, err
	}
	totals.LastInvite++
	totals.Invites++
	usage.Invites++
	fresh.ID = totals.LastInvite
	return fresh, errors.Join(
		t.put(mediatorInviteKey(fresh.ID), fresh),
		t.put(mediatorInviteOfKey(op.User, op.Group), uint64(fresh.ID)),
		t.putMediatorSums(op.Group, usage, totals, owner),
	)
}

// MarkMediatorInvite notes that an invite was pushed, unless it was replaced meanwhile.
// The result is whether anything changed.
type MarkMediatorInvite struct {
	ID   mediator.InviteID
	Time int64 // of the invite that was pushed
}

func (op MarkMediatorInvite) size() int { return opOverhead }

func (op MarkMediatorInvite) apply(t *txn) (any, error) {
	var invite MediatorInvite
	raw, err := t.load(mediatorInviteKey(op.ID), &invite)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || invite.Sent || invite.Time != op.Time {
		return false, err
	}
	invite.Sent = true
	return true, t.update(mediatorInviteKey(op.ID), raw, invite)
}

// AnswerMediatorInvite accepts or declines an invite, for its recipient, who becomes a
// member by accepting. The result is [MediatorAnswered].
type AnswerMediatorInvite struct {
	Mediator identity.PublicKey
	ID       mediator.InviteID
	User     identity.PublicKey
	Accept   bool
	Random   [32]byte
	Limits   MediatorLimits
}

// MediatorAnswered is the result of [AnswerMediatorInvite].
type MediatorAnswered struct {
	Group mediator.ChatID
	// Event is nil when the invite was declined.
	Event *MediatorMessage
}

func (op AnswerMediatorInvite) size() int { return 3 * opOverhead }

func (op AnswerMediatorInvite) apply(t *txn) (any, error) {
	var invite MediatorInvite
	switch _, err := t.load(mediatorInviteKey(op.ID), &invite); {
	case errors.Is(err, ErrNotFound):
		return nil, refusal(mediator.TextInviteNotFound)
	case err != nil:
		return nil, err
	case invite.To != op.User:
		return nil, refusal(mediator.TextNotRecipient)
	}
	answered := MediatorAnswered{Group: invite.Group}
	usage, err := t.mediatorUsage(invite.Group)
	switch {
	case errors.Is(err, ErrNotFound) && op.Accept:
		return nil, refusal(mediator.TextDatabaseError) // the group was deleted
	case errors.Is(err, ErrNotFound):
		return answered, t.withdrawMediatorInvite(op.User, invite.Group, nil)
	case err != nil:
		return nil, err
	}
	if err := t.withdrawMediatorInvite(op.User, invite.Group, &usage); err != nil {
		return nil, err
	}
	if !op.Accept {
		return answered, t.put(mediatorPrefix(tableMediatorUsage, invite.Group), usage)
	}
	if err := t.joinMediatorGroup(invite.Group, op.User, &usage, 0, op.Limits); err != nil {
		return nil, err
	}
	event, err := t.mediatorEvent(MediatorChange{Mediator: op.Mediator, Group: invite.Group, Limits: op.Limits}, mediator.System{
		Event: mediator.EventUserAdded, User: op.User, Actor: invite.From, Random: op.Random,
	}, &usage)
	answered.Event = &event
	return answered, err
}

// ExpireMediatorInvites removes invites that are older than a time. The result is how many
// there were.
type ExpireMediatorInvites struct {
	Before int64 // Unix seconds
	IDs    []mediator.InviteID
}

func (op ExpireMediatorInvites) size() int { return opOverhead * (1 + len(op.IDs)) }

func (op ExpireMediatorInvites) apply(t *txn) (any, error) {
	removed := 0
	for _, id := range op.IDs {
		var invite MediatorInvite
		_, err := t.load(mediatorInviteKey(id), &invite)
		if errors.Is(err, ErrNotFound) || err == nil && invite.Time >= op.Before {
			continue
		}
		if err != nil {
			return nil, err
		}
		usage, err := t.mediatorUsage(invite.Group)
		if errors.Is(err, ErrNotFound) {
			err = t.withdrawMediatorInvite(invite.To, invite.Group, nil)
		} else if err == nil {
			if err = t.withdrawMediatorInvite(invite.To, invite.Group, &usage); err == nil {
				err = t.put(mediatorPrefix(tableMediatorUsage, invite.Group), usage)
			}
		}
		if err != nil {
			return nil, err
		}
		removed++
	}
	return removed, nil
}

// withdrawMediatorInvite removes the invite of a user to a group, if there is one. usage
// is that of the group, which the caller writes; nil for a group that is gone.
func (t *txn) withdrawMediatorInvite(user identity.PublicKey, group mediator.ChatID, usage *MediatorUsage) error {
	var id uint64
	_, err := t.load(mediatorInviteOfKey(user, group), &id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t.delete(mediatorInviteOfKey(user, group))
	t.delete(mediatorInviteKey(mediator.InviteID(id)))
	if usage != nil {
		usage.Invites = less(usage.Invites, 1)
	}
	var totals MediatorTotals
	if _, err := t.load(mediatorTotalsKey(), &totals); err != nil {
		return missingIsCorrupt(err)
	}
	totals.Invites = less(totals.Invites, 1)
	return t.put(mediatorTotalsKey(), totals)
}
