// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// creationDomain is as groupDomain, for groups that have no chat id yet.
const creationDomain = "mimird group creation\x00"

// CreationConversation names a group that an account creates, until the mediator has
// given it a chat id. The same source gives the same name.
func CreationConversation(account identity.PublicKey, source string) ConversationID {
	h := sha256.New()
	h.Write([]byte(creationDomain))
	h.Write(account[:])
	h.Write([]byte(source))
	return newConversationID(KindGroup, [conversationSize]byte(h.Sum(nil)))
}

// AddGroup makes the account a member of a group that exists, such as one that another
// device of the account is in. When the group is known already, a missing key is added and
// nothing else is changed. The result is whether the group was added.
//
// Errors: [ErrNotFound] when the account is unknown, [ErrDiskFull], [ErrInvalid].
type AddGroup struct {
	Account     identity.PublicKey
	Mediator    identity.NodeKey
	Chat        uint64
	Key         GroupKey
	Name        string
	Description string
	Avatar      []byte
}

// ReceiveInvite stores an invite: the group of it becomes GroupInvited unless the account
// takes part in it already. Of Group the fields Account, Mediator, Chat, Name, Description,
// Avatar, Key, Inviter, Invite count. The result is [InviteStored].
//
// Errors: those of [AddGroup], and [ErrRequestsFull] when [MaxInvites] wait already.
type ReceiveInvite struct{ Group Group }

// InviteStored is the result of [ReceiveInvite]: false when the account takes part in
// the group already, or our user has accepted an invite to it.
type InviteStored bool

// DecideInvite is our user's answer to an invite. The group becomes GroupJoining, or
// GroupDeclined. The result is whether that changed anything.
//
// Errors: [ErrNotFound] when there is no such group, and [ErrInvalid] when it is in a
// state without an invite, or when its key is missing and the answer is yes.
type DecideInvite struct {
	Account identity.PublicKey
	Group   ConversationID
	Accept  bool
}

// SettleInvite notes that the mediator has been told that an invite was declined. The
// result is whether it had not been before.
type SettleInvite struct {
	Account identity.PublicKey
	Group   ConversationID
}

// CreateGroup notes that a group is to be created, once for each source. The result is the
// group as it is stored: when it exists already it is in the state that it has reached.
//
// Errors: those of [AddGroup].
type CreateGroup struct {
	Account     identity.PublicKey
	Source      string
	Mediator    identity.NodeKey
	Name        string
	Description string
	Avatar      []byte
	Key         GroupKey
}

// NoteCreation notes that the mediator is about to be told to create a group, and which
// chats the account is in before that. The result is whether the group is being created.
type NoteCreation struct {
	Account identity.PublicKey
	Group   ConversationID
	Known   []int64
}

// FinishCreation notes that the mediator has created a group. The account is an owner of
// it under its own id, and the row of the creation becomes GroupCreated. The result is
// [GroupCreation]; repeating it changes nothing.
type FinishCreation struct {
	Account     identity.PublicKey
	Group       ConversationID // of the creation
	Chat        uint64
	Permissions Permissions // of the creator
}

// GroupCreation is the result of [FinishCreation].
type GroupCreation struct{ Group ConversationID }

// SetGroupState changes the state of a group, and what goes with it. The result is
// whether anything changed.
type SetGroupState struct {
	Account     identity.PublicKey
	Group       ConversationID
	State       GroupState
	Permissions Permissions
	Reason      string
}

// GroupFields selects what [UpdateGroup] changes.
type GroupFields uint8

// The fields that UpdateGroup can change.
const (
	GroupFieldName GroupFields = 1 << iota
	GroupFieldDescription
	GroupFieldAvatar
	GroupFieldMuted
	GroupFieldAutoDownload
	GroupFieldProfileSent
)

// UpdateGroup changes the selected fields of a group. The result is whether anything
// changed. A change of ProfileSent alone makes no event.
type UpdateGroup struct {
	Account      identity.PublicKey
	Group        ConversationID
	Fields       GroupFields
	Name         string
	Description  string
	Avatar       []byte
	Muted        bool
	AutoDownload int64
	ProfileSent  Millis
}

// NoteMediatorReached notes when the mediator of a group was reached. It may be lost in
// a crash. The result is true.
type NoteMediatorReached struct {
	Account identity.PublicKey
	Group   ConversationID
	Time    Millis
}

// RemoveGroup removes a group with all messages, members and tasks. Events stay. The
// result is whether it existed. It does not leave the group: see [TaskLeave].
type RemoveGroup struct {
	Account identity.PublicKey
	Group   ConversationID
}

