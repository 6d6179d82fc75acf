// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestEventsAreNumberedWithoutGaps(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := int64(1); guid <= 2000; guid++ { // more than a page
		op := accept(guid, "x")
		if guid%2 == 0 {
			op.Conversation = store.ContactConversation(carol)
		}
		must[store.Accepted](r, op)
	}
	r.restart()
	want := uint64(1)
	for {
		page := get[[]store.Event](r)(r.store.Events(alice, want-1, 300))
		if len(page) == 0 {
			break
		}
		for _, ev := range page {
			if ev.Seq != want {
				t.Fatalf("event %d follows event %d", ev.Seq, want-1)
			}
			want++
		}
	}
	if want != 2000+3+1 { // account and two contacts
		t.Errorf("%d events", want-1)
	}
	for after, wantLen := range map[uint64]int{math.MaxUint64: 0, math.MaxUint64 - 1: 0, want: 0, want - 2: 1} {
		if got := get[[]store.Event](r)(r.store.Events(alice, after, 0)); len(got) != wantLen {
			t.Errorf("after %d: %d events", after, len(got))
		}
	}
	r.checked()
}

func TestConversationEvents(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := int64(1); guid <= 4; guid++ {
		op := accept(guid, "x")
		if guid%2 == 0 {
			op.Conversation = store.ContactConversation(carol)
		}
		must[store.Accepted](r, op)
	}
	seqs := func(conversation identity.PublicKey, after uint64, limit int) (seqs []uint64) {
		for _, ev := range get[[]store.Event](r)(r.store.ConversationEvents(alice, store.ContactConversation(conversation), after, limit)) {
			if ev.Conversation.Contact() != conversation || ev.Account != alice {
				t.Errorf("%+v", ev)
			}
			seqs = append(seqs, ev.Seq)
		}
		return seqs
	}
	for _, test := range []struct {
		conversation identity.PublicKey
		after        uint64
		limit        int
		want         []uint64
	}{
		{identity.PublicKey{}, 0, 0, []uint64{1}},
		{bob, 0, 0, []uint64{2, 4, 6}},
		{bob, 2, 1, []uint64{4}},
		{bob, 6, 0, nil},
		{carol, 0, 0, []uint64{3, 5, 7}},
		{carol, 4, 0, []uint64{5, 7}},
		{key(9), 0, 0, nil},
	} {
		if diff := cmp.Diff(test.want, seqs(test.conversation, test.after, test.limit)); diff != "" {
			t.Errorf("%s after %d: %s", test.conversation.Short(), test.after, diff)
		}
	}
}

func TestCursorsOnlyMoveForward(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Accepted](r, accept(1, "x"))
	last := r.lastSeq(alice)
	op := store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: store.ContactConversation(bob), Seq: last - 1}
	for _, step := range []struct {
		seq   uint64
		moved bool
		want  uint64
	}{{last - 1, true, last - 1}, {last - 1, false, last - 1}, {1, false, last - 1}, {last, true, last}, {0, false, last}} {
		op.Seq = step.seq
		if got := must[bool](r, op); got != step.moved {
			t.Errorf("to %d: moved %v", step.seq, got)
		}
		if got := get[uint64](r)(r.store.Cursor("matrix", alice, store.ContactConversation(bob))); got != step.want {
			t.Errorf("to %d: cursor at %d", step.seq, got)
		}
	}
	r.restart()
	for name, test := range map[string]struct {
		consumer              string
		account, conversation identity.PublicKey
		want                  uint64
	}{
		"same":               {"matrix", alice, bob, last},
		"other consumer":     {"matri", alice, bob, 0},
		"other conversation": {"matrix", alice, carol, 0},
		"other account":      {"matrix", anna, bob, 0},
	} {
		if got := get[uint64](r)(r.store.Cursor(test.consumer, test.account, store.ContactConversation(test.conversation))); got != test.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for name, test := range map[string]struct {
		op   store.MoveCursor
		want error
	}{
		"beyond the end":  {store.MoveCursor{Consumer: "c", Account: alice, Seq: last + 1}, store.ErrInvalid},
		"no name":         {store.MoveCursor{Account: alice, Seq: 1}, store.ErrInvalid},
		"name with NUL":   {store.MoveCursor{Consumer: "a\x00b", Account: alice, Seq: 1}, store.ErrInvalid},
		"long name":       {store.MoveCursor{Consumer: strings.Repeat("x", store.MaxName+1), Account: alice, Seq: 1}, store.ErrInvalid},
		"unknown account": {store.MoveCursor{Consumer: "c", Account: key(9)}, store.ErrNotFound},
	} {
		if _, err := do[bool](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.store.Cursor("", alice, store.ContactConversation(bob)); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
	r.checked()
}

func TestPendingConversations(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Accepted](r, accept(1, "x"))
	move := func(conversation identity.PublicKey, seq uint64) {
		must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: store.ContactConversation(conversation), Seq: seq})
	}
	pending := func() []store.PendingConversation {
		return get[[]store.PendingConversation](r)(r.store.Pending("matrix", alice))
	}
	all := []store.PendingConversation{{Last: 1}, {Conversation: store.ContactConversation(bob), Last: 4}, {Conversation: store.ContactConversation(carol), Last: 3}}
	if diff := cmp.Diff(all, pending()); diff != "" {
		t.Error(diff)
	}
	move(identity.PublicKey{}, 1)
	move(bob, 2)
	move(carol, 4)
	want := []store.PendingConversation{{Conversation: store.ContactConversation(bob), Last: 4, Cursor: 2}}
	if diff := cmp.Diff(want, pending()); diff != "" {
		t.Error(diff)
	}
	move(bob, 4)
	if diff := cmp.Diff([]store.PendingConversation(nil), pending()); diff != "" {
		t.Error(diff)
	}
	if _, err := r.store.Pending("", alice); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
}

