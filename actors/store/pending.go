// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mimird/mimird/proto/identity"
)

// maxPendingEvents is how many events behind its floor Pending reads before it visits
// the conversations one by one: about as much work as to visit a thousand.
const maxPendingEvents = 8192

// floors remembers of each consumer and account an event up to which it has dealt with
// all events, whatever their conversation. A cursor never moves back, so a floor is true
// until the account is removed. It is only for speed: a consumer without a floor has
// dealt with nothing.
type floors struct {
	mu       sync.Mutex
	removals uint64 // see view
	known    map[floorOf]uint64
}

type floorOf struct {
	account  identity.PublicKey
	consumer string
}

// get returns the floor that is true in a view after a number of removals.
func (f *floors) get(of floorOf, removals uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removals != removals {
		return 0
	}
	return f.known[of]
}

// raise notes a floor that was read in a view after a number of removals.
func (f *floors) raise(of floorOf, seq, removals uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removals > removals {
		return
	}
	if f.known == nil || f.removals < removals {
		f.removals, f.known = removals, make(map[floorOf]uint64)
	}
	f.known[of] = max(f.known[of], seq)
}

// Pending returns the conversations of an account with events that the consumer
// has not dealt with, in the order of their ids. The zero conversation, which is about
// the account itself, is among them when it has some.
//
// The first call after Open visits all conversations. Later ones read what has happened
// since the first event that the consumer has not dealt with.
func (s *Store) Pending(consumer string, account identity.PublicKey) ([]PendingConversation, error) {
	if !validName(consumer) {
		return nil, fmt.Errorf("pending conversations: consumer name of %d bytes: %w", len(consumer), ErrInvalid)
	}
	var found []PendingConversation
	of := floorOf{account, consumer}
	err := s.readView(func(r rows, removals uint64) error {
		p := pending{rows: r, of: of}
		done, err := false, error(nil)
		if floor := s.floors.get(of, removals); floor > 0 {
			done, err = p.scan(floor)
		}
		if err == nil && !done {
			err = p.visit()
		}
		if err != nil {
			return err
		}
		found = p.found
		s.floors.raise(of, p.floor, removals)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pending conversations of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// pending is one search for pending conversations.
type pending struct {
	rows  rows
	of    floorOf
	found []PendingConversation
	floor uint64 // of the consumer now
}

// scan reads the events after a floor. It returns false when there are too many.
func (p *pending) scan(floor uint64) (done bool, err error) {
	later := make(map[ConversationID]*PendingConversation)
	p.floor = floor
	blocked := false // there was an event above the floor
	n := 0
	for row, err := range scanAfter(p.rows, tablePrefix(p.of.account, tableEvent), eventKey(p.of.account, floor)) {
		if n++; err != nil || n > maxPendingEvents {
			return false, err
		}
		var ev Event
		if err := row.load(&ev); err != nil {
			return false, err
		}
		seq := row.number()
		at := later[ev.Conversation]
		if at == nil {
			at = &PendingConversation{Conversation: ev.Conversation}
			if at.Cursor, err = readCursor(p.rows, p.of.consumer, p.of.account, ev.Conversation); err != nil {
				return false, err
			}
			later[ev.Conversation] = at
		}
		at.Last = seq
		blocked = blocked || seq > at.Cursor
		if !blocked {
			p.floor = seq
		}
	}
	for _, at := range later {
		if at.Cursor < at.Last {
			p.found = append(p.found, *at)
		}
	}
	slices.SortFunc(p.found, func(a, b PendingConversation) int { return bytes.Compare(a.Conversation[:], b.Conversation[:]) })
	return true, nil
}

// visit looks for the first event behind each cursor.
func (p *pending) visit() (err error) {
	if p.floor, err = lastNumber(p.rows, tablePrefix(p.of.account, tableEvent)); err != nil {
		return err
	}
	for _, kind := range conversationKinds {
		if err := p.visitKind(kind); err != nil {
			return err
		}
	}
	return nil
}

func (p *pending) visitKind(kind ConversationKind) error {
	cursors, err := p.cursors(kind)
	if err != nil {
		return err
	}
	prefix := tablePrefix(p.of.account, tableFor(tableConvLog, kind))
	it, err := p.rows.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return rowError("open iterator", err)
	}
	defer func() { _ = it.Close() }() // its error is it.Error()
	for valid := it.First(); valid; {
		k, err := parseKey(it.Key())
		if err != nil {
			return err
		}
		cursor := cursors[k.conversation]
		if k.number <= cursor { // the usual case: one seek for each conversation
			valid = it.SeekGE(convLogKey(p.of.account, k.conversation, cursor+1))
			continue
		}
		p.floor = min(p.floor, k.number-1)
		end := prefixEnd(conversationPrefix(p.of.account, tableConvLog, k.conversation))
		if !it.SeekLT(end) {
			break // an error
		}
		p.found = append(p.found, PendingConversation{Conversation: k.conversation, Last: trailingUint64(it.Key()), Cursor: cursor})
		valid = it.Next()
	}
	return rowError("iterate", it.Error())
}

// cursors reads those that the consumer has moved.
func (p *pending) cursors(kind ConversationKind) (map[ConversationID]uint64, error) {
	cursors := make(map[ConversationID]uint64)
	key := cursorKey(p.of.account, p.of.consumer, newConversationID(kind, [conversationSize]byte{}))
	for row, err := range scanPrefix(p.rows, key[:len(key)-conversationSize]) {
		if err != nil {
			return nil, err
		}
		k, err := parseKey(row.key)
		if err != nil {
			return nil, err
		}
		var seq uint64
		if err := row.load(&seq); err != nil {
			return nil, fmt.Errorf("cursor of %s: %w", p.of.consumer, err)
		}
		cursors[k.conversation] = seq
	}
	return cursors, nil
}
