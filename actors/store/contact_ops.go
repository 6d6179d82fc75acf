// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mimird/mimird/proto/identity"
)

// opOverhead is what keys and fixed fields of an operation add to a batch.
const opOverhead = 512

func (op PutAccount) size() int { return opOverhead + accountSize(op.Account) }

func (op PutAccount) apply(t *txn) (any, error) {
	acc := op.Account
	if acc.ID.IsZero() {
		return nil, fmt.Errorf("account without id: %w", ErrInvalid)
	}
	if err := checkProfile(acc.Avatar, acc.Name, acc.Info); err != nil {
		return nil, err
	}
	kind := AccountChanged
	var before Account
	old, err := t.load(accountKey(acc.ID), &before)
	switch {
	case errors.Is(err, ErrNotFound):
		kind = AccountAdded
		if acc.Created == 0 {
			acc.Created = t.now
		}
	case err != nil:
		return nil, err
	default:
		acc.Created = before.Created
	}
	if kind == AccountChanged {
		fresh, err := mergeUnknown(old, acc)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(old, fresh) {
			return false, nil
		}
	}
	if err := t.update(accountKey(acc.ID), old, acc); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: acc.ID, Kind: kind})
}

func (op RemoveAccount) size() int { return opOverhead }

func (op RemoveAccount) apply(t *txn) (any, error) {
	known, err := t.has(accountKey(op.Account))
	if err != nil || !known {
		return false, err
	}
	t.clear(accountPrefix(op.Account))
	t.removal = true
	if counters, ok := t.w.accounts[op.Account]; ok {
		delete(t.w.accounts, op.Account)
		t.recent = recent{}
		t.undo = append(t.undo, func() { t.w.accounts[op.Account] = counters })
		for _, c := range counters.conversations {
			t.count(&t.w.known, t.w.known-c.known.size())
		}
	}
	t.touch(Conversation{Account: op.Account}, touchedAll)
	return true, nil
}

func (op AddContact) size() int { return opOverhead + contactSize(op.Contact) }

func (op AddContact) apply(t *txn) (any, error) {
	c := op.Contact
	if err := checkPair(c.Account, c.ID); err != nil {
		return nil, err
	}
	if err := checkProfile(c.Avatar, c.Nickname, c.LocalName, c.Info); err != nil {
		return nil, err
	}
	if err := t.needAccount(c.Account); err != nil {
		return nil, err
	}
	existing, _, err := t.contact(c.Account, c.ID)
	if err == nil {
		return Added{Contact: existing, Existed: true}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	if c.Added == 0 {
		c.Added = t.now
	}
	if len(c.NodeKeys) > MaxNodeKeys {
		c.NodeKeys = c.NodeKeys[:MaxNodeKeys]
	}
	conversation, err := t.w.conversation(t, c.Account, ContactConversation(c.ID))
	if err != nil {
		return nil, err
	}
	t.setExists(conversation, true)
	if err := t.countRequest(c.Account, ContactStranger, c.State); err != nil {
		return nil, err
	}
	if err := t.put(contactKey(c.Account, c.ID), c); err != nil {
		return nil, err
	}
	return Added{Contact: c}, t.event(Event{Account: c.Account, Conversation: ContactConversation(c.ID), Kind: ContactAdded, State: c.State})
}

func (op UpdateContact) size() int {
	return opOverhead + len(op.Nickname) + len(op.LocalName) + len(op.Info) + len(op.Avatar)
}

func (op UpdateContact) apply(t *txn) (any, error) {
	if err := checkProfile(op.Avatar, op.Nickname, op.LocalName, op.Info); err != nil {
		return nil, err
	}
	c, old, err := t.contact(op.Account, op.Contact)
	if err != nil {
		return nil, err
	}
	visible := false
	var names []string
	set := func(field ContactFields, name string, changed bool, assign func()) {
		if op.Fields&field != 0 && changed {
			visible = visible || field != FieldLastSeen
			if name != "" {
				names = append(names, name)
			}
			assign()
		}
	}
	muted := ChangedMuted
	if !op.Muted {
		muted = ChangedUnmuted
	}
	before := c.LastSeen
	set(FieldNickname, ChangedNickname, c.Nickname != op.Nickname, func() { c.setNickname(op.Nickname, t.now) })
	set(FieldLocalName, ChangedName, c.LocalName != op.LocalName, func() { c.LocalName = op.LocalName })
	set(FieldInfo, ChangedInfo, c.Info != op.Info, func() { c.Info = op.Info })
	set(FieldAvatar, ChangedAvatar, !bytes.Equal(c.Avatar, op.Avatar), func() { c.Avatar = op.Avatar })
	set(FieldProfileTime, "", c.ProfileTime != op.ProfileTime, func() { c.ProfileTime = op.ProfileTime })
	set(FieldMuted, muted, c.Muted != op.Muted, func() { c.Muted = op.Muted })
	set(FieldLastSeen, "", c.LastSeen != op.LastSeen, func() { c.LastSeen = op.LastSeen })
	if !visible && c.LastSeen == before {
		return false, nil
	}
	if err := t.update(contactKey(op.Account, op.Contact), old, c); err != nil {
		return nil, err
	}
	if !visible {
		t.unsynced = true
		return true, nil
	}
	return true, t.event(Event{Account: op.Account, Conversation: ContactConversation(op.Contact), Kind: ContactChanged, State: c.State, Reason: strings.Join(names, ",")})
}

func (op SetContactState) size() int { return opOverhead }

func (op SetContactState) apply(t *txn) (any, error) {
	if op.State > ContactBlocked {
		return nil, fmt.Errorf("contact state %d: %w", op.State, ErrInvalid)
	}
	c, old, err := t.contact(op.Account, op.Contact)
	if err != nil {
		return nil, err
	}
	if c.State == op.State {
		return false, nil
	}
	return true, t.moveContact(c, old, op.State)
}

func (op RemoveContact) size() int { return opOverhead }

func (op RemoveContact) apply(t *txn) (any, error) {
	c, _, err := t.contact(op.Account, op.Contact)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return nil, err
	}
	if err := t.countRequest(op.Account, c.State, ContactStranger); err != nil {
		return nil, err
	}
	id := ContactConversation(op.Contact)
	if err := t.clearConversation(op.Account, id); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Conversation: id, Kind: ContactRemoved})
}

