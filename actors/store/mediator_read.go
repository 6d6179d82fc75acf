// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"iter"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// MediatorGroup returns a group of our mediator, or [ErrNotFound].
func (s *Store) MediatorGroup(id mediator.ChatID) (g MediatorGroup, usage MediatorUsage, err error) {
	g.ID = id
	err = s.read(func(r rows) error {
		if err := loadRow(r, mediatorPrefix(tableMediatorUsage, id), &usage); err != nil {
			return err
		}
		return missingIsCorrupt(loadRow(r, mediatorPrefix(tableMediatorGroup, id), &g))
	})
	if err != nil {
		return MediatorGroup{}, MediatorUsage{}, fmt.Errorf("group %d: %w", id, err)
	}
	return g, usage, nil
}

// MediatorGroups iterates over the groups of our mediator. An error is the last thing it
// yields.
func (s *Store) MediatorGroups() iter.Seq2[MediatorGroup, error] {
	return whole(s, "groups of the mediator", func(r rows) iter.Seq2[MediatorGroup, error] {
		return func(yield func(MediatorGroup, error) bool) {
			for row, err := range scanPrefix(r, mediatorTable(tableMediatorGroup)) {
				var g MediatorGroup
				if err == nil {
					g.ID = mediator.ChatID(row.number())
					err = row.load(&g)
				}
				if !yield(g, err) || err != nil {
					return
				}
			}
		}
	})
}

// MediatorMember returns a member of a group, or [ErrNotFound] when there is no such
// member or group.
func (s *Store) MediatorMember(group mediator.ChatID, user identity.PublicKey) (MediatorMember, error) {
	member := MediatorMember{Group: group, User: user}
	err := s.read(func(r rows) error {
		if _, err := getRow(r, mediatorPrefix(tableMediatorUsage, group)); err != nil {
			return err
		}
		return loadRow(r, mediatorUserKey(tableMediatorMember, group, user), &member)
	})
	if err != nil {
		return MediatorMember{}, fmt.Errorf("member %s of group %d: %w", user.Short(), group, err)
	}
	return member, nil
}

// MediatorMembers iterates over the members of a group, also those who are banned, also
// those of a deleted group that were not removed yet.
func (s *Store) MediatorMembers(group mediator.ChatID) iter.Seq2[MediatorMember, error] {
	return whole(s, "members of a group", func(r rows) iter.Seq2[MediatorMember, error] {
		return mediatorMembers(r, group)
	})
}

func mediatorMembers(r rows, group mediator.ChatID) iter.Seq2[MediatorMember, error] {
	return func(yield func(MediatorMember, error) bool) {
		prefix := mediatorPrefix(tableMediatorMember, group)
		for row, err := range scanPrefix(r, prefix) {
			member := MediatorMember{Group: group}
			if err == nil {
				copy(member.User[:], row.key[len(prefix):])
				err = row.load(&member)
			}
			if !yield(member, err) || err != nil {
				return
			}
		}
	}
}

