// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mimird/mimird/proto/identity"
)

// Messages that are not wanted any more expire. What remains of one is its row without
// content: it keeps its place, guid, source and state, and instead of what it said a
// digest of that. So whatever recognised a repeat of the message still does, for ever, and
// nothing that names the message names nothing. Readers do not see it: [Store.Message] has
// ErrNotFound for it and [Store.Messages] leaves it out.
//
// A message that is undelivered, whose file is being transferred, or about which a
// consumer of the event log has an event before it, does not expire. Which ones these are
// is read first, from a snapshot ([Store.Expirable]); the operation then refuses to act
// when the log has grown since.

const (
	// MaxExpire is how many messages or events one operation removes.
	MaxExpire = 256
	// expireLook is how many messages Expirable looks at.
	expireLook = 8 * MaxExpire
	// maxBehind is how many events of a conversation a consumer may have before it for
	// Expirable to read them.
	maxBehind = 10_000
)

// ExpireMessages removes the content of messages, and the files and reactions that belong
// to them. Orders and Seq are from [Store.Expirable]. The result is [Expired]. There is an
// event when something was removed.
//
// Errors: [ErrNotFound] when the contact or group is unknown, [ErrInvalid].
type ExpireMessages struct {
	Account      identity.PublicKey
	Conversation ConversationID
	Orders       []uint64
	// Seq is the last event of the account when the orders were chosen.
	Seq uint64
}

// Expired is the result of [ExpireMessages] and [TrimEvents].
type Expired struct {
	Count int
	// Busy says that something has happened in the account since, and nothing was done.
	Busy bool
}

// TrimEvents removes the oldest events of an account, those that [Store.Trimmable] has
// returned. The last event always stays: it has the number from which the log goes on. The
// result is [Expired].
type TrimEvents struct {
	Account identity.PublicKey
	Events  []Event
}

// Consumers says which consumers of the event log are waited for.
type Consumers struct {
	// Ignore are not: what they have before them may go. WholeLog have one cursor for all
	// conversations, under the account itself; all others have one for each.
	Ignore, WholeLog []string
	// Only has consumers that follow the conversations named, and no other, whatever cursors
	// they have.
	Only map[string][]ConversationID
}

// Expirable is what [Store.Expirable] has found.
type Expirable struct {
	Orders []uint64 // at most MaxExpire
	Seq    uint64
	// Next is where to go on, 0 at the end. Through is the order up to which nothing is
	// left that could expire later.
	Next, Through uint64
	// Undelivered and InTransfer count messages that do not expire for that reason.
	Undelivered, InTransfer int
	// Awaited counts those that a consumer has not seen, By names one.
	Awaited int
	By      string
}

func (op ExpireMessages) size() int { return opOverhead * (1 + len(op.Orders)) }

func (op ExpireMessages) apply(t *txn) (any, error) {
	if err := checkConversation(op.Account, op.Conversation); err != nil {
		return nil, err
	}
	if len(op.Orders) > MaxExpire {
		return nil, fmt.Errorf("%d messages: %w", len(op.Orders), ErrInvalid)
	}
	if err := t.needConversation(op.Account, op.Conversation); err != nil {
		return nil, err
	}
	last, err := t.lastSeq(op.Account)
	if err != nil {
		return nil, err
	}
	if last != op.Seq {
		return Expired{Busy: true}, nil
	}
	result, upto := Expired{}, uint64(0)
	for _, order := range op.Orders {
		msg, raw, err := t.message(op.Account, op.Conversation, order)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if msg.IsExpired() || msg.State == StatePending {
			continue
		}
		if err := t.expire(msg, raw); err != nil {
			return nil, err
		}
		upto = max(upto, order)
		result.Count++
	}
	if result.Count == 0 {
		return result, nil
	}
	return result, t.event(Event{Account: op.Account, Conversation: op.Conversation, Kind: MessagesExpired, Order: upto})
}

// expire leaves of a message what recognises a repeat of it.
func (t *txn) expire(msg Message, raw []byte) error {
	if err := t.removeMedia(msg.Account, msg.Conversation, msg.ID); err != nil {
		return err
	}
	if err := t.removeReactions(msg.Account, msg.Conversation, msg.ID.GUID); err != nil {
		return err
	}
	msg.Digest = contentHash(msg.Type, msg.ReplyTo, msg.Payload)
	msg.Payload, msg.ReplyTo, msg.Reason = nil, 0, ""
	return t.updateMessage(msg, raw)
}

