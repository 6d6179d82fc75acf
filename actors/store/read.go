// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"math"

	"github.com/mimird/mimird/proto/identity"
)

// Accounts returns all accounts, in the order of their ids.
func (s *Store) Accounts() ([]Account, error) {
	var found []Account
	err := s.read(func(r rows) error {
		for row, err := range scanLast(r, []byte{spaceAccount}, identity.KeySize) {
			if err != nil {
				return err
			}
			key, err := parseKey(row.key)
			if err != nil {
				return err
			}
			account := Account{ID: key.account}
			if err := loadRow(r, accountKey(key.account), &account); err != nil {
				return missingIsCorrupt(err)
			}
			found = append(found, account)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return found, nil
}

// Account returns one account, or [ErrNotFound].
func (s *Store) Account(id identity.PublicKey) (Account, error) {
	account := Account{ID: id}
	err := s.read(func(r rows) error { return loadRow(r, accountKey(id), &account) })
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", id.Short(), err)
	}
	return account, nil
}

// Contacts returns all contacts of an account, in the order of their ids.
func (s *Store) Contacts(account identity.PublicKey) ([]Contact, error) {
	var found []Contact
	err := s.eachContact(account, func(c Contact) error {
		found = append(found, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ContactsAfter returns a page of the contacts of an account, in the order of their ids:
// those whose ids come after the given one. A limit of 0 means the largest page.
func (s *Store) ContactsAfter(account, after identity.PublicKey, limit int) (found []Contact, err error) {
	err = s.read(func(r rows) error {
		rows := scanAfter(r, tablePrefix(account, tableContact), contactKey(account, after))
		found, err = page(rows, limit, func(row row) (Contact, int, error) {
			c, err := contactIn(account, row)
			return c, len(c.Avatar), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("contacts of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// contactIn reads the row of a contact.
func contactIn(account identity.PublicKey, row row) (Contact, error) {
	key, err := parseKey(row.key)
	if err != nil {
		return Contact{}, err
	}
	contact := Contact{Account: account, ID: key.conversation.Contact()}
	return contact, row.load(&contact)
}

// eachContact calls f for the contacts of an account, in the order of their ids and as
// they are at the call, until f returns an error.
func (s *Store) eachContact(account identity.PublicKey, f func(Contact) error) error {
	err := s.read(func(r rows) error { return eachContact(r, account, f) })
	if err != nil {
		return fmt.Errorf("contacts of account %s: %w", account.Short(), err)
	}
	return nil
}

func eachContact(r rows, account identity.PublicKey, f func(Contact) error) error {
	for row, err := range scanPrefix(r, tablePrefix(account, tableContact)) {
		if err != nil {
			return err
		}
		contact, err := contactIn(account, row)
		if err != nil {
			return err
		}
		if err := f(contact); err != nil {
			return err
		}
	}
	return nil
}

// Contact returns one contact, or [ErrNotFound].
func (s *Store) Contact(account, contact identity.PublicKey) (Contact, error) {
	found := Contact{Account: account, ID: contact}
	err := s.read(func(r rows) error { return loadRow(r, contactKey(account, contact), &found) })
	if err != nil {
		return Contact{}, fmt.Errorf("contact %s of account %s: %w", contact.Short(), account.Short(), err)
	}
	return found, nil
}

// Message returns one message, or [ErrNotFound], also when it has expired.
func (s *Store) Message(account identity.PublicKey, conversation ConversationID, id MessageID) (Message, error) {
	var msg Message
	err := s.read(func(r rows) error {
		var ref messageRef
		err := loadRow(r, refKey(account, conversation, id), &ref)
		if err != nil {
			return err
		}
		msg, err = readMessage(r, account, conversation, ref.Order)
		if err == nil && msg.IsExpired() {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return Message{}, fmt.Errorf("message %s: %w", id, err)
	}
	return msg, nil
}

// MessageSource returns the source for which a message was queued, "" for none. It is known
// also when the message has expired: it lasts as long as what recognises a repeat.
// [ErrNotFound] says that there is no such message.
func (s *Store) MessageSource(account identity.PublicKey, conversation ConversationID, id MessageID) (string, error) {
	var source string
	err := s.read(func(r rows) error {
		var ref messageRef
		if err := loadRow(r, refKey(account, conversation, id), &ref); err != nil {
			return err
		}
		msg, err := readMessage(r, account, conversation, ref.Order)
		source = msg.Source
		return err
	})
	if err != nil {
		return "", fmt.Errorf("source of message %s: %w", id, err)
	}
	return source, nil
}

// readMessage reads a message that another row promises.
func readMessage(r rows, account identity.PublicKey, conversation ConversationID, order uint64) (Message, error) {
	msg := Message{Account: account, Conversation: conversation, Order: order}
	return msg, missingIsCorrupt(loadRow(r, messageKey(account, conversation, order), &msg))
}

// Messages returns a page of a conversation, newest first: the messages below
// the position before, or the newest ones when before is 0. A limit of 0 means
// the largest page. Those that have expired are left out.
func (s *Store) Messages(account identity.PublicKey, conversation ConversationID, before uint64, limit int) ([]Message, error) {
	prefix := conversationPrefix(account, tableMessage, conversation)
	upper := prefixEnd(prefix)
	if before > 0 {
		upper = messageKey(account, conversation, before)
	}
	var found []Message
	err := s.read(func(r rows) (err error) {
		found, err = page(scanBack(r, prefix, upper), limit, messageIn(account, conversation))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("messages of %s: %w", conversation.Short(), err)
	}
	return found, nil
}

// MessagesAfter returns a page of a conversation, oldest first: the messages above the
// position after. A limit of 0 means the largest page.
func (s *Store) MessagesAfter(account identity.PublicKey, conversation ConversationID, after uint64, limit int) ([]Message, error) {
	if after == math.MaxUint64 {
		return nil, nil
	}
	var found []Message
	err := s.read(func(r rows) (err error) {
		above := scan(r, messageKey(account, conversation, after+1), prefixEnd(conversationPrefix(account, tableMessage, conversation)))
		found, err = page(above, limit, messageIn(account, conversation))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("messages of %s: %w", conversation.Short(), err)
	}
	return found, nil
}

// messageIn reads a row of the messages of a conversation, and leaves out what has expired.
func messageIn(account identity.PublicKey, conversation ConversationID) func(row) (Message, int, error) {
	return func(row row) (Message, int, error) {
		msg := Message{Account: account, Conversation: conversation, Order: row.number()}
		err := row.load(&msg)
		if err == nil && msg.IsExpired() {
			err = errSkip
		}
		return msg, len(msg.Payload), err
	}
}

// Outbox returns a page of the undelivered messages of a conversation from a position
// on, oldest first. The rows of delivered messages have to be passed over until Pebble
// has merged them away: a frequent caller passes the position of the first one that it
// found last.
func (s *Store) Outbox(account identity.PublicKey, conversation ConversationID, from uint64, limit int) ([]Message, error) {
	var found []Message
	err := s.read(func(r rows) (err error) {
		undelivered := scan(r, outboxKey(account, conversation, from), prefixEnd(conversationPrefix(account, tableOutbox, conversation)))
		found, err = page(undelivered, limit, func(row row) (Message, int, error) {
			msg, err := readMessage(r, account, conversation, row.number())
			return msg, len(msg.Payload), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("outbox of %s: %w", conversation.Short(), err)
	}
	return found, nil
}

// OutboxConversations returns the conversations in which something is undelivered.
func (s *Store) OutboxConversations(account identity.PublicKey) ([]ConversationID, error) {
	var found []ConversationID
	err := s.read(func(r rows) error {
		for row, err := range scanConversations(r, account, tableOutbox) {
			if err != nil {
				return err
			}
			key, err := parseKey(row.key)
			if err != nil {
				return err
			}
			found = append(found, key.conversation)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("outbox of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// Events returns a page of an account's log: the events after the given one.
// What it returns is synced.
func (s *Store) Events(account identity.PublicKey, after uint64, limit int) ([]Event, error) {
	var found []Event
	err := s.read(func(r rows) (err error) {
		later := scanAfter(r, tablePrefix(account, tableEvent), eventKey(account, after))
		found, err = page(later, limit, func(row row) (Event, int, error) {
			ev := Event{Account: account, Seq: row.number()}
			err := row.load(&ev)
			return ev, len(ev.Reason), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// LastEvent returns the sequence number of an account's last event, 0 for none.
func (s *Store) LastEvent(account identity.PublicKey) (uint64, error) {
	var seq uint64
	err := s.read(func(r rows) (err error) {
		seq, err = lastNumber(r, tablePrefix(account, tableEvent))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("last event of account %s: %w", account.Short(), err)
	}
	return seq, nil
}

// ConversationEvents returns a page of the events of one conversation: those
// after the given one. What it returns is synced.
func (s *Store) ConversationEvents(account identity.PublicKey, conversation ConversationID, after uint64, limit int) ([]Event, error) {
	var found []Event
	err := s.read(func(r rows) (err error) {
		prefix := conversationPrefix(account, tableConvLog, conversation)
		later := scanAfter(r, prefix, convLogKey(account, conversation, after))
		found, err = page(later, limit, func(row row) (Event, int, error) {
			ev := Event{Account: account, Seq: row.number()}
			err := missingIsCorrupt(loadRow(r, eventKey(account, ev.Seq), &ev))
			return ev, len(ev.Reason), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events of %s: %w", conversation.Short(), err)
	}
	return found, nil
}

// Cursor returns the last event of a conversation that a consumer has dealt
// with, 0 for none.
func (s *Store) Cursor(consumer string, account identity.PublicKey, conversation ConversationID) (uint64, error) {
	var seq uint64
	err := s.read(func(r rows) (err error) {
		seq, err = readCursor(r, consumer, account, conversation)
		return err
	})
	return seq, err
}

func readCursor(r rows, consumer string, account identity.PublicKey, conversation ConversationID) (uint64, error) {
	if !validName(consumer) {
		return 0, fmt.Errorf("consumer name of %d bytes: %w", len(consumer), ErrInvalid)
	}
	var seq uint64
	err := loadRow(r, cursorKey(account, consumer, conversation), &seq)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("cursor of %s: %w", consumer, err)
	}
	return seq, nil
}

// Journal returns a page of the unfinished entries of a queue, oldest first:
// those after the given one.
func (s *Store) Journal(queue string, after uint64, limit int) ([]JournalEntry, error) {
	if !validName(queue) {
		return nil, fmt.Errorf("queue name of %d bytes: %w", len(queue), ErrInvalid)
	}
	var found []JournalEntry
	err := s.read(func(r rows) (err error) {
		later := scanAfter(r, journalPrefix(queue, tableEntry), entryKey(queue, after))
		found, err = page(later, limit, func(row row) (JournalEntry, int, error) {
			entry := JournalEntry{Queue: queue, Seq: row.number()}
			err := row.load(&entry)
			return entry, len(entry.Body), err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", queue, err)
	}
	return found, nil
}

// Addresses returns what the resolver has stored for an identity,
// if anything.
func (s *Store) Addresses(id identity.PublicKey) ([]Address, error) {
	var found []Address
	err := s.read(func(r rows) error { return loadRow(r, addressKey(id), &found) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("addresses of %s: %w", id.Short(), err)
	}
	return found, nil
}

// missingIsCorrupt reports a row that is missing although another row says that it
// exists.
func missingIsCorrupt(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("a row that another one names is missing: %w", ErrCorrupt)
	}
	return err
}
