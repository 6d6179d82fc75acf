// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// Group returns one group chat, or [ErrNotFound].
func (s *Store) Group(account identity.PublicKey, id ConversationID) (Group, error) {
	g := Group{Account: account, ID: id}
	err := ErrNotFound
	if id.Kind() == KindGroup {
		err = s.read(func(r rows) error { return loadRow(r, ownerKey(account, id), &g) })
	}
	if err != nil {
		return Group{}, fmt.Errorf("group %s of account %s: %w", id.Short(), account.Short(), err)
	}
	return g, nil
}

// Groups returns all groups of an account, in the order of their ids.
func (s *Store) Groups(account identity.PublicKey) ([]Group, error) {
	var found []Group
	err := s.EachGroup(account, func(g Group) bool {
		found = append(found, g)
		return true
	})
	return found, err
}

// EachGroup calls f for the groups of an account, in the order of their ids, until it
// returns false. What f sees is as of the call.
func (s *Store) EachGroup(account identity.PublicKey, f func(Group) bool) error {
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, tablePrefix(account, tableFor(tableContact, KindGroup))) {
			if err != nil {
				return err
			}
			key, err := parseKey(row.key)
			if err != nil {
				return err
			}
			g := Group{Account: account, ID: key.conversation}
			if err := row.load(&g); err != nil {
				return err
			}
			if !f(g) {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("groups of account %s: %w", account.Short(), err)
	}
	return nil
}

// Members returns a page of those who are or were in a group, in the order of their keys:
// those after the given one. A limit of 0 means the largest page. Only an empty page
// means that there are no more.
func (s *Store) Members(account identity.PublicKey, group ConversationID, after identity.PublicKey, limit int) ([]Member, error) {
	var found []Member
	prefix := conversationPrefix(account, tableMember, group)
	err := s.read(func(r rows) (err error) {
		found, err = page(scanAfter(r, prefix, memberKey(account, group, after)), limit, func(row row) (Member, int, error) {
			m := Member{Account: account, Group: group}
			key, err := parseKey(row.key)
			if err != nil {
				return m, 0, err
			}
			m.ID = key.other
			err = row.load(&m)
			return m, len(m.Name) + len(m.Info), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", group.Short(), err)
	}
	return found, nil
}

// Member returns one member of a group, or [ErrNotFound].
func (s *Store) Member(account identity.PublicKey, group ConversationID, member identity.PublicKey) (Member, error) {
	m := Member{Account: account, Group: group, ID: member}
	err := ErrNotFound
	if group.Kind() == KindGroup {
		err = s.read(func(r rows) error { return loadRow(r, memberKey(account, group, member), &m) })
	}
	if err != nil {
		return Member{}, fmt.Errorf("member %s of group %s: %w", member.Short(), group.Short(), err)
	}
	return m, nil
}

// MemberAvatar returns the picture of a member of a group, nil for none.
func (s *Store) MemberAvatar(account identity.PublicKey, group ConversationID, member identity.PublicKey) ([]byte, error) {
	if group.Kind() != KindGroup {
		return nil, nil
	}
	var avatar []byte
	err := s.read(func(r rows) (err error) {
		avatar, err = getRow(r, pictureKey(account, group, member))
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("picture of member %s of group %s: %w", member.Short(), group.Short(), err)
	}
	return avatar, nil
}

// GroupTasks returns a page of the tasks of a group that the mediator has not answered,
// oldest first.
func (s *Store) GroupTasks(account identity.PublicKey, group ConversationID, limit int) ([]GroupTask, error) {
	var found []GroupTask
	err := s.read(func(r rows) (err error) {
		found, err = page(scanPrefix(r, conversationPrefix(account, tableTask, group)), limit, func(row row) (GroupTask, int, error) {
			task := GroupTask{Account: account, Group: group, Seq: row.number()}
			err := row.load(&task)
			return task, len(task.Avatar), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tasks of group %s: %w", group.Short(), err)
	}
	return found, nil
}

// GroupPosition returns the number of the last message of a group up to which all were
// stored, and when the mediator was reached last.
func (s *Store) GroupPosition(account identity.PublicKey, group ConversationID) (position int64, reached Millis, err error) {
	var p groupProgress
	err = s.read(func(r rows) error { return loadRow(r, progressKey(account, group), &p) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, 0, fmt.Errorf("position in group %s: %w", group.Short(), err)
	}
	return p.Position, p.Contacted, nil
}
