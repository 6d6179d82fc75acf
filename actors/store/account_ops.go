// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"

	"github.com/mimird/mimird/proto/identity"
)

// AccountFields selects what [UpdateAccount] changes.
type AccountFields uint8

// The fields that UpdateAccount can change.
const (
	AccountName AccountFields = 1 << iota
	AccountInfo
	AccountAvatar
	AccountStrangers
	AccountRole // with the priority
	AccountForwardTo
	AccountForwardGroups
)

// UpdateAccount changes the selected fields of an account. When name, info or
// avatar change, so does the time of the profile, by a second at least: that is
// what contacts count in. The result is whether anything changed.
type UpdateAccount struct {
	Account   identity.PublicKey
	Fields    AccountFields
	Name      string
	Info      string
	Avatar    []byte
	Strangers StrangerPolicy
	Role      Role
	Priority  uint8
	ForwardTo identity.PublicKey

	ForwardGroups bool
}

func (op UpdateAccount) size() int {
	return opOverhead + len(op.Name) + len(op.Info) + len(op.Avatar)
}

func (op UpdateAccount) apply(t *txn) (any, error) {
	if err := checkProfile(op.Avatar, op.Name, op.Info); err != nil {
		return nil, err
	}
	acc := Account{ID: op.Account}
	old, err := t.load(accountKey(op.Account), &acc)
	if err != nil {
		return nil, err
	}
	changed, profile := false, false
	set := func(field AccountFields, differs bool, assign func()) {
		if op.Fields&field != 0 && differs {
			changed = true
			profile = profile || field&(AccountName|AccountInfo|AccountAvatar) != 0
			assign()
		}
	}
	set(AccountName, acc.Name != op.Name, func() { acc.Name = op.Name })
	set(AccountInfo, acc.Info != op.Info, func() { acc.Info = op.Info })
	set(AccountAvatar, !bytes.Equal(acc.Avatar, op.Avatar), func() { acc.Avatar = op.Avatar })
	set(AccountStrangers, acc.Strangers != op.Strangers, func() { acc.Strangers = op.Strangers })
	set(AccountRole, acc.Role != op.Role || acc.Priority != op.Priority, func() { acc.Role, acc.Priority = op.Role, op.Priority })
	set(AccountForwardTo, acc.ForwardTo != op.ForwardTo, func() { acc.ForwardTo = op.ForwardTo })
	set(AccountForwardGroups, acc.ForwardGroups != op.ForwardGroups, func() { acc.ForwardGroups = op.ForwardGroups })
	if !changed {
		return false, nil
	}
	if profile {
		acc.ProfileTime = max(t.now, acc.ProfileTime+1000)
	}
	if err := t.update(accountKey(op.Account), old, acc); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Kind: AccountChanged})
}
