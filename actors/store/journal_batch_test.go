// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
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
	if n := must[int](r, batch("a", "b", "a")); n != 2 {
		t.Errorf("%d added, want 2", n)
	}
	if n := must[int](r, store.FinishJournalBatch{Queue: "q", Seqs: []uint64{1, 9, 1}}); n != 1 {
		t.Errorf("%d finished, want 1", n)
	}
	r.restart()
	if n := must[int](r, batch("a", "b", "c", "d")); n != 2 {
		t.Errorf("%d added, want 2", n)
	}
	if diff := cmp.Diff([]string{"b", "c", "d"}, r.entries("q")); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestJournalBatch_AllOrNothing(t *testing.T) {
	r := newRig(t, store.Options{JournalRows: 3})
	must[int](r, batch("a", "b"))
	if _, err := do[int](r, batch("c", "d")); !errors.Is(err, store.ErrJournalFull) {
		t.Errorf("%v, want %v", err, store.ErrJournalFull)
	}
	if diff := cmp.Diff([]string{"a", "b"}, r.entries("q")); diff != "" {
		t.Error(diff)
	}
	must[int](r, batch("c")) // the refused batch left no trace
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
	if _, err := do[int](r, batch(ids...)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
	if n := must[int](r, batch(ids[1:]...)); n != store.MaxJournalBatch {
		t.Errorf("%d added", n)
	}
	if _, err := do[int](r, store.FinishJournalBatch{Queue: "q", Seqs: make([]uint64, store.MaxJournalBatch+1)}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v, want %v", err, store.ErrInvalid)
	}
}