// removeReactions removes what counts as reactions to a message.
func (t *txn) removeReactions(account identity.PublicKey, conversation ConversationID, target int64) error {
	if conversation.Kind() == KindGroup {
		return t.scan(reactionPrefix(account, conversation, target), func(key, _ []byte) error {
			t.delete(bytes.Clone(key))
			return nil
		})
	}
	for _, dir := range []Direction{In, Out} {
		key := reactionKey(account, conversation, target, dir, identity.PublicKey{})
		if known, err := t.has(key); err != nil {
			return err
		} else if known {
			t.delete(key)
		}
	}
	return nil
}

func (op TrimEvents) size() int { return opOverhead * (1 + len(op.Events)) }

func (op TrimEvents) apply(t *txn) (any, error) {
	if len(op.Events) > MaxExpire {
		return nil, fmt.Errorf("%d events: %w", len(op.Events), ErrInvalid)
	}
	if err := t.needAccount(op.Account); err != nil {
		return nil, err
	}
	last, err := t.lastSeq(op.Account)
	if err != nil {
		return nil, err
	}
	for _, ev := range op.Events {
		if ev.Seq >= last {
			return nil, fmt.Errorf("event %d of %d: %w", ev.Seq, last, ErrInvalid)
		}
		t.delete(eventKey(op.Account, ev.Seq))
		t.delete(convLogKey(op.Account, ev.Conversation, ev.Seq))
	}
	return Expired{Count: len(op.Events)}, nil
}

// Expirable finds messages of a conversation that were stored before a time and may
// expire, from behind a position on. It reads the events that consumers have before them:
// when those are very many nothing may expire.
func (s *Store) Expirable(account identity.PublicKey, conversation ConversationID, before Millis, after uint64, c Consumers) (Expirable, error) {
	var found Expirable
	err := s.read(func(r rows) (err error) {
		found, err = expirable(r, account, conversation, before, after, c)
		return err
	})
	if err != nil {
		return Expirable{}, fmt.Errorf("messages of %s to expire: %w", conversation.Short(), err)
	}
	return found, nil
}

func expirable(r rows, account identity.PublicKey, conversation ConversationID, before Millis, after uint64, c Consumers) (Expirable, error) {
	var found Expirable
	var err error
	if found.Seq, err = lastNumber(r, tablePrefix(account, tableEvent)); err != nil {
		return found, err
	}
	needed, all, err := neededOrders(r, account, conversation, c)
	if err != nil {
		return found, err
	}
	prefix := conversationPrefix(account, tableMessage, conversation)
	found.Through = after
	through, looked := true, 0
	for row, err := range scanAfter(r, prefix, messageKey(account, conversation, after)) {
		if err != nil {
			return found, err
		}
		if looked++; looked > expireLook || len(found.Orders) == MaxExpire {
			return found, nil
		}
		msg := Message{Account: account, Conversation: conversation, Order: row.number()}
		if err := row.load(&msg); err != nil {
			return found, err
		}
		if msg.Created >= before {
			break // positions are given in the order of this time, but for jumps of the clock
		}
		found.Next = msg.Order
		by := needed[msg.Order]
		if by == "" {
			by = all
		}
		moving, err := inTransfer(r, msg)
		switch {
		case err != nil:
			return found, err
		case msg.IsExpired():
		case msg.State == StatePending:
			found.Undelivered++
			through = false
		case moving:
			found.InTransfer++
			through = false
		case by != "":
			found.Awaited, found.By = found.Awaited+1, by
			through = false
		default:
			found.Orders = append(found.Orders, msg.Order)
		}
		if through {
			found.Through = msg.Order
		}
	}
	found.Next = 0
	return found, nil
}

// inTransfer reports whether the file of a message is on its way.
func inTransfer(r rows, msg Message) (bool, error) {
	var m Media
	err := loadRow(r, mediaKey(msg.Account, msg.Conversation, msg.ID), &m)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return m.waits(), err
}

