// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// AddGroup makes a group chat one of the conversations of an account. When it is one
// already nothing is written. The result is whether it was added.
//
// Errors: [ErrNotFound] when the account is unknown, [ErrDiskFull], [ErrInvalid].
type AddGroup struct {
	Account  identity.PublicKey
	Mediator identity.NodeKey
	Chat     uint64
}

func (op AddGroup) size() int { return opOverhead }

func (op AddGroup) apply(t *txn) (any, error) {
	if op.Mediator.IsZero() {
		return nil, fmt.Errorf("group without mediator: %w", ErrInvalid)
	}
	if err := t.needAccount(op.Account); err != nil {
		return nil, err
	}
	id := GroupConversation(op.Mediator, op.Chat)
	conversation, err := t.w.conversation(t, op.Account, id)
	if err != nil || conversation.exists {
		return false, err
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	t.setExists(conversation, true)
	return true, t.put(ownerKey(op.Account, id), Group{Mediator: op.Mediator, Chat: op.Chat, Added: t.now})
}

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