func (op AddGroup) size() int {
	return opOverhead + len(op.Name) + len(op.Description) + len(op.Avatar)
}

func (op AddGroup) apply(t *txn) (any, error) {
	g := Group{
		Account: op.Account, Mediator: op.Mediator, Chat: op.Chat, Key: op.Key, Name: op.Name, Description: op.Description, Avatar: op.Avatar,
	}
	if err := t.checkGroup(g); err != nil {
		return nil, err
	}
	g.ID = GroupConversation(op.Mediator, op.Chat)
	known, old, err := t.group(op.Account, g.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return true, t.insertGroup(g)
	case err != nil:
		return nil, err
	case !known.Key.IsZero() || op.Key.IsZero():
		return false, nil
	}
	known.Key = op.Key
	return false, t.updateGroup(known, old)
}

// checkGroup fails when a group that comes from outside is not valid.
func (t *txn) checkGroup(g Group) error {
	if g.Mediator.IsZero() {
		return fmt.Errorf("group without mediator: %w", ErrInvalid)
	}
	if err := checkProfile(g.Avatar, g.Name, g.Description); err != nil {
		return err
	}
	return t.needAccount(g.Account)
}

// insertGroup writes a group that does not exist.
func (t *txn) insertGroup(g Group) error {
	if err := t.needSpace(); err != nil {
		return err
	}
	conversation, err := t.w.conversation(t, g.Account, g.ID)
	if err != nil {
		return err
	}
	if err := t.countInvite(g.Account, GroupMember, g.State); err != nil {
		return err
	}
	g.Added = orNow(g.Added, t.now)
	g.StateTime = g.Added
	t.setExists(conversation, true)
	if err := t.put(ownerKey(g.Account, g.ID), g); err != nil {
		return err
	}
	return t.groupEvent(g, GroupAdded)
}

// moveGroup changes the state of a group that exists.
func (t *txn) moveGroup(g *Group, to GroupState, reason string) error {
	if err := t.countInvite(g.Account, g.State, to); err != nil {
		return err
	}
	if g.State != to {
		g.StateTime = t.now
	}
	g.State, g.Reason = to, reason
	return nil
}

// updateGroup writes a group that exists, with an event.
func (t *txn) updateGroup(g Group, old []byte) error {
	if err := t.update(ownerKey(g.Account, g.ID), old, g); err != nil {
		return err
	}
	return t.groupEvent(g, GroupChanged)
}

func (t *txn) groupEvent(g Group, kind EventKind) error {
	return t.event(Event{Account: g.Account, Conversation: g.ID, Kind: kind})
}

// group reads the row of a group and its bytes.
func (t *txn) group(account identity.PublicKey, id ConversationID) (Group, []byte, error) {
	g := Group{Account: account, ID: id}
	if id.Kind() != KindGroup {
		return Group{}, nil, fmt.Errorf("conversation %s is not a group: %w", id.Short(), ErrInvalid)
	}
	raw, err := t.load(ownerKey(account, id), &g)
	if err != nil {
		return Group{}, nil, fmt.Errorf("group %s of account %s: %w", id.Short(), account.Short(), err)
	}
	return g, raw, nil
}

func (op ReceiveInvite) size() int {
	return opOverhead + len(op.Group.Name) + len(op.Group.Description) + len(op.Group.Avatar)
}