// clearConversation removes the row of a contact or group with its messages and files.
func (t *txn) clearConversation(account identity.PublicKey, id ConversationID) error {
	outbox, err := t.w.outbox(t, account)
	if err != nil {
		return err
	}
	rows, size, err := t.sumOutbox(conversationPrefix(account, tableOutbox, id))
	if err != nil {
		return err
	}
	conversation, err := t.w.conversation(t, account, id)
	if err != nil {
		return err
	}
	t.count(&outbox.rows, outbox.rows-rows)
	t.count(&outbox.bytes, outbox.bytes-size)
	t.setExists(conversation, false)
	t.count(&conversation.lastOrder, 0)
	if conversation.members != nil {
		t.count(conversation.members, 0)
	}
	t.delete(ownerKey(account, id))
	if err := t.forgetMedia(account, id); err != nil {
		return err
	}
	for _, table := range []byte{tableMessage, tableRef, tableOutbox, tableReaction, tableMedia} {
		t.clear(conversationPrefix(account, table, id))
	}
	return nil
}

func (op RecordNodeKey) size() int { return opOverhead }

func (op RecordNodeKey) apply(t *txn) (any, error) {
	if op.Key.IsZero() {
		return nil, fmt.Errorf("node key is zero: %w", ErrInvalid)
	}
	c, old, err := t.contact(op.Account, op.Contact)
	if err != nil {
		return nil, err
	}
	now := op.Time
	if now == 0 {
		now = t.now
	}
	result := NodeKeyRecorded{}
	node := KnownNode{Key: op.Key, FirstAuth: now, LastAuth: now, Generation: op.Generation, SubnetAddr: op.SubnetAddr}
	if i := slices.IndexFunc(c.NodeKeys, func(n KnownNode) bool { return n.Key == op.Key }); i >= 0 {
		node.FirstAuth = c.NodeKeys[i].FirstAuth
		node.LastAuth = max(now, c.NodeKeys[i].LastAuth)
		if op.Generation != 1 { // another device: the generation of that one stays
			node.SubnetAddr = c.NodeKeys[i].SubnetAddr
		}
		c.NodeKeys = slices.Delete(c.NodeKeys, i, i+1)
		t.unsynced = true // only a hint is lost
	} else {
		result.New = true
		result.Changed = len(c.NodeKeys) > 0 && (op.Generation != 2 || op.Unconfirmed)
	}
	c.NodeKeys = slices.Insert(c.NodeKeys, 0, node)
	slices.SortStableFunc(c.NodeKeys, func(a, b KnownNode) int { return int(min(max(b.LastAuth-a.LastAuth, -1), 1)) })
	if len(c.NodeKeys) > MaxNodeKeys {
		c.NodeKeys = c.NodeKeys[:MaxNodeKeys]
	}
	if err := t.update(contactKey(op.Account, op.Contact), old, c); err != nil {
		return nil, err
	}
	if !result.Changed {
		return result, nil
	}
	reason := ""
	if op.Unconfirmed {
		reason = Unconfirmed
	}
	return result, t.event(Event{Account: op.Account, Conversation: ContactConversation(op.Contact), Kind: NodeKeyChanged, NodeKey: op.Key, Reason: reason})
}

