// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// MemberFields selects what a [MemberChange] changes.
type MemberFields uint8

// The fields that a MemberChange can change.
const (
	// MemberPermissions are Permissions.
	MemberPermissions MemberFields = 1 << iota
	// MemberStanding is Standing.
	MemberStanding
	// MemberProfile is the whole profile. One that is not newer than the profile that is
	// stored is left out.
	MemberProfile
)

// MemberChange is a change of one member of a group. Somebody who is not known becomes a
// member in the standing and with the permissions given.
type MemberChange struct {
	Member      identity.PublicKey
	Fields      MemberFields
	Permissions Permissions
	Standing    Standing
	Name, Info  string
	Avatar      []byte
	ProfileTime int64 // Unix seconds
}

// UpdateMembers changes members of a group. The result is how many were changed. When a
// group has [Options].MemberRows, or their profiles take too much of the disk, what is new is left
// out.
//
// Errors: [ErrNotFound] when the group is unknown, [ErrDiskFull], [ErrInvalid].
type UpdateMembers struct {
	Account identity.PublicKey
	Group   ConversationID
	Changes []MemberChange // at most MaxMemberChanges
}

func (op UpdateMembers) size() int {
	n := opOverhead
	for i := range op.Changes {
		c := &op.Changes[i]
		n += 128 + len(c.Name) + len(c.Info) + len(c.Avatar)
	}
	return n
}

func (op UpdateMembers) apply(t *txn) (any, error) {
	if len(op.Changes) > MaxMemberChanges {
		return nil, fmt.Errorf("%d changes of members at once: %w", len(op.Changes), ErrInvalid)
	}
	if err := t.needConversation(op.Account, op.Group); err != nil {
		return nil, err
	}
	members, err := t.members(op.Account, op.Group)
	if err != nil {
		return nil, err
	}
	changed := 0
	var last identity.PublicKey
	for i := range op.Changes {
		c := &op.Changes[i]
		if err := checkProfile(c.Avatar, c.Name, c.Info); err != nil {
			return nil, err
		}
		if c.Member.IsZero() {
			return nil, fmt.Errorf("member without a key: %w", ErrInvalid)
		}
		did, err := op.change(t, c, members)
		if err != nil {
			return nil, err
		}
		if did {
			changed, last = changed+1, c.Member
		}
	}
	if changed == 0 {
		return 0, nil
	}
	if changed > 1 {
		last = identity.PublicKey{}
	}
	return changed, t.event(Event{Account: op.Account, Conversation: op.Group, Kind: MembersChanged, Member: last})
}

// change changes one member and reports whether that changed anything.
func (op UpdateMembers) change(t *txn, c *MemberChange, members *uint64) (bool, error) {
	key := memberKey(op.Account, op.Group, c.Member)
	m := Member{Account: op.Account, Group: op.Group, ID: c.Member}
	old, err := t.load(key, &m)
	changed := errors.Is(err, ErrNotFound)
	switch {
	case changed && *members >= t.w.store.opts.MemberRows:
		return false, nil
	case changed:
		if err := t.needSpace(); err != nil {
			return false, err
		}
		m.Since = t.now
		t.count(members, *members+1)
	case err != nil:
		return false, err
	}
	if c.Fields&MemberPermissions != 0 && m.Permissions != c.Permissions {
		m.Permissions, changed = c.Permissions, true
	}
	if c.Fields&MemberStanding != 0 && m.Standing != c.Standing {
		m.Standing, changed = c.Standing, true
	}
	if c.Fields&MemberProfile != 0 && c.ProfileTime >= m.ProfileTime {
		did, err := op.profile(t, c, &m)
		if err != nil {
			return false, err
		}
		changed = changed || did
	}
	if !changed {
		return false, nil
	}
	return true, t.update(key, old, m)
}

// profile changes the profile of a member and reports whether that changed anything.
func (op UpdateMembers) profile(t *txn, c *MemberChange, m *Member) (bool, error) {
	avatar, err := op.avatar(t, c)
	if err != nil {
		return false, err
	}
	key := pictureKey(op.Account, op.Group, c.Member)
	before, err := t.get(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	picture := !bytes.Equal(before, avatar)
	if picture && len(avatar) > 0 {
		t.putRaw(key, avatar)
	} else if picture {
		t.delete(key)
	}
	if !picture && m.Name == c.Name && m.Info == c.Info && m.ProfileTime == c.ProfileTime {
		return false, nil
	}
	m.Name, m.Info, m.HasAvatar, m.ProfileTime = c.Name, c.Info, len(avatar) > 0, c.ProfileTime
	return true, nil
}

// avatar returns the picture of a profile, none when those of the group take too much.
func (op UpdateMembers) avatar(t *txn, c *MemberChange) ([]byte, error) {
	if len(c.Avatar) == 0 {
		return nil, nil
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	prefix := conversationPrefix(op.Account, tablePicture, op.Group)
	taken, err := t.w.store.db.EstimateDiskUsage(prefix, prefixEnd(prefix))
	if err != nil {
		return nil, rowError("measure the pictures of members", err)
	}
	if taken > maxPictureBytes {
		return nil, nil
	}
	return c.Avatar, nil
}

// members returns the number of members of a group that have a row. It is read before the
// operation changes members, and counted on from there.
func (t *txn) members(account identity.PublicKey, group ConversationID) (*uint64, error) {
	c, err := t.w.conversation(t, account, group)
	if err != nil || c.members != nil {
		return c.members, err
	}
	n := new(uint64)
	err = t.scan(conversationPrefix(account, tableMember, group), func([]byte, []byte) error {
		*n++
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.members = n
	return n, nil
}