func (op ReceiveInvite) apply(t *txn) (any, error) {
	g := op.Group
	if err := t.checkGroup(g); err != nil {
		return nil, err
	}
	g.ID, g.State, g.Invited = GroupConversation(g.Mediator, g.Chat), GroupInvited, t.now
	known, old, err := t.group(g.Account, g.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	exists := err == nil
	if exists && (known.State.IsActive() || known.State == GroupJoining) {
		return InviteStored(false), nil
	}
	if !exists || known.State != GroupInvited {
		if err := t.needInvite(g.Account); err != nil {
			return nil, err
		}
	}
	if !exists {
		if err := t.insertGroup(g); err != nil {
			return nil, err
		}
		return InviteStored(true), t.groupEvent(g, InviteReceived)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	if err := t.moveGroup(&known, GroupInvited, ""); err != nil {
		return nil, err
	}
	known.Name, known.Description, known.Avatar = g.Name, g.Description, g.Avatar
	known.Inviter, known.Invite, known.Invited = g.Inviter, g.Invite, g.Invited
	if !g.Key.IsZero() {
		known.Key = g.Key
	}
	if err := t.updateGroup(known, old); err != nil {
		return nil, err
	}
	return InviteStored(true), t.groupEvent(known, InviteReceived)
}

// needInvite fails when the account has as many invites as it may have.
func (t *txn) needInvite(account identity.PublicKey) error {
	n, err := t.invites(account)
	if err == nil && *n >= MaxInvites {
		err = fmt.Errorf("account %s has %d invites: %w", account.Short(), *n, ErrRequestsFull)
	}
	return err
}

// invites returns the number of groups in the state GroupInvited. It has to be called
// before the operation changes anything.
func (t *txn) invites(account identity.PublicKey) (*uint64, error) {
	a, err := t.w.account(t, account)
	if err != nil || a.invites != nil {
		return a.invites, err
	}
	n := new(uint64)
	err = t.scan(tablePrefix(account, tableFor(tableContact, KindGroup)), func(_, value []byte) error {
		var g Group
		if err := decode(value, &g); err != nil {
			return err
		}
		if g.State == GroupInvited {
			*n++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.invites = n
	return n, nil
}

// countInvite keeps the number of invites when a group changes its state.
func (t *txn) countInvite(account identity.PublicKey, from, to GroupState) error {
	if (from == GroupInvited) == (to == GroupInvited) {
		return nil
	}
	n, err := t.invites(account)
	if err != nil {
		return err
	}
	if to == GroupInvited {
		t.count(n, *n+1)
	} else {
		t.count(n, *n-1)
	}
	return nil
}

func (op DecideInvite) size() int { return opOverhead }

func (op DecideInvite) apply(t *txn) (any, error) {
	g, old, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	to := GroupDeclined
	if op.Accept {
		to = GroupJoining
	}
	switch {
	case g.State == to, op.Accept && g.State.IsActive():
		return false, nil
	case g.State != GroupInvited && g.State != GroupDeclined && g.State != GroupFailed || g.Invite == 0:
		return nil, fmt.Errorf("no invite to group %s waits for an answer: %w", op.Group.Short(), ErrInvalid)
	case op.Accept && g.Key.IsZero():
		return nil, fmt.Errorf("the key of group %s is missing: %w", op.Group.Short(), ErrInvalid)
	}
	if err := t.moveGroup(&g, to, ""); err != nil {
		return nil, err
	}
	return true, t.updateGroup(g, old)
}

func (op SettleInvite) size() int { return opOverhead }

func (op SettleInvite) apply(t *txn) (any, error) {
	g, old, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	if g.State != GroupDeclined || g.Invite == 0 {
		return false, nil
	}
	g.Invite = 0
	return true, t.update(ownerKey(op.Account, op.Group), old, g)
}

func (op CreateGroup) size() int {
	return opOverhead + len(op.Name) + len(op.Description) + len(op.Avatar)
}

func (op CreateGroup) apply(t *txn) (any, error) {
	if len(op.Source) == 0 || len(op.Source) > MaxSource || op.Key.IsZero() {
		return nil, fmt.Errorf("group without source or key: %w", ErrInvalid)
	}
	g := Group{
		Account: op.Account, ID: CreationConversation(op.Account, op.Source), State: GroupCreating,
		Mediator: op.Mediator, Name: op.Name, Description: op.Description, Avatar: op.Avatar, Key: op.Key,
	}
	if err := t.checkGroup(g); err != nil {
		return nil, err
	}
	known, _, err := t.group(op.Account, g.ID)
	if !errors.Is(err, ErrNotFound) {
		return known, err
	}
	if err := t.insertGroup(g); err != nil {
		return nil, err
	}
	g, _, err = t.group(op.Account, g.ID)
	return g, err
}

func (op NoteCreation) size() int { return opOverhead + 9*len(op.Known) }

func (op NoteCreation) apply(t *txn) (any, error) {
	g, old, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	if g.State != GroupCreating {
		return false, nil
	}
	g.Attempted, g.Known = true, op.Known
	return true, t.update(ownerKey(op.Account, op.Group), old, g)
}

func (op FinishCreation) size() int { return opOverhead }

func (op FinishCreation) apply(t *txn) (any, error) {
	creation, oldCreation, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	switch creation.State {
	case GroupCreated:
		return GroupCreation{creation.Became}, nil
	case GroupCreating:
	default:
		return nil, fmt.Errorf("group %s is not being created: %w", op.Group.Short(), ErrInvalid)
	}
	g := Group{
		Account: op.Account, ID: GroupConversation(creation.Mediator, op.Chat), Mediator: creation.Mediator, Chat: op.Chat,
		Name: creation.Name, Description: creation.Description, Avatar: creation.Avatar, Key: creation.Key, Permissions: op.Permissions,
	}
	switch _, _, err := t.group(op.Account, g.ID); {
	case errors.Is(err, ErrNotFound):
		if err := t.insertGroup(g); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	creation.State, creation.StateTime, creation.Became = GroupCreated, t.now, g.ID // never invited
	creation.Avatar, creation.Key, creation.Known = nil, GroupKey{}, nil
	return GroupCreation{g.ID}, t.updateGroup(creation, oldCreation)
}

func (op SetGroupState) size() int { return opOverhead + len(op.Reason) }

func (op SetGroupState) apply(t *txn) (any, error) {
	if op.State > GroupMediatorGone {
		return nil, fmt.Errorf("group state %d: %w", op.State, ErrInvalid)
	}
	if err := checkTexts(op.Reason); err != nil {
		return nil, err
	}
	g, old, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	if g.State == op.State && g.Permissions == op.Permissions && g.Reason == op.Reason {
		return false, nil
	}
	if err := t.moveGroup(&g, op.State, op.Reason); err != nil {
		return nil, err
	}
	g.Permissions = op.Permissions
	return true, t.updateGroup(g, old)
}

func (op UpdateGroup) size() int {
	return opOverhead + len(op.Name) + len(op.Description) + len(op.Avatar)
}

func (op UpdateGroup) apply(t *txn) (any, error) {
	if err := checkProfile(op.Avatar, op.Name, op.Description); err != nil {
		return nil, err
	}
	g, old, err := t.group(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	visible, changed := false, false
	set := func(field GroupFields, differs bool, assign func()) {
		if op.Fields&field != 0 && differs {
			visible, changed = visible || field != GroupFieldProfileSent, true
			assign()
		}
	}
	set(GroupFieldName, g.Name != op.Name, func() { g.Name = op.Name })
	set(GroupFieldDescription, g.Description != op.Description, func() { g.Description = op.Description })
	set(GroupFieldAvatar, !bytes.Equal(g.Avatar, op.Avatar), func() { g.Avatar = op.Avatar })
	set(GroupFieldMuted, g.Muted != op.Muted, func() { g.Muted = op.Muted })
	set(GroupFieldAutoDownload, g.AutoDownload != op.AutoDownload, func() { g.AutoDownload = op.AutoDownload })
	set(GroupFieldProfileSent, g.ProfileSent != op.ProfileSent, func() { g.ProfileSent = op.ProfileSent })
	switch {
	case !changed:
		return false, nil
	case visible:
		return true, t.updateGroup(g, old)
	}
	return true, t.update(ownerKey(op.Account, op.Group), old, g)
}

func (op NoteMediatorReached) size() int { return opOverhead }

func (op NoteMediatorReached) apply(t *txn) (any, error) {
	if err := t.needConversation(op.Account, op.Group); err != nil {
		return nil, err
	}
	progress, err := t.progress(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	t.unsynced = true
	before := progress.groupProgress
	progress.Contacted = orNow(op.Time, t.now)
	return true, t.putProgress(op.Account, op.Group, progress, before)
}

func (op RemoveGroup) size() int { return opOverhead }

func (op RemoveGroup) apply(t *txn) (any, error) {
	g, _, err := t.group(op.Account, op.Group)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return nil, err
	}
	if err := t.countInvite(op.Account, g.State, GroupLeft); err != nil {
		return nil, err
	}
	if err := t.clearConversation(op.Account, op.Group); err != nil {
		return nil, err
	}
	for _, table := range []byte{tableGUID, tableMember, tableTask, tableProgress, tablePicture} {
		t.clear(conversationPrefix(op.Account, table, op.Group))
	}
	return true, t.groupEvent(g, GroupRemoved)
}

// storedProgress is a groupProgress and its bytes.
type storedProgress struct {
	groupProgress
	raw []byte
}

// progress reads the progress of a group; zero when there is none.
func (t *txn) progress(account identity.PublicKey, group ConversationID) (p storedProgress, err error) {
	p.raw, err = t.load(progressKey(account, group), &p.groupProgress)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return p, err
}

// putProgress writes the progress of a group unless it is as before.
func (t *txn) putProgress(account identity.PublicKey, group ConversationID, p storedProgress, before groupProgress) error {
	if p.groupProgress == before {
		return nil
	}
	return t.update(progressKey(account, group), p.raw, p.groupProgress)
}
