// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// The operations of the mediator role on groups and members. The rules of the protocol are
// checked here, where an operation sees the state that it changes. A request that they
// forbid fails with a *[mediator.ServerError], whose text the client gets.

// MediatorChange says who changes what. It is a part of the operations that put an event
// into the history of a group.
type MediatorChange struct {
	// Mediator is the key of the role, the author of events.
	Mediator identity.PublicKey
	Group    mediator.ChatID
	// Actor is who asked for it; the mediator's key for its operator, who may do
	// everything.
	Actor identity.PublicKey
	// Random makes the guid of the event unique.
	Random [32]byte
	Limits MediatorLimits
}

// byOperator reports whether the operator of the mediator is the actor.
func (c MediatorChange) byOperator() bool { return c.Actor == c.Mediator }

func refusal(text string) error { return &mediator.ServerError{Text: text} }

const (
	mediatorManagers   = mediator.PermissionOwner | mediator.PermissionAdmin
	mediatorModerators = mediatorManagers | mediator.PermissionModerator
)

// CreateMediatorGroup adds a group, whose owner becomes its first member. The result is
// false when the id is in use.
type CreateMediatorGroup struct {
	Group  MediatorGroup
	Limits MediatorLimits
}

func (op CreateMediatorGroup) size() int {
	return 2*opOverhead + len(op.Group.Name) + len(op.Group.Description) + len(op.Group.Avatar)
}

func (op CreateMediatorGroup) apply(t *txn) (any, error) {
	g := op.Group
	if g.ID <= 0 || g.Owner.IsZero() || len(g.Avatar) > MaxAvatar || len(g.Name)+len(g.Description) > MaxText {
		return nil, fmt.Errorf("group %d: %w", g.ID, ErrInvalid)
	}
	for _, key := range [][]byte{mediatorPrefix(tableMediatorUsage, g.ID), mediatorPrefix(tableMediatorDeleted, g.ID)} {
		if used, err := t.has(key); used || err != nil {
			return false, err
		}
	}
	totals, owner, err := t.readMediatorSums(g.Owner)
	if err != nil {
		return nil, err
	}
	if over(totals.Groups, 1, op.Limits.Groups) || over(owner.Groups, 1, op.Limits.GroupsPerOwner) {
		return nil, refusal(mediator.TextTooManyGroups)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	g.Created, g.HasAvatar = t.now, g.Avatar != nil
	if err := t.put(mediatorPrefix(tableMediatorGroup, g.ID), g); err != nil {
		return nil, err
	}
	usage := MediatorUsage{Owner: g.Owner}
	sums := mediatorSums{&usage, &totals, &owner}
	if err := sums.fits(uint64(len(g.Avatar)), op.Limits); err != nil {
		return nil, err
	}
	sums.add(uint64(len(g.Avatar)))
	founder := MediatorMember{Group: g.ID, User: g.Owner, Permissions: mediator.PermissionOwner | mediator.PermissionUser, Added: t.now}
	if err := t.insertMediatorMember(founder, &usage); err != nil {
		return nil, err
	}
	totals.Groups++
	owner.Groups++
	return true, t.putMediatorSums(g.ID, usage, totals, owner)
}

// over reports whether adding something to what there is exceeds a limit; zero is none.
func over(have, more, limit uint64) bool { return limit > 0 && have+more > limit }

// DeleteMediatorGroup removes a group with everything but its members, which
// [SweepMediatorGroup] removes, and its invites, which expire. The result is true.
type DeleteMediatorGroup struct {
	Group mediator.ChatID
	Actor identity.PublicKey
	// Operator permits it to anybody.
	Operator bool
}

func (op DeleteMediatorGroup) size() int { return opOverhead }

func (op DeleteMediatorGroup) apply(t *txn) (any, error) {
	usage, err := t.mediatorUsage(op.Group)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refusal(mediator.TextNoSuchChat)
	case err != nil:
		return nil, err
	case !op.Operator && usage.Owner != op.Actor:
		return nil, refusal(mediator.TextNotOwner)
	}
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return nil, err
	}
	totals.Groups, owner.Groups = less(totals.Groups, 1), less(owner.Groups, 1)
	totals.Messages = less(totals.Messages, usage.Messages)
	totals.Bytes, owner.Bytes = less(totals.Bytes, usage.Bytes), less(owner.Bytes, usage.Bytes)
	for _, table := range []byte{tableMediatorProfile, tableMediatorWritten, tableMediatorMessage, tableMediatorGUID} {
		t.clear(mediatorPrefix(table, op.Group))
	}
	t.delete(mediatorPrefix(tableMediatorGroup, op.Group))
	t.delete(mediatorPrefix(tableMediatorUsage, op.Group))
	t.putRaw(mediatorPrefix(tableMediatorDeleted, op.Group), nil)
	if err := t.put(mediatorTotalsKey(), totals); err != nil {
		return nil, err
	}
	return true, t.putMediatorOwner(usage.Owner, owner)
}

