// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A reaction is a message like any other: stored once, in its place, with an event of
// its own. Beside it the store keeps, for each message and side, the reaction that
// counts: the latest by the clock of who reacted. In a group there is one for each author. An app that offers the same reaction
// twice, with another guid and its time in seconds, changes nothing by that, and a
// consumer that reads the events late or twice still finds the present state.
//
// The message reacted to need not be there yet: a picture may arrive after what
// was said about it. A reaction to a message that never comes, or is of another
// conversation, is never read.

// react notes the reaction that a message is; nil for a message of another type.
func (t *txn) react(msg *Message, reaction *ReactionTo) error {
	if reaction == nil {
		return nil
	}
	author := msg.Author
	if msg.ID.Dir == Out {
		author = msg.Account
	}
	key := reactionKey(msg.Account, msg.Conversation, reaction.Target, msg.ID.Dir, author)
	var before Reaction
	old, err := t.load(key, &before)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil && before.SendTime > msg.SendTime {
		return nil
	}
	return t.update(key, old, Reaction{Emoji: reaction.Emoji, SendTime: msg.SendTime, Message: msg.ID})
}

// retractReaction takes back the reaction that a deleted message has brought, if it is the
// one that counts.
func (t *txn) retractReaction(msg *Message) error {
	target := msg.ReplyTo
	if target == 0 || peer.MessageType(msg.Type) != peer.TypeReaction {
		return nil
	}
	author := msg.Author
	if msg.ID.Dir == Out {
		author = msg.Account
	}
	key := reactionKey(msg.Account, msg.Conversation, target, msg.ID.Dir, author)
	var r Reaction
	old, err := t.load(key, &r)
	if errors.Is(err, ErrNotFound) || err == nil && r.Message != msg.ID {
		return nil
	}
	if err != nil {
		return err
	}
	r.Emoji = ""
	return t.update(key, old, r)
}

// isStray reports whether a message is a reaction to one that the conversation does
// not have. It is kept, for the message may come later, and shown nowhere.
func (t *txn) isStray(msg *Message, reaction *ReactionTo) (bool, error) {
	if reaction == nil {
		return false, nil
	}
	for _, dir := range []Direction{In, Out} {
		known, err := t.has(refKey(msg.Account, msg.Conversation, MessageID{Dir: dir, GUID: reaction.Target}))
		if known || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Reactions returns the reactions to one message that count, the contact's or the other
// members' before ours. It returns none for a message that the conversation does not have.
func (s *Store) Reactions(account identity.PublicKey, conversation ConversationID, target int64) ([]Reaction, error) {
	var found []Reaction
	err := s.read(func(r rows) error {
		if known, err := hasGUID(r, account, conversation, target); err != nil || !known {
			return err
		}
		for row, err := range scanPrefix(r, reactionPrefix(account, conversation, target)) {
			if err != nil {
				return err
			}
			key, err := parseKey(row.key)
			if err != nil {
				return err
			}
			reaction := Reaction{Target: target, Dir: key.message.Dir, Author: key.other}
			if err := row.load(&reaction); err != nil {
				return err
			}
			if reaction.Emoji != "" {
				found = append(found, reaction)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reactions in conversation %s: %w", conversation.Short(), err)
	}
	return found, nil
}

// GroupReaction returns the reaction of somebody to a message of a group that counts, for the
// account. Its Emoji is "" when it was taken back. It returns [ErrNotFound] for none.
func (s *Store) GroupReaction(account identity.PublicKey, group ConversationID, target int64, author identity.PublicKey) (Reaction, error) {
	r := Reaction{Target: target, Author: author}
	if author == account {
		r.Dir = Out
	}
	err := s.read(func(rs rows) error { return loadRow(rs, reactionKey(account, group, target, r.Dir, author), &r) })
	if err != nil {
		return Reaction{}, fmt.Errorf("reaction in group %s: %w", group.Short(), err)
	}
	return r, nil
}

// hasGUID reports whether a conversation has a message with the guid, of either
// side.
func hasGUID(r rows, account identity.PublicKey, conversation ConversationID, guid int64) (bool, error) {
	for _, dir := range []Direction{In, Out} {
		_, err := getRow(r, refKey(account, conversation, MessageID{Dir: dir, GUID: guid}))
		if !errors.Is(err, ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}