func (op NoteForeignNode) size() int { return opOverhead }

func (op NoteForeignNode) apply(t *txn) (any, error) {
	if op.Node.IsZero() {
		return nil, fmt.Errorf("node key is zero: %w", ErrInvalid)
	}
	acc := Account{ID: op.Account}
	old, err := t.load(accountKey(op.Account), &acc)
	if err != nil {
		return nil, err
	}
	acc.ForeignNodes = slices.DeleteFunc(acc.ForeignNodes, func(n ForeignNode) bool { return n.Key == op.Node })
	acc.ForeignNodes = append(acc.ForeignNodes, ForeignNode{Key: op.Node, Since: t.now})
	acc.ForeignNodes = acc.ForeignNodes[max(0, len(acc.ForeignNodes)-MaxForeignNodes):]
	if err := t.update(accountKey(op.Account), old, acc); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Kind: ForeignNodeAnnounced, NodeKey: op.Node})
}

func (op PutAddresses) size() int { return opOverhead + 64*len(op.Addresses) }

func (op PutAddresses) apply(t *txn) (any, error) {
	if op.Identity.IsZero() {
		return nil, fmt.Errorf("addresses without identity: %w", ErrInvalid)
	}
	t.unsynced = true
	key := addressKey(op.Identity)
	if len(op.Addresses) == 0 {
		t.delete(key)
		return nil, nil
	}
	return nil, t.put(key, op.Addresses[:min(len(op.Addresses), MaxAddresses)])
}

// setExists notes whether the contact or group of a conversation exists.
func (t *txn) setExists(c *conversationState, exists bool) {
	before := c.exists
	t.undo = append(t.undo, func() { c.exists = before })
	c.exists = exists
}

// contact reads a contact row and its bytes.
func (t *txn) contact(account, contact identity.PublicKey) (Contact, []byte, error) {
	c := Contact{Account: account, ID: contact}
	raw, err := t.load(contactKey(account, contact), &c)
	if err != nil {
		return Contact{}, nil, fmt.Errorf("contact %s of account %s: %w", contact.Short(), account.Short(), err)
	}
	return c, raw, nil
}

func checkPair(account, contact identity.PublicKey) error {
	if account.IsZero() || contact.IsZero() {
		return fmt.Errorf("account or contact is missing: %w", ErrInvalid)
	}
	return nil
}

func checkConversation(account identity.PublicKey, conversation ConversationID) error {
	if account.IsZero() || conversation.IsZero() {
		return fmt.Errorf("account or conversation is missing: %w", ErrInvalid)
	}
	return nil
}

func checkProfile(avatar []byte, texts ...string) error {
	if len(avatar) > MaxAvatar {
		return fmt.Errorf("avatar of %d bytes: %w", len(avatar), ErrInvalid)
	}
	return checkTexts(texts...)
}

func checkTexts(texts ...string) error {
	for _, text := range texts {
		if len(text) > MaxText {
			return fmt.Errorf("text of %d bytes: %w", len(text), ErrInvalid)
		}
	}
	return nil
}

func accountSize(a Account) int { return len(a.Name) + len(a.Info) + len(a.Avatar) }

func contactSize(c Contact) int {
	return len(c.Nickname) + len(c.LocalName) + len(c.Info) + len(c.Avatar) + 64*len(c.NodeKeys)
}