// less subtracts, not below zero.
func less(have, n uint64) uint64 { return have - min(have, n) }

// SweepMediatorGroup removes members of a deleted group, those given, which the caller has
// read. Without any it forgets the group. The result is true.
type SweepMediatorGroup struct {
	Group mediator.ChatID
	Users []identity.PublicKey
}

func (op SweepMediatorGroup) size() int { return opOverhead * (1 + len(op.Users)) }

func (op SweepMediatorGroup) apply(t *txn) (any, error) {
	if exists, err := t.has(mediatorPrefix(tableMediatorUsage, op.Group)); exists || err != nil {
		return nil, errors.Join(err, fmt.Errorf("group %d is not deleted: %w", op.Group, ErrInvalid))
	}
	for _, user := range op.Users {
		t.delete(mediatorUserKey(tableMediatorMember, op.Group, user))
		t.delete(mediatorUserGroupKey(user, op.Group))
	}
	if len(op.Users) == 0 {
		t.delete(mediatorPrefix(tableMediatorDeleted, op.Group))
	}
	return true, nil
}

// UpdateMediatorGroup changes what is not nil of a group's name, description and picture.
// The result is the [MediatorMessage] of the event.
type UpdateMediatorGroup struct {
	MediatorChange
	Name, Description *string
	Avatar            []byte
}

func (op UpdateMediatorGroup) size() int { return 2*opOverhead + 2*len(op.Avatar) }

