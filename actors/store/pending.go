// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxPendingEvents is how many events behind its floor Pending reads before it visits
	// the conversations one by one: about as much work as to visit a thousand.
	maxPendingEvents = 8192
	// maxFloorExcept is how many conversations a floor leaves out.
	maxFloorExcept = 64
	// floorMoves is how many moves of a consumer's cursors pass before its floor is stored
	// again, and floorEvents how many events are read for that, at most. It is more, so that
	// a floor that was left behind catches up.
	floorMoves  = 128
	floorEvents = 1024
)

// floor is what a consumer has dealt with in an account, whatever the conversation: all
// events up to Seq, but for those of the conversations in Except. A cursor never moves
// back, so a floor is true until the account is removed. It is only for speed: a consumer
// without a floor has dealt with nothing.
//
// Floors are remembered, and stored from time to time together with a cursor
// ([txn.storeFloor]), for those consumers that ask what is pending.
type floor struct {
	Seq    uint64           `cbor:"1,keyasint"`
	Except []ConversationID `cbor:"2,keyasint,omitempty"` // at most maxFloorExcept, in the order of their first pending events
}

// better reports whether a floor says more than another one.
func (f floor) better(than floor) bool {
	return f.Seq > than.Seq || f.Seq == than.Seq && len(f.Except) < len(than.Except)
}

// readFloor returns the floor that is stored. One that cannot be read is as good as none:
// Check reports it, and it is stored again.
func readFloor(r rows, of floorOf) floor {
	var f floor
	if err := loadRow(r, floorKey(of.account, of.consumer), &f); err != nil {
		return floor{}
	}
	return f
}

// floors remembers the floors of the consumers that have asked what is pending.
type floors struct {
	mu       sync.Mutex
	removals uint64 // see view
	known    map[floorOf]floor
	asked    map[floorOf]bool
}

type floorOf struct {
	account  identity.PublicKey
	consumer string
}

// get returns the floor that is true in a view after a number of removals, and whether the
// consumer has asked what is pending.
func (f *floors) get(of floorOf, removals uint64) (known floor, asked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removals == removals {
		known = f.known[of]
	}
	return known, f.asked[of]
}

// raise notes a floor that was read in a view after a number of removals, for a consumer
// that asks what is pending.
func (f *floors) raise(of floorOf, to floor, removals uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = make(map[floorOf]bool)
	}
	f.asked[of] = true
	if f.removals > removals {
		return
	}
	if f.known == nil || f.removals < removals {
		f.removals, f.known = removals, make(map[floorOf]floor)
	}
	if to.better(f.known[of]) {
		f.known[of] = to
	}
}