// MediatorProfile returns the profile of a member, nil for none.
func (s *Store) MediatorProfile(group mediator.ChatID, user identity.PublicKey) (profile []byte, err error) {
	err = s.read(func(r rows) error {
		return loadRow(r, mediatorUserKey(tableMediatorProfile, group, user), &profile)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("profile of %s in group %d: %w", user.Short(), group, err)
	}
	return profile, nil
}

// MediatorLast returns the highest id of a message in a group, 0 for none.
func (s *Store) MediatorLast(group mediator.ChatID) (mediator.MessageID, error) {
	var usage MediatorUsage
	err := s.read(func(r rows) error { return loadRow(r, mediatorPrefix(tableMediatorUsage, group), &usage) })
	if err != nil {
		return 0, fmt.Errorf("last message of group %d: %w", group, err)
	}
	return usage.Last, nil
}

// MediatorMessages returns messages of a group in the order of their ids: those after the
// given one, at most limit, and no more than fit into size bytes, but at least one.
func (s *Store) MediatorMessages(group mediator.ChatID, after mediator.MessageID, limit, size int) ([]MediatorMessage, error) {
	var found []MediatorMessage
	err := s.read(func(r rows) error {
		for row, err := range mediatorAfter(r, group, after) {
			if err != nil {
				return err
			}
			m := MediatorMessage{ID: mediator.MessageID(row.number())}
			if err := row.load(&m); err != nil {
				return err
			}
			if size -= int(m.cost()); size < 0 && len(found) > 0 {
				return nil
			}
			if found = append(found, m); len(found) == limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("messages of group %d: %w", group, err)
	}
	return found, nil
}

// MediatorMessagesSize is roughly what that many messages take, without reading them into
// memory.
func (s *Store) MediatorMessagesSize(group mediator.ChatID, after mediator.MessageID, limit int) (size int, err error) {
	err = s.read(func(r rows) error {
		for row, err := range mediatorAfter(r, group, after) {
			if err != nil {
				return err
			}
			value, err := row.value()
			if err != nil {
				return err
			}
			size += MediatorOverhead + len(value)
			if limit--; limit == 0 {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("messages of group %d: %w", group, err)
	}
	return size, nil
}

// mediatorAfter iterates over the messages with higher ids. An id that clients cannot
// have been given, below 0, is before all.
func mediatorAfter(r rows, group mediator.ChatID, after mediator.MessageID) iter.Seq2[row, error] {
	return scanAfter(r, mediatorPrefix(tableMediatorMessage, group), mediatorMessageKey(group, max(after, 0)))
}

// MediatorExpired returns ids of messages of a group that were stored before a time, the
// lowest first, at most limit.
func (s *Store) MediatorExpired(group mediator.ChatID, before Millis, limit int) ([]mediator.MessageID, error) {
	var found []mediator.MessageID
	err := s.read(func(r rows) error {
		for row, err := range mediatorAfter(r, group, 0) {
			if err != nil {
				return err
			}
			var m MediatorMessage
			if err := row.load(&m); err != nil {
				return err
			}
			if m.Stored >= before || len(found) == limit {
				return nil
			}
			found = append(found, mediator.MessageID(row.number()))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("messages of group %d: %w", group, err)
	}
	return found, nil
}

// MediatorGroupsOf returns the groups that an identity is a member of and not banned from.
func (s *Store) MediatorGroupsOf(user identity.PublicKey) ([]mediator.ChatID, error) {
	var found []mediator.ChatID
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, mediatorOfUser(tableMediatorUserGroup, user)) {
			if err != nil {
				return err
			}
			group := mediator.ChatID(row.number())
			if _, err := getRow(r, mediatorPrefix(tableMediatorUsage, group)); errors.Is(err, ErrNotFound) {
				continue // deleted
			} else if err != nil {
				return err
			}
			var member MediatorMember
			if err := loadRow(r, mediatorUserKey(tableMediatorMember, group, user), &member); err != nil {
				return missingIsCorrupt(err)
			}
			if !member.Banned {
				found = append(found, group)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", user.Short(), err)
	}
	return found, nil
}

// MediatorInvites returns the invites of an identity that were not pushed yet.
func (s *Store) MediatorInvites(user identity.PublicKey) ([]MediatorInvite, error) {
	var found []MediatorInvite
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, mediatorOfUser(tableMediatorInviteOf, user)) {
			if err != nil {
				return err
			}
			var id uint64
			if err := row.load(&id); err != nil {
				return err
			}
			invite := MediatorInvite{ID: mediator.InviteID(id)}
			if err := loadRow(r, mediatorInviteKey(invite.ID), &invite); err != nil {
				return missingIsCorrupt(err)
			}
			if !invite.Sent {
				found = append(found, invite)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("invites of %s: %w", user.Short(), err)
	}
	return found, nil
}

// MediatorExpiredInvites returns ids of invites that are older than a time, in Unix
// seconds, at most limit.
func (s *Store) MediatorExpiredInvites(before int64, limit int) ([]mediator.InviteID, error) {
	var found []mediator.InviteID
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, mediatorTable(tableMediatorInvite)) {
			if err != nil {
				return err
			}
			var invite MediatorInvite
			if err := row.load(&invite); err != nil {
				return err
			}
			if invite.Time < before {
				found = append(found, mediator.InviteID(row.number()))
			}
			if len(found) == limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("invites: %w", err)
	}
	return found, nil
}

// MediatorDeleted returns the deleted groups whose members were not all removed.
func (s *Store) MediatorDeleted() ([]mediator.ChatID, error) {
	var found []mediator.ChatID
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, mediatorTable(tableMediatorDeleted)) {
			if err != nil {
				return err
			}
			found = append(found, mediator.ChatID(row.number()))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("deleted groups: %w", err)
	}
	return found, nil
}

// MediatorTotals returns what all groups of our mediator take.
func (s *Store) MediatorTotals() (totals MediatorTotals, err error) {
	err = s.read(func(r rows) error { return loadRow(r, mediatorTotalsKey(), &totals) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return MediatorTotals{}, fmt.Errorf("totals of the mediator: %w", err)
	}
	return totals, nil
}

// MediatorRefuses reports whether an identity may not log in.
func (s *Store) MediatorRefuses(user identity.PublicKey) (bool, error) {
	err := s.read(func(r rows) error { _, err := getRow(r, mediatorBanKey(user)); return err })
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// MediatorBans returns the identities that may not log in.
func (s *Store) MediatorBans() ([]MediatorBan, error) {
	var found []MediatorBan
	err := s.read(func(r rows) error {
		prefix := mediatorTable(tableMediatorBan)
		for row, err := range scanPrefix(r, prefix) {
			if err != nil {
				return err
			}
			var ban MediatorBan
			copy(ban.User[:], row.key[len(prefix):])
			if err := row.load(&ban); err != nil {
				return err
			}
			found = append(found, ban)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bans of the mediator: %w", err)
	}
	return found, nil
}
