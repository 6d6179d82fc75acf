// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
)

// MaxJournalBatch is how many entries one operation may append or finish.
const MaxJournalBatch = 256

// NewEntry is an entry to append to a journal.
type NewEntry struct {
	ID   string
	Body []byte
	// Budget, when set, names what the entry belongs to: all its unfinished entries
	// together have an eighth of the journal.
	Budget string
}

// Appended is the result of [AppendJournalBatch].
type Appended struct {
	Added   int
	LeftOut int // entries whose budget had no place left
}

// AppendJournalBatch appends entries to a queue, in their order, all or none. An
// entry whose id is known is passed over, as [AppendJournal] does. The entry that takes
// the last place of its budget is marked, see [JournalEntry], and those behind it are left
// out until it is finished: so nothing is missing before it, and the caller who handles it knows
// what is missing after it. The result is an [Appended].
type AppendJournalBatch struct {
	Queue   string
	Time    Millis
	Entries []NewEntry // at most MaxJournalBatch
}

func (op AppendJournalBatch) size() int {
	size := opOverhead
	for _, e := range op.Entries {
		size += AppendJournal{ID: e.ID, Body: e.Body}.size()
	}
	return size
}

func (op AppendJournalBatch) apply(t *txn) (any, error) {
	if len(op.Entries) > MaxJournalBatch {
		return nil, fmt.Errorf("%d journal entries at once: %w", len(op.Entries), ErrInvalid)
	}
	var sum Appended
	for _, e := range op.Entries {
		result, err := AppendJournal{Queue: op.Queue, ID: e.ID, Time: op.Time, Body: e.Body, Budget: e.Budget}.apply(t)
		switch journaled, ok := result.(Journaled); {
		case errors.Is(err, errBudgetUsed):
			sum.LeftOut++
		case err != nil:
			return nil, err
		case ok && !journaled.Duplicate:
			sum.Added++
		}
	}
	return sum, nil
}

// FinishJournalBatch removes entries from their queue; their ids stay known.
// Entries that are not there are passed over. The result is how many were there.
type FinishJournalBatch struct {
	Queue string
	Seqs  []uint64 // at most MaxJournalBatch
}

func (op FinishJournalBatch) size() int { return opOverhead * max(len(op.Seqs), 1) }

func (op FinishJournalBatch) apply(t *txn) (any, error) {
	if len(op.Seqs) > MaxJournalBatch {
		return nil, fmt.Errorf("%d journal entries at once: %w", len(op.Seqs), ErrInvalid)
	}
	finished := 0
	for _, seq := range op.Seqs {
		result, err := FinishJournal{Queue: op.Queue, Seq: seq}.apply(t)
		if err != nil {
			return nil, err
		}
		if there, ok := result.(bool); ok && there {
			finished++
		}
	}
	return finished, nil
}
