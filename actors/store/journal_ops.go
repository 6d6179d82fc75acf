// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"time"
)

const (
	// rememberIDs and rememberFor bound for how long the id of a finished journal
	// entry is known: homeservers repeat a transaction for hours, days at most.
	rememberIDs = 100_000
	rememberFor = Millis(30 * 24 * time.Hour / time.Millisecond)
	// rememberAtLeast keeps the newest ids whatever their age: a clock that jumps
	// ahead must not drop ids that a homeserver is about to repeat.
	rememberAtLeast = 1000
	// forgetAtOnce bounds the work of one operation. It is more than one, so that
	// the excess shrinks.
	forgetAtOnce = 16
	// budgetShare is the part of a journal that one budget may use.
	budgetShare = 8
)

func (op MoveCursor) size() int { return opOverhead }

func (op MoveCursor) apply(t *txn) (any, error) {
	if !validName(op.Consumer) {
		return nil, fmt.Errorf("consumer name of %d bytes: %w", len(op.Consumer), ErrInvalid)
	}
	if err := t.needAccount(op.Account); err != nil {
		return nil, err
	}
	a, err := t.w.account(t, op.Account)
	if err != nil {
		return nil, err
	}
	if op.Seq > a.lastSeq {
		// Such a cursor would skip events that have not happened yet.
		return nil, fmt.Errorf("cursor at %d, log ends at %d: %w", op.Seq, a.lastSeq, ErrInvalid)
	}
	key := cursorKey(op.Account, op.Consumer, op.Conversation)
	before, err := t.number(key)
	if err != nil || op.Seq <= before {
		return false, err
	}
	if err := t.put(key, op.Seq); err != nil {
		return nil, err
	}
	return true, t.storeFloor(floorOf{op.Account, op.Consumer})
}

// queueState are what the writer knows of a journal.
type queueState struct {
	lastSeq   uint64
	open      uint64 // unfinished entries
	firstDone uint64 // oldest remembered finish, lastDone+1 when there is none
	lastDone  uint64
	budgets   map[string]journalBudget // of unfinished entries
}

// journalBudget is what the unfinished entries of a budget use.
type journalBudget struct {
	open     uint64
	overflow bool // one of them took the last place
}

// errBudgetUsed is the ErrJournalFull of a budget.
var errBudgetUsed = fmt.Errorf("its budget is used: %w", ErrJournalFull)

// setBudget changes a budget so that rollback can restore it.
func (t *txn) setBudget(q *queueState, name string, now journalBudget) {
	before, had := q.budgets[name]
	t.undo = append(t.undo, func() {
		delete(q.budgets, name)
		if had {
			q.budgets[name] = before
		}
	})
	if q.budgets[name] = now; now.open == 0 {
		delete(q.budgets, name)
	}
}

func (w *writer) queue(t *txn, name string) (*queueState, error) {
	if q, ok := w.queues[name]; ok {
		return q, nil
	}
	q := &queueState{budgets: make(map[string]journalBudget)}
	var err error
	if q.lastSeq, err = t.number(lastSeqKey(name)); err != nil {
		return nil, err
	}
	if q.lastDone, err = t.last(journalPrefix(name, tableDone)); err != nil {
		return nil, err
	}
	q.firstDone = q.lastDone + 1
	for row, err := range scanPrefix(w.store.db, journalPrefix(name, tableDone)) {
		if err != nil {
			return nil, err
		}
		q.firstDone = row.number()
		break
	}
	for row, err := range scanPrefix(w.store.db, journalPrefix(name, tableEntry)) {
		if err != nil {
			return nil, err
		}
		q.open++
		var entry struct { // without the body
			Budget   string `cbor:"4,keyasint"`
			Overflow bool   `cbor:"5,keyasint"`
		}
		if err := row.load(&entry); err != nil {
			return nil, err
		}
		if entry.Budget != "" {
			b := q.budgets[entry.Budget]
			q.budgets[entry.Budget] = journalBudget{b.open + 1, b.overflow || entry.Overflow}
		}
	}
	w.queues[name] = q
	return q, nil
}

func (op AppendJournal) size() int { return opOverhead + len(op.Body) + 2*len(op.ID) + len(op.Budget) }