// entries lists the ids of the unfinished entries of a queue.
func (r *rig) entries(queue string) (ids []string) {
	r.t.Helper()
	for _, entry := range get[[]store.JournalEntry](r)(r.store.Journal(queue, 0, 0)) {
		ids = append(ids, entry.ID)
	}
	return ids
}

func TestJournalKnowsIDs(t *testing.T) {
	r := newRig(t, store.Options{})
	put := func(queue, id string) store.Journaled {
		return must[store.Journaled](r, store.AppendJournal{Queue: queue, ID: id, Body: []byte("body of " + id)})
	}
	for i, id := range []string{"t1", "t2", "t3"} {
		if got := put("matrix", id); got != (store.Journaled{Seq: uint64(i + 1)}) {
			t.Errorf("%s: %+v", id, got)
		}
	}
	if got := put("matri", "t1"); got != (store.Journaled{Seq: 1}) {
		t.Errorf("another queue: %+v", got)
	}
	if got := put("matrix", "t2"); got != (store.Journaled{Seq: 2, Duplicate: true}) {
		t.Errorf("repeat: %+v", got)
	}
	finish := store.FinishJournal{Queue: "matrix", Seq: 2}
	if !must[bool](r, finish) || must[bool](r, finish) {
		t.Error("an entry is finished once")
	}
	r.restart()
	if got := put("matrix", "t2"); got != (store.Journaled{Seq: 2, Duplicate: true}) {
		t.Errorf("repeat of a finished entry: %+v", got)
	}
	if diff := cmp.Diff([]string{"t1", "t3"}, r.entries("matrix")); diff != "" {
		t.Error(diff)
	}
	want := []store.JournalEntry{{Queue: "matrix", Seq: 3, ID: "t3", Time: store.MillisOf(r.clock.now), Body: []byte("body of t3")}}
	if diff := cmp.Diff(want, get[[]store.JournalEntry](r)(r.store.Journal("matrix", 1, 5))); diff != "" {
		t.Error(diff)
	}
	must[bool](r, store.FinishJournal{Queue: "matrix", Seq: 3})
	r.restart()
	if got := put("matrix", "t4"); got.Seq != 4 {
		t.Errorf("a number is given twice: %+v", got)
	}
	r.checked()
}

func TestJournalRefuses(t *testing.T) {
	r := newRig(t, store.Options{JournalRows: 2})
	put := func(queue, id string, body int) error {
		_, err := do[store.Journaled](r, store.AppendJournal{Queue: queue, ID: id, Body: make([]byte, body)})
		return err
	}
	for name, test := range map[string]struct {
		queue, id string
		body      int
	}{
		"no queue":       {"", "id", 1},
		"queue with NUL": {"a\x00", "id", 1},
		"no id":          {"q", "", 1},
		"long id":        {"q", strings.Repeat("x", store.MaxJournalID+1), 1},
		"huge body":      {"q", "id", store.MaxBody + 1},
	} {
		if err := put(test.queue, test.id, test.body); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := do[bool](r, store.FinishJournal{}); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
	if _, err := r.store.Journal("", 0, 0); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
	for i := range 2 {
		if err := put("q", fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	r.restart()
	if err := put("q", "2", 1); !errors.Is(err, store.ErrJournalFull) {
		t.Errorf("%v, want %v", err, store.ErrJournalFull)
	}
	if err := put("q", "1", 1); err != nil {
		t.Errorf("a duplicate in a full queue: %v", err)
	}
	must[bool](r, store.FinishJournal{Queue: "q", Seq: 1})
	if err := put("q", "2", 1); err != nil {
		t.Error(err)
	}
	r.checked()
}

func TestJournalForgetsOldIDs(t *testing.T) {
	r := newRig(t, store.Options{})
	put := func(i int) store.Journaled {
		return must[store.Journaled](r, store.AppendJournal{Queue: "q", ID: fmt.Sprint(i)})
	}
	cycle := func(i int) {
		t.Helper()
		got := put(i)
		if got.Duplicate || !must[bool](r, store.FinishJournal{Queue: "q", Seq: got.Seq}) {
			t.Fatalf("entry %d: %+v", i, got)
		}
	}
	const n = 1200
	for i := range n {
		cycle(i)
	}
	r.clock.now = r.clock.now.Add(29 * 24 * time.Hour)
	cycle(n)
	if got := put(0); !got.Duplicate {
		t.Error("an id was forgotten after 29 days")
	}
	r.clock.now = r.clock.now.Add(2 * 24 * time.Hour)
	r.restart()
	for i := range 50 { // each forgets some
		cycle(n + 1 + i)
	}
	if got := put(n - 1); !got.Duplicate {
		t.Error("the newest thousand are not remembered")
	}
	if got := put(0); got.Duplicate {
		t.Error("an id is remembered for ever")
	}
	r.checked()
}