// neededOrders returns the messages about which a consumer has an event before it, with
// the name of the consumer; all is the name of one that has too many.
func neededOrders(r rows, account identity.PublicKey, conversation ConversationID, c Consumers) (needed map[uint64]string, all string, err error) {
	names, err := consumersOf(r, account, c)
	if err != nil {
		return nil, "", err
	}
	needed = make(map[uint64]string)
	for _, name := range names {
		cursor, err := c.cursor(r, account, name, conversation)
		if err != nil {
			return nil, "", err
		}
		events := 0
		prefix := conversationPrefix(account, tableConvLog, conversation)
		for row, err := range scanAfter(r, prefix, convLogKey(account, conversation, cursor)) {
			if err != nil {
				return nil, "", err
			}
			if events++; events > maxBehind {
				return needed, name, nil
			}
			var ev Event
			if err := loadRow(r, eventKey(account, row.number()), &ev); err != nil {
				return nil, "", missingIsCorrupt(err)
			}
			if !ev.Message.IsZero() {
				needed[ev.Order] = name
			}
		}
	}
	return needed, "", nil
}

// cursor returns how far a consumer is in a conversation. One that does not follow it is
// behind every event.
func (c Consumers) cursor(r rows, account identity.PublicKey, name string, conversation ConversationID) (uint64, error) {
	if followed, limited := c.Only[name]; limited && !slices.Contains(followed, conversation) {
		return math.MaxUint64, nil
	}
	for _, whole := range c.WholeLog {
		if name == whole {
			conversation = ConversationID{}
		}
	}
	return readCursor(r, name, account, conversation)
}

// consumersOf returns the consumers that have a cursor in an account: who has none does
// not follow it. The read mark is none: it is about what a person has seen. Only one row of
// each is read.
func consumersOf(r rows, account identity.PublicKey, c Consumers) ([]string, error) {
	seen := map[string]bool{ReadConsumer: true}
	for _, name := range c.Ignore {
		seen[name] = true
	}
	var names []string
	for _, kind := range conversationKinds {
		prefix := tablePrefix(account, tableFor(tableCursor, kind))
		for lower := prefix; ; {
			name, found, err := firstConsumer(r, lower, prefixEnd(prefix))
			if err != nil {
				return nil, err
			}
			if !found {
				break
			}
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
			lower = append(append(bytes.Clone(prefix), name...), 1)
		}
	}
	return names, nil
}

// firstConsumer returns the name in the first key of a part of the cursors.
func firstConsumer(r rows, lower, upper []byte) (name string, found bool, err error) {
	for row, err := range scan(r, lower, upper) {
		if err != nil {
			return "", false, err
		}
		k, err := parseKey(row.key)
		return k.name, err == nil, err
	}
	return "", false, nil
}

// Trimmable returns events of an account, the oldest first, that are older than a time and
// that every consumer is through with; at most [MaxExpire], and never the last one. It
// ends at the first event that has to stay; by names a consumer for which it does.
func (s *Store) Trimmable(account identity.PublicKey, before Millis, c Consumers) (events []Event, by string, err error) {
	err = s.read(func(r rows) error {
		last, err := lastNumber(r, tablePrefix(account, tableEvent))
		if err != nil {
			return err
		}
		names, err := consumersOf(r, account, c)
		if err != nil {
			return err
		}
		cursors := make(map[ConversationID]uint64) // the least
		holders := make(map[ConversationID]string)
		for row, err := range scanPrefix(r, tablePrefix(account, tableEvent)) {
			if err != nil {
				return err
			}
			ev := Event{Account: account, Seq: row.number()}
			if err := row.load(&ev); err != nil {
				return err
			}
			if ev.Seq >= last || ev.Time >= before || len(events) == MaxExpire {
				return nil
			}
			least, known := cursors[ev.Conversation]
			if !known {
				least = last
				for _, name := range names {
					cursor, err := c.cursor(r, account, name, ev.Conversation)
					if err != nil {
						return err
					}
					if cursor < least {
						least, holders[ev.Conversation] = cursor, name
					}
				}
				cursors[ev.Conversation] = least
			}
			if ev.Seq > least {
				by = holders[ev.Conversation]
				return nil
			}
			events = append(events, ev)
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("events of account %s to trim: %w", account.Short(), err)
	}
	return events, by, nil
}

// IsExpired reports whether the content of the message was removed by [ExpireMessages].
func (m *Message) IsExpired() bool { return len(m.Digest) > 0 }