// Pending returns the conversations of an account with events that the consumer
// has not dealt with, in the order of their ids. The zero conversation, which is about
// the account itself, is among them when it has some.
//
// It reads what has happened since the consumer's floor. Without one, as in the first call
// for a consumer, or when much has happened since, it visits all conversations.
func (s *Store) Pending(consumer string, account identity.PublicKey) ([]PendingConversation, error) {
	if !validName(consumer) {
		return nil, fmt.Errorf("pending conversations: consumer name of %d bytes: %w", len(consumer), ErrInvalid)
	}
	var found []PendingConversation
	of := floorOf{account, consumer}
	err := s.readView(func(r rows, removals uint64) error {
		p := pending{rows: r, of: of}
		from, _ := s.floors.get(of, removals)
		if from.Seq == 0 {
			from = readFloor(r, of)
		}
		done, err := false, error(nil)
		if from.Seq > 0 {
			done, err = p.scan(from, maxPendingEvents)
		}
		if err == nil && !done {
			err = p.visit()
		}
		if err != nil {
			return err
		}
		for _, at := range p.found {
			found = append(found, at.PendingConversation)
		}
		s.floors.raise(of, p.floor(), removals)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pending conversations of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// storeFloor stores the floor of a consumer whose cursor the operation moves, if it has
// moved often since the last time and asks what is pending. It reads what is committed,
// which is less than the operation sees.
func (t *txn) storeFloor(of floorOf) error {
	w := t.w
	moves := w.moves[of]
	w.moves[of] = moves + 1
	if moves%floorMoves != 0 {
		return nil
	}
	v := w.store.views.acquire()
	if v == nil {
		return nil // the store is closed
	}
	defer w.store.views.release(v)
	from, asked := w.store.floors.get(of, v.removals)
	if !asked || t.isCleared(tablePrefix(of.account, tableFloor)) {
		return nil
	}
	if from.Seq == 0 {
		from = readFloor(v.snapshot, of)
	}
	p := pending{rows: v.snapshot, of: of}
	if _, err := p.scan(from, floorEvents); err != nil {
		return err
	}
	to := p.floor()
	w.store.floors.raise(of, to, v.removals)
	key := floorKey(of.account, of.consumer)
	before, err := t.get(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	after, err := encode(to)
	if err == nil && !bytes.Equal(before, after) {
		t.putRaw(key, after)
	}
	return err
}

// pending is one search for pending conversations.
type pending struct {
	rows  rows
	of    floorOf
	found []foundPending
	last  uint64 // all events up to this one were looked at
}

// foundPending is a pending conversation with its first event that is pending.
type foundPending struct {
	PendingConversation
	first uint64
}

// floor returns the floor that the search has shown.
func (p *pending) floor() floor {
	f := floor{Seq: p.last}
	byFirst := slices.Clone(p.found)
	slices.SortFunc(byFirst, func(a, b foundPending) int { return cmp.Compare(a.first, b.first) })
	for i, at := range byFirst {
		if at.first > f.Seq {
			break
		}
		if i == maxFloorExcept {
			f.Seq = at.first - 1
			break
		}
		f.Except = append(f.Except, at.Conversation)
	}
	return f
}

// scan reads the events after a floor. It returns false when there are more than a limit:
// then conversations that have only later ones are not found.
func (p *pending) scan(from floor, limit int) (done bool, err error) {
	done, p.last = true, from.Seq
	at := make(map[ConversationID]*foundPending)
	for _, conversation := range from.Except {
		at[conversation] = nil
		if err := p.visitOne(conversation); err != nil {
			return false, err
		}
	}
	n := 0
	for row, err := range scanAfter(p.rows, tablePrefix(p.of.account, tableEvent), eventKey(p.of.account, from.Seq)) {
		if err != nil {
			return false, err
		}
		if n++; n > limit {
			done = false
			break
		}
		var ev Event
		if err := row.load(&ev); err != nil {
			return false, err
		}
		p.last = row.number()
		one, known := at[ev.Conversation]
		if !known {
			one = &foundPending{PendingConversation: PendingConversation{Conversation: ev.Conversation}}
			if one.Cursor, err = readCursor(p.rows, p.of.consumer, p.of.account, ev.Conversation); err != nil {
				return false, err
			}
			at[ev.Conversation] = one
		}
		if one != nil && p.last > one.Cursor {
			if one.Last = p.last; one.first == 0 {
				one.first = p.last
			}
		}
	}
	for _, one := range at {
		if one != nil && one.first > 0 {
			p.found = append(p.found, *one)
		}
	}
	slices.SortFunc(p.found, func(a, b foundPending) int { return bytes.Compare(a.Conversation[:], b.Conversation[:]) })
	return done, nil
}

// visitOne looks for what is pending in one conversation.
func (p *pending) visitOne(conversation ConversationID) error {
	cursor, err := readCursor(p.rows, p.of.consumer, p.of.account, conversation)
	if err != nil {
		return err
	}
	prefix := conversationPrefix(p.of.account, tableConvLog, conversation)
	for row, err := range scanAfter(p.rows, prefix, convLogKey(p.of.account, conversation, cursor)) {
		if err != nil {
			return err
		}
		last, err := lastNumber(p.rows, prefix)
		if err != nil {
			return err
		}
		p.found = append(p.found, foundPending{PendingConversation{Conversation: conversation, Last: last, Cursor: cursor}, row.number()})
		break
	}
	return nil
}

// visit looks for the first event behind each cursor.
func (p *pending) visit() (err error) {
	p.found = nil
	if p.last, err = lastNumber(p.rows, tablePrefix(p.of.account, tableEvent)); err != nil {
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
		end := prefixEnd(conversationPrefix(p.of.account, tableConvLog, k.conversation))
		if !it.SeekLT(end) {
			break // an error
		}
		at := PendingConversation{Conversation: k.conversation, Last: trailingUint64(it.Key()), Cursor: cursor}
		p.found = append(p.found, foundPending{at, k.number})
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
