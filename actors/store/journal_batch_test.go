// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
)

func batch(ids ...string) store.AppendJournalBatch {
	op := store.AppendJournalBatch{Queue: "q"}
	for _, id := range ids {
		op.Entries = append(op.Entries, store.NewEntry{ID: id, Body: []byte("body of " + id)})
	}
	return op
}

func TestJournalBatch_AppendsInOrderOncePerID(t *testing.T) {
	r := newRig(t, store.Options{})
	if n := must[store.Appended](r, batch("a", "b", "a")); n != (store.Appended{Added: 2}) {
		t.Errorf("%+v, want 2 added", n)
	}
	if n := must[int](r, store.FinishJournalBatch{Queue: "q", Seqs: []uint64{1, 9, 1}}); n != 1 {
		t.Errorf("%d finished, want 1", n)
	}
	r.restart()
	if n := must[store.Appended](r, batch("a", "b", "c", "d")); n != (store.Appended{Added: 2}) {
		t.Errorf("%+v, want 2 added", n)
	}
	if diff := cmp.Diff([]string{"b", "c", "d"}, r.entries("q")); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestJournalBatch_AllOrNothing(t *testing.T) {
	r := newRig(t, store.Options{JournalRows: 3})
	must[store.Appended](r, batch("a", "b"))
	if _, err := do[store.Appended](r, batch("c", "d")); !errors.Is(err, store.ErrJournalFull) {
		t.Errorf("%v, want %v", err, store.ErrJournalFull)
	}
	if diff := cmp.Diff([]string{"a", "b"}, r.entries("q")); diff != "" {
		t.Error(diff)
	}
	must[store.Appended](r, batch("c")) // the refused batch left no trace
	if diff := cmp.Diff([]string{"a", "b", "c"}, r.entries("q")); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestJournalBatch_Bounded(t *testing.T) {
	r := newRig(t, store.Options{})
	ids := make([]string, store.MaxJournalBatch+1)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	if _, err := do[store.Appended](r, batch(ids...)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
	if n := must[store.Appended](r, batch(ids[1:]...)); n.Added != store.MaxJournalBatch {
		t.Errorf("%+v", n)
	}
	if _, err := do[int](r, store.FinishJournalBatch{Queue: "q", Seqs: make([]uint64, store.MaxJournalBatch+1)}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
}

// ofBudgets is batch with entries whose budget is their first letter.
func ofBudgets(ids ...string) store.AppendJournalBatch {
	op := batch(ids...)
	for i := range op.Entries {
		op.Entries[i].Budget = op.Entries[i].ID[:1]
	}
	return op
}

// overflows returns the ids of the entries that took the last place of their budget.
func (r *rig) overflows(queue string) (ids []string) {
	r.t.Helper()
	entries, err := r.store.Journal(queue, 0, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Overflow {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func TestJournalBatch_BudgetUsed_OthersNotConcerned(t *testing.T) {
	r := newRig(t, store.Options{JournalRows: 8 * 3})
	sum := must[store.Appended](r, ofBudgets("a1", "b1", "a2", "a3", "a4", "a5", "b2"))
	if sum != (store.Appended{Added: 5, LeftOut: 2}) {
		t.Errorf("%+v", sum)
	}
	check := func(when string, open, overflows []string) {
		t.Helper()
		if diff := cmp.Diff(open, r.entries("q")); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
		if diff := cmp.Diff(overflows, r.overflows("q")); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	check("a is full", []string{"a1", "b1", "a2", "a3", "b2"}, []string{"a3"})
	// A batch that fails leaves no trace in the budgets.
	if _, err := do[store.Appended](r, store.AppendJournalBatch{Queue: "q", Entries: append(ofBudgets("b3").Entries, store.NewEntry{})}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
	if _, err := do[store.Journaled](r, store.AppendJournal{Queue: "q", ID: "a6", Budget: "a"}); !errors.Is(err, store.ErrJournalFull) {
		t.Errorf("%v, want %v", err, store.ErrJournalFull)
	}
	r.restart()
	// Nothing is missing before the entry that overflowed, also when there are places again.
	must[int](r, store.FinishJournalBatch{Queue: "q", Seqs: []uint64{1, 3}})
	if sum := must[store.Appended](r, ofBudgets("a7", "b3", "b4")); sum != (store.Appended{Added: 1, LeftOut: 2}) {
		t.Errorf("%+v", sum)
	}
	check("b is full", []string{"b1", "a3", "b2", "b3"}, []string{"a3", "b3"})
	must[int](r, store.FinishJournalBatch{Queue: "q", Seqs: []uint64{4}})
	if sum := must[store.Appended](r, ofBudgets("a8", "a9", "b5", "c1")); sum != (store.Appended{Added: 3, LeftOut: 1}) {
		t.Errorf("%+v", sum)
	}
	check("a has places", []string{"b1", "b2", "b3", "a8", "a9", "c1"}, []string{"b3"})
	r.checked()
}

func TestJournalBatch_LongBudget_Refused(t *testing.T) {
	r := newRig(t, store.Options{})
	op := batch("a")
	op.Entries[0].Budget = strings.Repeat("x", store.MaxJournalID+1)
	if _, err := do[store.Appended](r, op); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
}