func (op UpdateMediatorGroup) apply(t *txn) (any, error) {
	member, ok, err := t.mediatorMember(op.Group, op.Actor)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, refusal(mediator.TextNotMember)
	case member.Banned:
		return nil, refusal(mediator.TextBanned)
	case !member.Permissions.HasAny(mediatorManagers):
		return nil, refusal(mediator.TextPermissions)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	var g MediatorGroup
	raw, err := t.load(mediatorPrefix(tableMediatorGroup, op.Group), &g)
	if err != nil {
		return nil, missingIsCorrupt(err)
	}
	if op.Name != nil {
		g.Name = *op.Name
	}
	if op.Description != nil {
		g.Description = *op.Description
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	if op.Avatar != nil {
		// The event has the picture too.
		if err := t.chargeMediator(op.Group, &usage, uint64(len(g.Avatar)), uint64(len(op.Avatar)), uint64(len(op.Avatar)), op.Limits); err != nil {
			return nil, err
		}
		g.Avatar, g.HasAvatar = op.Avatar, true
	}
	if len(g.Avatar) > MaxAvatar || len(g.Name)+len(g.Description) > MaxText {
		return nil, fmt.Errorf("group %d: %w", op.Group, ErrInvalid)
	}
	if err := t.update(mediatorPrefix(tableMediatorGroup, op.Group), raw, g); err != nil {
		return nil, err
	}
	return t.mediatorEvent(op.MediatorChange, mediator.System{
		Event: mediator.EventInfoChanged, Actor: op.Actor, Name: op.Name, Description: op.Description, Avatar: op.Avatar,
	}, &usage)
}

// SetMediatorQuota bounds what the messages of a group may take; 0 is the mediator's
// default. The result is true.
//
// Errors: [ErrNotFound].
type SetMediatorQuota struct {
	Group mediator.ChatID
	Quota uint64
}

func (op SetMediatorQuota) size() int { return opOverhead }

func (op SetMediatorQuota) apply(t *txn) (any, error) {
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	usage.Quota = op.Quota
	return true, t.put(mediatorPrefix(tableMediatorUsage, op.Group), usage)
}

// SkipMediatorIDs leaves out ids of messages in groups, after an older state of the store
// came back: clients have seen messages with ids that are not there any more, and would
// take a new message with such an id for one that they have. The result is true.
type SkipMediatorIDs struct {
	Groups []mediator.ChatID
	By     mediator.MessageID
}

func (op SkipMediatorIDs) size() int { return opOverhead * (1 + len(op.Groups)) }

func (op SkipMediatorIDs) apply(t *txn) (any, error) {
	for _, group := range op.Groups {
		usage, err := t.mediatorUsage(group)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		usage.Last += op.By
		if err := t.put(mediatorPrefix(tableMediatorUsage, group), usage); err != nil {
			return nil, err
		}
	}
	return true, nil
}

// RefuseMediatorIdentity says whether an identity may not log in. The result is whether
// that changed.
type RefuseMediatorIdentity struct {
	User    identity.PublicKey
	Refused bool
}

func (op RefuseMediatorIdentity) size() int { return opOverhead }

func (op RefuseMediatorIdentity) apply(t *txn) (any, error) {
	key := mediatorBanKey(op.User)
	refused, err := t.has(key)
	if err != nil || refused == op.Refused {
		return false, err
	}
	if !op.Refused {
		t.delete(key)
		return true, nil
	}
	return true, t.put(key, MediatorBan{Since: t.now})
}

// AddMediatorMember makes somebody a member, with the role of a user, also one who is
// banned or has another role. The result is the [MediatorMessage] of the event.
type AddMediatorMember struct {
	MediatorChange
	User identity.PublicKey
}

func (op AddMediatorMember) size() int { return 3 * opOverhead }

func (op AddMediatorMember) apply(t *txn) (any, error) {
	if err := t.mayModerate(op.MediatorChange, op.User); err != nil {
		return nil, err
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	// A new member has a profile that is newer than the moment, an old one keeps it.
	if err := t.joinMediatorGroup(op.Group, op.User, &usage, int64(t.now/1000), op.Limits); err != nil {
		return nil, err
	}
	return t.mediatorEvent(op.MediatorChange, mediator.System{Event: mediator.EventUserAdded, User: op.User, Actor: op.Actor, Random: op.Random}, &usage)
}

// BanMediatorMember bans a member, and withdraws an invite. Of somebody who is not a
// member only the event remains. The result is the [MediatorMessage] of the event.
type BanMediatorMember struct {
	MediatorChange
	User identity.PublicKey
}

func (op BanMediatorMember) size() int { return 3 * opOverhead }

func (op BanMediatorMember) apply(t *txn) (any, error) {
	if err := t.mayModerate(op.MediatorChange, op.User); err != nil {
		return nil, err
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	var member MediatorMember
	key := mediatorUserKey(tableMediatorMember, op.Group, op.User)
	raw, err := t.load(key, &member)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if !member.Banned {
			usage.Members = less(usage.Members, 1)
		}
		member.Banned, member.Changed = true, int64(t.now/1000)
		member.Permissions |= mediator.PermissionBanned
		if err := t.update(key, raw, member); err != nil {
			return nil, err
		}
	}
	if err := t.withdrawMediatorInvite(op.User, op.Group, &usage); err != nil {
		return nil, err
	}
	return t.mediatorEvent(op.MediatorChange, mediator.System{Event: mediator.EventUserBanned, User: op.User, Actor: op.Actor, Random: op.Random}, &usage)
}

// mayModerate checks that the actor may add and ban. An owner is for other owners alone: one
// who bans or adds themselves would leave the group without an owner, for ever.
func (t *txn) mayModerate(c MediatorChange, user identity.PublicKey) error {
	if c.byOperator() {
		if exists, err := t.has(mediatorPrefix(tableMediatorUsage, c.Group)); !exists || err != nil {
			return errors.Join(err, refusal(mediator.TextNoSuchChat))
		}
		return nil
	}
	actor, ok, err := t.mediatorMember(c.Group, c.Actor)
	if err != nil {
		return err
	}
	if !ok || actor.Banned || !actor.Permissions.HasAny(mediatorModerators) {
		return refusal(mediator.TextNotMemberOrBanned)
	}
	if user == c.Actor && actor.Permissions.HasAny(mediator.PermissionOwner) {
		return refusal(mediator.TextOwnPermissions)
	}
	target, ok, err := t.mediatorMember(c.Group, user)
	if err != nil {
		return err
	}
	if ok && target.Permissions.HasAny(mediator.PermissionOwner) && !actor.Permissions.HasAny(mediator.PermissionOwner) {
		return refusal(mediator.TextOwnerPermissions)
	}
	return nil
}

// LeaveMediatorGroup ends a membership. The result is the [MediatorMessage] of the event.
type LeaveMediatorGroup struct{ MediatorChange }

func (op LeaveMediatorGroup) size() int { return 2 * opOverhead }

func (op LeaveMediatorGroup) apply(t *txn) (any, error) {
	member, ok, err := t.mediatorMember(op.Group, op.Actor)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, refusal(mediator.TextNotMember)
	case member.Permissions.HasAny(mediator.PermissionOwner):
		return nil, refusal(mediator.TextOwnerCannotLeave)
	case member.Banned:
		return nil, refusal(mediator.TextBannedUser)
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	usage.Members = less(usage.Members, 1)
	if err := t.chargeMediator(op.Group, &usage, member.Profile, 0, 0, MediatorLimits{}); err != nil {
		return nil, err
	}
	t.delete(mediatorUserKey(tableMediatorMember, op.Group, op.Actor))
	t.delete(mediatorUserKey(tableMediatorProfile, op.Group, op.Actor))
	t.delete(mediatorUserGroupKey(op.Actor, op.Group))
	return t.mediatorEvent(op.MediatorChange, mediator.System{Event: mediator.EventUserLeft, User: op.Actor, Random: op.Random}, &usage)
}

// ChangeMediatorRole sets the role of another member. The result is the [MediatorMessage]
// of the event.
type ChangeMediatorRole struct {
	MediatorChange
	User        identity.PublicKey
	Permissions mediator.Permissions
	// Unban gives a banned member the role from before the ban, or Permissions when that is
	// not known. It fails with [ErrNotBanned] for who is not banned.
	Unban bool
}

func (op ChangeMediatorRole) size() int { return 2 * opOverhead }

func (op ChangeMediatorRole) apply(t *txn) (any, error) {
	actor, ok, err := t.mediatorMember(op.Group, op.Actor)
	switch {
	case err != nil:
		return nil, err
	case op.byOperator():
		actor.Permissions = mediator.PermissionOwner
	case !ok || actor.Banned:
		return nil, refusal(mediator.TextNotMemberOrBanned)
	case op.Actor == op.User:
		return nil, refusal(mediator.TextOwnPermissions)
	}
	var member MediatorMember
	key := mediatorUserKey(tableMediatorMember, op.Group, op.User)
	raw, err := t.load(key, &member)
	owner := actor.Permissions.HasAny(mediator.PermissionOwner)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refusal(mediator.TextTargetNotMember)
	case err != nil:
		return nil, err
	case !owner && !actor.Permissions.HasAny(mediator.PermissionAdmin):
		return nil, refusal(mediator.TextPermissions)
	case !owner && member.Permissions.HasAny(mediator.PermissionOwner):
		return nil, refusal(mediator.TextOwnerPermissions)
	case !op.Permissions.Valid():
		return nil, refusal(mediator.TextPermissionFlags)
	}
	if op.Unban {
		if !member.Banned {
			return nil, fmt.Errorf("identity %s: %w", op.User.Short(), ErrNotBanned)
		}
		if before := member.Permissions &^ mediator.PermissionBanned; before.Valid() {
			op.Permissions = before
		}
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	banned := op.Permissions.HasAny(mediator.PermissionBanned)
	switch {
	case banned && !member.Banned:
		usage.Members = less(usage.Members, 1)
	case !banned && member.Banned:
		usage.Members++
	}
	member.Permissions, member.Banned, member.Changed = op.Permissions, banned, int64(t.now/1000)
	if err := t.update(key, raw, member); err != nil {
		return nil, err
	}
	return t.mediatorEvent(op.MediatorChange, mediator.System{
		Event: mediator.EventPermissions, User: op.User, Permissions: op.Permissions, Actor: op.Actor, Random: op.Random,
	}, &usage)
}

// UpdateMediatorProfile replaces the profile of a member. The result is true.
type UpdateMediatorProfile struct {
	Group   mediator.ChatID
	User    identity.PublicKey
	Profile []byte // empty for none
	Time    int64  // the member's claim, Unix seconds
	Limits  MediatorLimits
}

func (op UpdateMediatorProfile) size() int { return opOverhead + len(op.Profile) }

func (op UpdateMediatorProfile) apply(t *txn) (any, error) {
	key := mediatorUserKey(tableMediatorMember, op.Group, op.User)
	member, ok, err := t.mediatorMember(op.Group, op.User)
	if err != nil {
		return nil, err
	}
	if !ok || member.Banned {
		return nil, refusal(mediator.TextNotMemberOrBanned)
	}
	if len(op.Profile) > MaxPayload {
		return nil, fmt.Errorf("profile of %d bytes: %w", len(op.Profile), ErrInvalid)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	raw, err := t.get(key)
	if err != nil {
		return nil, err
	}
	usage, err := t.mediatorUsage(op.Group)
	if err != nil {
		return nil, err
	}
	if err := t.chargeMediator(op.Group, &usage, member.Profile, uint64(len(op.Profile)), 0, op.Limits); err != nil {
		return nil, err
	}
	member.Changed, member.Profile = op.Time, uint64(len(op.Profile))
	if len(op.Profile) > 0 {
		err = t.put(mediatorUserKey(tableMediatorProfile, op.Group, op.User), op.Profile)
	} else {
		t.delete(mediatorUserKey(tableMediatorProfile, op.Group, op.User))
	}
	return true, errors.Join(err, t.update(key, raw, member))
}

// MediatorSeen is when somebody was connected last, in Unix seconds.
type MediatorSeen struct {
	Group mediator.ChatID
	User  identity.PublicKey
	Time  int64
}

// NoteMediatorSeen notes when members were connected last. It may be lost in a crash. The
// result is true.
type NoteMediatorSeen struct{ Seen []MediatorSeen }

func (op NoteMediatorSeen) size() int { return opOverhead * len(op.Seen) }

func (op NoteMediatorSeen) apply(t *txn) (any, error) {
	for _, seen := range op.Seen {
		var member MediatorMember
		key := mediatorUserKey(tableMediatorMember, seen.Group, seen.User)
		raw, err := t.load(key, &member)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		member.LastSeen = max(member.LastSeen, seen.Time)
		if err := t.update(key, raw, member); err != nil {
			return nil, err
		}
	}
	t.unsynced = true
	return true, nil
}

// mediatorUsage reads the row that says that a group exists.
func (t *txn) mediatorUsage(group mediator.ChatID) (usage MediatorUsage, err error) {
	_, err = t.load(mediatorPrefix(tableMediatorUsage, group), &usage)
	return usage, err
}

// readMediatorSums reads what all groups, and those of an owner, take.
func (t *txn) readMediatorSums(user identity.PublicKey) (totals MediatorTotals, owner MediatorOwner, err error) {
	if _, err = t.load(mediatorTotalsKey(), &totals); err != nil && !errors.Is(err, ErrNotFound) {
		return totals, owner, err
	}
	if _, err = t.load(mediatorOwnerKey(user), &owner); err != nil && !errors.Is(err, ErrNotFound) {
		return totals, owner, err
	}
	return totals, owner, nil
}

func (t *txn) putMediatorSums(group mediator.ChatID, usage MediatorUsage, totals MediatorTotals, owner MediatorOwner) error {
	return errors.Join(t.put(mediatorPrefix(tableMediatorUsage, group), usage), t.put(mediatorTotalsKey(), totals), t.putMediatorOwner(usage.Owner, owner))
}

func (t *txn) putMediatorOwner(user identity.PublicKey, owner MediatorOwner) error {
	if owner == (MediatorOwner{}) {
		t.delete(mediatorOwnerKey(user))
		return nil
	}
	return t.put(mediatorOwnerKey(user), owner)
}

// mediatorSums is everything that counts the bytes of a group.
type mediatorSums struct {
	group  *MediatorUsage
	totals *MediatorTotals
	owner  *MediatorOwner
}

// fits refuses further bytes that exceed a limit.
func (s mediatorSums) fits(more uint64, limits MediatorLimits) error {
	switch {
	case over(s.group.Bytes, more, limits.ofGroup(s.group)):
		return refusal(mediator.TextGroupQuota)
	case over(s.owner.Bytes, more, limits.BytesPerOwner):
		return refusal(mediator.TextOwnerQuota)
	case over(s.totals.Bytes, more, limits.Bytes):
		return refusal(mediator.TextMediatorQuota)
	}
	return nil
}

func (s mediatorSums) add(n uint64) {
	s.group.Bytes += n
	s.totals.Bytes += n
	s.owner.Bytes += n
}

func (s mediatorSums) remove(n uint64) {
	s.group.Bytes, s.totals.Bytes, s.owner.Bytes = less(s.group.Bytes, n), less(s.totals.Bytes, n), less(s.owner.Bytes, n)
}

// chargeMediator counts bytes of a group that replace others. extra is what else the
// operation is about to add. Less than there was is never refused. The caller writes usage.
func (t *txn) chargeMediator(group mediator.ChatID, usage *MediatorUsage, before, after, extra uint64, limits MediatorLimits) error {
	totals, owner, err := t.readMediatorSums(usage.Owner)
	if err != nil {
		return err
	}
	sums := mediatorSums{usage, &totals, &owner}
	sums.remove(before)
	if after+extra > before {
		if err := sums.fits(after+extra, limits); err != nil {
			return err
		}
	}
	sums.add(after)
	return t.putMediatorSums(group, *usage, totals, owner)
}

// mediatorMember reads a member of a group; false when there is no such member or group.
func (t *txn) mediatorMember(group mediator.ChatID, user identity.PublicKey) (MediatorMember, bool, error) {
	member := MediatorMember{Group: group, User: user}
	exists, err := t.has(mediatorPrefix(tableMediatorUsage, group))
	if err != nil || !exists {
		return member, false, err
	}
	_, err = t.load(mediatorUserKey(tableMediatorMember, group, user), &member)
	if errors.Is(err, ErrNotFound) {
		return member, false, nil
	}
	return member, err == nil, err
}

// joinMediatorGroup makes somebody a user of a group. changed is for a new member.
func (t *txn) joinMediatorGroup(group mediator.ChatID, user identity.PublicKey, usage *MediatorUsage, changed int64, limits MediatorLimits) error {
	var member MediatorMember
	key := mediatorUserKey(tableMediatorMember, group, user)
	raw, err := t.load(key, &member)
	isNew := errors.Is(err, ErrNotFound)
	if err != nil && !isNew {
		return err
	}
	if (isNew || member.Banned) && over(usage.Members, 1, limits.MembersPerGroup) {
		return refusal(mediator.TextTooManyMembers)
	}
	if isNew {
		if err := t.needSpace(); err != nil {
			return err
		}
		return t.insertMediatorMember(MediatorMember{Group: group, User: user, Permissions: mediator.PermissionUser, Added: t.now, Changed: changed}, usage)
	}
	if member.Banned {
		usage.Members++
	}
	member.Permissions, member.Banned = mediator.PermissionUser, false
	return t.update(key, raw, member)
}

func (t *txn) insertMediatorMember(m MediatorMember, usage *MediatorUsage) error {
	usage.Members++
	t.putRaw(mediatorUserGroupKey(m.User, m.Group), nil)
	return t.put(mediatorUserKey(tableMediatorMember, m.Group, m.User), m)
}
