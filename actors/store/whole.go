// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"iter"

	"github.com/mimird/mimird/proto/identity"
)

// Reads of everything. A page is for a caller that shows a part, or has a cursor and
// comes back; a caller that needs all rows uses one of these, and one that needs their
// number counts. All see the state as of the call, however long they take, and read one
// row at a time. They must be iterated to be closed; a long one keeps old rows on the
// disk.

// Undelivered iterates over all undelivered messages of a conversation, oldest
// first. An error is the last thing it yields.
func (s *Store) Undelivered(account identity.PublicKey, conversation ConversationID) iter.Seq2[Message, error] {
	return s.UndeliveredFrom(account, conversation, 0)
}

// UndeliveredFrom is Undelivered from a position on; see [Store.Outbox].
func (s *Store) UndeliveredFrom(account identity.PublicKey, conversation ConversationID, from uint64) iter.Seq2[Message, error] {
	return whole(s, "outbox of "+conversation.Short(), func(r rows) iter.Seq2[Message, error] {
		return func(yield func(Message, error) bool) {
			undelivered := scan(r, outboxKey(account, conversation, from), prefixEnd(conversationPrefix(account, tableOutbox, conversation)))
			for row, err := range undelivered {
				if err != nil {
					yield(Message{}, err)
					return
				}
				msg, err := readMessage(r, account, conversation, row.number())
				if !yield(msg, err) || err != nil {
					return
				}
			}
		}
	})
}

// mediaRow reads a row of tableMedia.
func mediaRow(account identity.PublicKey, found row, err error) (Media, error) {
	if err != nil {
		return Media{}, err
	}
	k, err := parseKey(found.key)
	if err != nil {
		return Media{}, err
	}
	m := Media{Account: account, Conversation: k.conversation, Message: k.message}
	return m, found.load(&m)
}

// whole reads with one view of the store.
func whole[T any](s *Store, what string, read func(rows) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		err := s.read(func(r rows) error {
			for value, err := range read(r) {
				if err != nil {
					return err
				}
				if !yield(value, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			var none T
			yield(none, fmt.Errorf("%s: %w", what, err))
		}
	}
}

// OutboxSize is how much is undelivered.
type OutboxSize struct {
	Messages int
	Bytes    uint64 // of their payloads
}

// OutboxSize counts the undelivered messages of a conversation, or of the whole
// account when conversation is zero.
func (s *Store) OutboxSize(account identity.PublicKey, conversation ConversationID) (OutboxSize, error) {
	var size OutboxSize
	err := s.read(func(r rows) error {
		undelivered := scanKinds(r, account, tableOutbox)
		if !conversation.IsZero() {
			undelivered = scanPrefix(r, conversationPrefix(account, tableOutbox, conversation))
		}
		for row, err := range undelivered {
			if err != nil {
				return err
			}
			var bytes uint64
			if err := row.load(&bytes); err != nil {
				return err
			}
			size.Messages++
			size.Bytes += bytes
		}
		return nil
	})
	if err != nil {
		return OutboxSize{}, fmt.Errorf("outbox of account %s: %w", account.Short(), err)
	}
	return size, nil
}

// CountConversationEvents counts the events of a conversation after a given one.
func (s *Store) CountConversationEvents(account identity.PublicKey, conversation ConversationID, after uint64) (int, error) {
	prefix := conversationPrefix(account, tableConvLog, conversation)
	n, err := s.countAfter(prefix, convLogKey(account, conversation, after))
	if err != nil {
		return 0, fmt.Errorf("events of %s: %w", conversation.Short(), err)
	}
	return n, nil
}

// CountJournal counts the unfinished entries of a queue.
func (s *Store) CountJournal(queue string) (int, error) {
	if !validName(queue) {
		return 0, fmt.Errorf("queue name of %d bytes: %w", len(queue), ErrInvalid)
	}
	n, err := s.countAfter(journalPrefix(queue, tableEntry), entryKey(queue, 0))
	if err != nil {
		return 0, fmt.Errorf("journal %s: %w", queue, err)
	}
	return n, nil
}

// countAfter counts rows without reading their values.
func (s *Store) countAfter(prefix, after []byte) (n int, err error) {
	err = s.read(func(r rows) error {
		for _, err := range scanAfter(r, prefix, after) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// errPageTooLarge refuses a limit that a page does not have: the page
// would look complete.
var errPageTooLarge = errors.New("limit above the largest page")