func (op AppendJournal) apply(t *txn) (any, error) {
	switch {
	case !validName(op.Queue):
		return nil, fmt.Errorf("queue name of %d bytes: %w", len(op.Queue), ErrInvalid)
	case len(op.Budget) > MaxJournalID:
		return nil, fmt.Errorf("journal budget of %d bytes: %w", len(op.Budget), ErrInvalid)
	case op.ID == "" || len(op.ID) > MaxJournalID:
		return nil, fmt.Errorf("journal id of %d bytes: %w", len(op.ID), ErrInvalid)
	case len(op.Body) > MaxBody:
		return nil, fmt.Errorf("journal body of %d bytes: %w", len(op.Body), ErrInvalid)
	}
	known, err := t.number(entryIDKey(op.Queue, op.ID))
	if err != nil {
		return nil, err
	}
	if known != 0 {
		return Journaled{Seq: known, Duplicate: true}, nil
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	q, err := t.w.queue(t, op.Queue)
	if err != nil {
		return nil, err
	}
	if q.open >= t.w.store.opts.JournalRows {
		return nil, fmt.Errorf("queue %s has %d entries: %w", op.Queue, q.open, ErrJournalFull)
	}
	entry := JournalEntry{Queue: op.Queue, Seq: q.lastSeq + 1, ID: op.ID, Time: orNow(op.Time, t.now), Body: op.Body, Budget: op.Budget}
	if op.Budget != "" {
		b := q.budgets[op.Budget]
		if b.overflow {
			return nil, errBudgetUsed
		}
		entry.Overflow = b.open+1 >= max(t.w.store.opts.JournalRows/budgetShare, 1)
		t.setBudget(q, op.Budget, journalBudget{b.open + 1, entry.Overflow})
	}
	t.count(&q.lastSeq, entry.Seq)
	t.count(&q.open, q.open+1)
	if err := t.put(entryKey(op.Queue, entry.Seq), entry); err != nil {
		return nil, err
	}
	if err := t.put(entryIDKey(op.Queue, op.ID), entry.Seq); err != nil {
		return nil, err
	}
	return Journaled{Seq: entry.Seq}, t.put(lastSeqKey(op.Queue), entry.Seq)
}

func (op FinishJournal) size() int { return opOverhead }

func (op FinishJournal) apply(t *txn) (any, error) {
	if !validName(op.Queue) {
		return nil, fmt.Errorf("queue name of %d bytes: %w", len(op.Queue), ErrInvalid)
	}
	key := entryKey(op.Queue, op.Seq)
	var entry JournalEntry
	if _, err := t.load(key, &entry); err != nil {
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return nil, err
	}
	q, err := t.w.queue(t, op.Queue)
	if err != nil {
		return nil, err
	}
	t.delete(key)
	t.count(&q.open, q.open-1)
	if entry.Budget != "" {
		b := q.budgets[entry.Budget]
		t.setBudget(q, entry.Budget, journalBudget{b.open - 1, b.overflow && !entry.Overflow})
	}
	t.count(&q.lastDone, q.lastDone+1)
	if err := t.put(doneKey(op.Queue, q.lastDone), doneRow{ID: entry.ID, Time: t.now}); err != nil {
		return nil, err
	}
	return true, t.forget(op.Queue, q)
}

// forget drops the ids of finished entries that are too old or
// too many.
func (t *txn) forget(queue string, q *queueState) error {
	for range forgetAtOnce {
		known := q.lastDone - q.firstDone + 1
		if known <= rememberAtLeast {
			return nil
		}
		var oldest doneRow
		if _, err := t.load(doneKey(queue, q.firstDone), &oldest); err != nil {
			return missingIsCorrupt(err)
		}
		if known <= rememberIDs && t.now-oldest.Time < rememberFor {
			return nil
		}
		t.delete(doneKey(queue, q.firstDone))
		t.delete(entryIDKey(queue, oldest.ID))
		t.count(&q.firstDone, q.firstDone+1)
	}
	return nil
}

// number reads a row that holds one number, 0 when there is none.
func (t *txn) number(key []byte) (uint64, error) {
	var n uint64
	_, err := t.load(key, &n)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return n, err
}
