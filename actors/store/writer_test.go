// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/proto/identity"
)

var (
	testAccount = identity.PublicKey{1}
	testContact = identity.PublicKey{2}
)

// answers collects what a writer answers.
type answers []Written

func (a *answers) answer(w Written) { *a = append(*a, w) }

// bench is a writer without an actor around it: the test decides when commits
// begin and end.
type bench struct {
	t      *testing.T
	store  *Store
	writer *writer
	got    answers
}

func newBench(t *testing.T, opts Options) *bench {
	t.Helper()
	opts.Dir = "store"
	if opts.FS == nil {
		opts.FS = vfs.NewMem()
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: s, writer: newWriter(s)}
	t.Cleanup(func() {
		b.writer.abandon(errStopping)
		if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	b.submit(PutAccount{Account: Account{ID: testAccount}})
	b.submit(AddContact{Contact: Contact{Account: testAccount, ID: testContact}})
	b.commit()
	b.got = nil
	return b
}

func (b *bench) submit(op Op) { b.writer.submit(&b.got, Write{Token: uint64(len(b.got)), Op: op}) }

func (b *bench) commit() {
	b.t.Helper()
	for batch := b.writer.next(); batch != nil; batch = b.writer.next() {
		b.finish(batch)
	}
}

// finish commits a batch that next returned.
func (b *bench) finish(batch *batch) {
	b.t.Helper()
	if err := commitNow(b.store, batch); err != nil {
		b.t.Fatal(err)
	}
	b.writer.ended()
}

// commitNow commits a batch and waits for the outcome.
func commitNow(s *Store, b *batch) error {
	ended := make(chan struct{})
	if err := s.startCommit(b, func() { close(ended) }); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-s.Failed():
		return s.failure()
	}
}

// last returns the newest answer.
func (b *bench) last() Written {
	b.t.Helper()
	if len(b.got) == 0 {
		b.t.Fatal("no answer")
	}
	return b.got[len(b.got)-1]
}

func message(guid int64) AcceptMessage {
	return AcceptMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: guid, Payload: []byte("x")}
}

// brokenOp changes everything it can and then fails.
type brokenOp struct{ fail func() error }

func (brokenOp) size() int { return 1 }

func (op brokenOp) apply(t *txn) (any, error) {
	for _, inner := range []Op{
		message(77),
		EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 77, Source: "s"},
		AppendJournal{Queue: "q", ID: "i"},
		FinishJournal{Queue: "q", Seq: 1},
		MarkDelivered{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 77},
		AddContact{Contact: Contact{Account: testAccount, ID: identity.PublicKey{9}}},
		RemoveContact{Account: testAccount, Contact: testContact},
		RemoveAccount{Account: testAccount},
	} {
		if _, err := inner.apply(t); err != nil {
			return nil, err
		}
	}
	return nil, op.fail()
}

func TestFailedOperationLeavesNoTrace(t *testing.T) {
	broken := errors.New("broken")
	b := newBench(t, Options{})
	b.submit(message(1))
	for name, fail := range map[string]func() error{
		"error": func() error { return broken },
		"panic": func() error { panic(broken) },
	} {
		before := len(b.got)
		b.submit(brokenOp{fail})
		if len(b.got) != before+1 || b.last().Err == nil {
			t.Fatalf("%s: %+v", name, b.got)
		}
	}
	b.submit(message(2))
	b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1, Source: "s"})
	b.submit(AppendJournal{Queue: "q", ID: "i"})
	b.commit()
	got := b.got[len(b.got)-3:]
	if a := got[0].Result.(Accepted); a.Order != 2 || a.Duplicate {
		t.Errorf("%+v", a)
	}
	if e := got[1].Result.(Enqueued); e.Message.Order != 3 || e.Duplicate {
		t.Errorf("%+v", e)
	}
	if j := got[2].Result.(Journaled); j != (Journaled{Seq: 1}) {
		t.Errorf("%+v", j)
	}
	if o := b.writer.accounts[testAccount].outbox; *o != (outboxState{rows: 1}) {
		t.Errorf("%+v", o)
	}
	b.check()
}

// TestRemovedAccountLeavesNoEvents: events are written behind the other rows of
// their batch, but not behind what deletes them.
func TestRemovedAccountLeavesNoEvents(t *testing.T) {
	b := newBench(t, Options{})
	b.submit(message(1))
	b.submit(RemoveAccount{Account: testAccount})
	b.submit(PutAccount{Account: Account{ID: testAccount, Name: "again"}})
	b.commit()
	var left []EventKind
	for row, err := range scanPrefix(b.store.db, tablePrefix(testAccount, tableEvent)) {
		if err != nil {
			t.Fatal(err)
		}
		var ev Event
		if raw, err := row.value(); err != nil || decode(raw, &ev) != nil {
			t.Fatal(err)
		}
		left = append(left, ev.Kind)
	}
	if !slices.Equal(left, []EventKind{AccountAdded}) {
		t.Errorf("events %v", left)
	}
	b.check()
}

// TestRefresh_AfterBurst_NothingKept: the writer keeps no batch of a burst in memory, in which
// many waited at once.
func TestRefresh_AfterBurst_NothingKept(t *testing.T) {
	b := newBench(t, Options{})
	for guid := int64(1); guid <= 4*maxBatchOps; guid++ {
		b.submit(message(guid))
	}
	if n := len(b.writer.waiting); n < 4 {
		t.Fatalf("%d batches wait", n)
	}
	b.commit()
	b.writer.refresh()
	for _, kept := range [][]*layer{b.writer.layers[:cap(b.writer.layers)], b.writer.recent[:cap(b.writer.recent)]} {
		for i, l := range kept {
			if l != nil {
				t.Errorf("layer %d of %d is kept", i, len(kept))
			}
		}
	}
	b.check()
}

// check compares the database with itself, and the writer's counters with those
// of a fresh writer.
func (b *bench) check() {
	b.t.Helper()
	problems, err := b.store.Check()
	if err != nil || len(problems) > 0 {
		b.t.Errorf("%v %v", problems, err)
	}
	fresh := newWriter(b.store)
	defer fresh.refresh()
	known := uint64(0)
	for id, have := range b.writer.accounts {
		want, err := fresh.account(&fresh.txn, id)
		if err != nil {
			b.t.Fatal(err)
		}
		if have.lastSeq != want.lastSeq {
			b.t.Errorf("account %s: last event %d, want %d", id.Short(), have.lastSeq, want.lastSeq)
		}
		if have.outbox != nil {
			if want, err := fresh.outbox(&fresh.txn, id); err != nil || *have.outbox != *want {
				b.t.Errorf("account %s: outbox %+v, want %+v, %v", id.Short(), have.outbox, want, err)
			}
		}
		for conversation, have := range have.conversations {
			want, err := fresh.conversation(&fresh.txn, id, conversation)
			if err != nil || have.exists != want.exists || have.lastOrder != want.lastOrder {
				b.t.Errorf("conversation %s: %+v, want %+v, %v", conversation.Short(), have, want, err)
			}
			known += have.known.size()
			if err := fresh.txn.readKnown(want, id, conversation); err != nil {
				b.t.Fatal(err)
			}
			for _, d := range want.known.slots {
				if d != 0 && have.known != nil && *have.known.slot(d) != d {
					b.t.Errorf("conversation %s: a guid is not known", conversation.Short())
				}
			}
		}
	}
	if b.writer.known != known {
		b.t.Errorf("%d guids are counted, there are %d", b.writer.known, known)
	}
	for name, have := range b.writer.queues {
		if want, err := fresh.queue(&fresh.txn, name); err != nil || !reflect.DeepEqual(have, want) {
			b.t.Errorf("queue %s: %+v, want %+v, %v", name, have, want, err)
		}
	}
}

func TestOperationsSeeEarlierOnes(t *testing.T) {
	b := newBench(t, Options{})
	see := func(when string) {
		t.Helper()
		b.submit(message(1))
		b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1, Source: "s"})
		b.submit(AppendJournal{Queue: "q", ID: "i"})
		b.commit()
		got := b.got[len(b.got)-3:]
		if !got[0].Result.(Accepted).Duplicate || !got[1].Result.(Enqueued).Duplicate || !got[2].Result.(Journaled).Duplicate {
			t.Errorf("%s: %+v", when, got)
		}
	}
	write := func() {
		b.submit(message(1))
		b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1, Source: "s"})
		b.submit(AppendJournal{Queue: "q", ID: "i"})
	}
	write()
	if len(b.got) != 0 {
		t.Fatalf("answered before the commit: %+v", b.got)
	}
	see("in the same batch")
	see("in the database")
	b.submit(RemoveContact{Account: testAccount, Contact: testContact})
	b.submit(message(1))
	if err := b.last().Err; !errors.Is(err, ErrNotFound) {
		t.Errorf("after the removal: %v", err)
	}
	b.submit(AddContact{Contact: Contact{Account: testAccount, ID: testContact}})
	write()
	inFlight := b.writer.next()
	b.submit(MarkDelivered{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1}) // of a message in flight
	b.submit(RemoveContact{Account: testAccount, Contact: testContact})
	b.submit(AddContact{Contact: Contact{Account: testAccount, ID: testContact}})
	b.submit(message(1))
	b.finish(inFlight)
	b.commit()
	if a := b.last().Result.(Accepted); a.Duplicate || a.Order != 1 {
		t.Errorf("after removing what was in flight: %+v", a)
	}
	b.check()
}

func TestOutboxCountsWhatIsInFlight(t *testing.T) {
	b := newBench(t, Options{OutboxRows: 4})
	other := identity.PublicKey{3}
	b.submit(AddContact{Contact: Contact{Account: testAccount, ID: other}})
	queue := func(contact identity.PublicKey, guid int64) {
		b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(contact), GUID: guid, Payload: []byte("x")})
	}
	queue(testContact, 1)
	b.commit()
	queue(testContact, 2)
	queue(other, 2)
	inFlight := b.writer.next()
	queue(testContact, 3)
	b.writer.accounts[testAccount].outbox = nil // count anew, over all layers
	queue(testContact, 4)
	if err := b.last().Err; !errors.Is(err, ErrOutboxFull) {
		t.Errorf("a fifth message: %v", err)
	}
	b.submit(RemoveContact{Account: testAccount, Contact: testContact})
	if o := b.writer.accounts[testAccount].outbox; *o != (outboxState{rows: 1, bytes: 1}) {
		t.Errorf("%+v", o)
	}
	b.finish(inFlight)
	b.commit()
	b.check()
}

func TestWriterForgetsCounters(t *testing.T) {
	b := newBench(t, Options{})
	for guid := int64(1); guid <= 200; guid++ {
		b.writer.counted = maxCounters + 1
		b.submit(message(guid))
		if guid%7 == 0 {
			b.submit(RemoveContact{Account: testAccount, Contact: testContact})
			b.submit(AddContact{Contact: Contact{Account: testAccount, ID: testContact}})
		}
		b.commit()
		if len(b.writer.accounts) != 0 {
			t.Fatal("counters are kept")
		}
	}
	b.submit(message(200))
	if a := b.last().Result.(Accepted); !a.Duplicate || a.Order != 4 {
		t.Errorf("%+v", a)
	}
	b.check()
}

func TestJournalRemembersBoundedIDs(t *testing.T) {
	b := newBench(t, Options{})
	cycle := func(id string) {
		b.submit(AppendJournal{Queue: "q", ID: id})
		b.commit()
		b.submit(FinishJournal{Queue: "q", Seq: b.last().Result.(Journaled).Seq})
		b.commit()
		if b.last().Result != true {
			t.Fatalf("%s: %+v", id, b.last())
		}
	}
	cycle("first")
	cycle("second")
	b.writer.queues["q"].lastDone = rememberIDs // as if so many had been finished since
	cycle("last")
	for id, known := range map[string]bool{"first": false, "second": true, "last": true} {
		b.submit(AppendJournal{Queue: "q", ID: id})
		b.commit()
		if got := b.last().Result.(Journaled); got.Duplicate != known {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 2*maxBatchOps + 1 {
		b.submit(MoveCursor{Consumer: "c", Account: testAccount, Conversation: ContactConversation(identity.PublicKey{byte(i), byte(i >> 8)}), Seq: 1})
	}
	if got := len(b.writer.waiting); got != 3 {
		t.Errorf("%d operations are in %d batches", 2*maxBatchOps+1, got)
	}
	b.commit()
	for guid := int64(1); guid <= 4; guid++ {
		op := message(guid)
		op.Payload = make([]byte, maxBatchBytes*2/3)
		b.submit(op)
	}
	if got := len(b.writer.waiting); got != 4 {
		t.Errorf("4 large operations are in %d batches", got)
	}
	b.commit()
	b.check()
}

func TestUnsyncedOperationsDoNotSync(t *testing.T) {
	b := newBench(t, Options{})
	b.submit(PutAddresses{Identity: testContact, Addresses: []Address{{Priority: 1}}})
	b.submit(UpdateContact{Account: testAccount, Contact: testContact, Fields: FieldLastSeen, LastSeen: 5})
	batch := b.writer.next()
	if batch.sync {
		t.Error("a cache costs a sync")
	}
	b.finish(batch)
	b.submit(PutAddresses{Identity: testContact})
	b.submit(message(1))
	batch = b.writer.next()
	if !batch.sync {
		t.Error("a message is not synced")
	}
	b.finish(batch)
}

func TestSecondCommitIsRefused(t *testing.T) {
	b := newBench(t, Options{})
	b.submit(message(1))
	batch := b.writer.next()
	b.store.slot <- struct{}{}
	if err := b.store.startCommit(batch, nil); !errors.Is(err, errUnderWay) {
		t.Errorf("%v, want %v", err, errUnderWay)
	}
	<-b.store.slot
	ended := make(chan struct{})
	if err := b.store.startCommit(batch, func() { close(ended) }); err != nil {
		t.Error(err)
	}
	<-ended
	if got := b.last().Result.(Accepted); got.Order != 1 {
		t.Errorf("%+v", got)
	}
	b.writer.ended()
}

func TestDiskReserve(t *testing.T) {
	mem := vfs.NewMem()
	now := time.Unix(1_700_000_000, 0)
	b := newBench(t, Options{FS: mem})
	b.store.space.now = func() time.Time { return now }
	b.submit(EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1})
	b.submit(AppendJournal{Queue: "q", ID: "1"})
	b.commit()
	later := func(usage vfs.DiskUsage) {
		mem.TestingSetDiskUsage(usage)
		now = now.Add(2 * time.Second)
	}
	const disk = 100 << 30
	later(vfs.DiskUsage{AvailBytes: defaultReserve - 1, TotalBytes: disk})
	if !b.store.DiskLow() {
		t.Error("the disk is not low")
	}
	for _, op := range []Op{
		message(1),
		EnqueueMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 2},
		AppendJournal{Queue: "q", ID: "2"},
		AddContact{Contact: Contact{Account: testAccount, ID: identity.PublicKey{9}}},
	} {
		b.submit(op)
		if err := b.last().Err; !errors.Is(err, ErrDiskFull) {
			t.Errorf("%T: %v, want %v", op, err, ErrDiskFull)
		}
	}
	for _, op := range []Op{
		MarkDelivered{Account: testAccount, Conversation: ContactConversation(testContact), GUID: 1},
		FinishJournal{Queue: "q", Seq: 1},
		MoveCursor{Consumer: "c", Account: testAccount, Seq: 1},
		AppendJournal{Queue: "q", ID: "1"},
	} {
		b.submit(op)
		b.commit()
		if err := b.last().Err; err != nil {
			t.Errorf("%T: %v", op, err)
		}
	}
	later(vfs.DiskUsage{AvailBytes: defaultReserve, TotalBytes: disk})
	b.submit(message(1))
	b.commit()
	if err := b.last().Err; err != nil {
		t.Errorf("with room again: %v", err)
	}
	later(vfs.DiskUsage{AvailBytes: 51 << 20, TotalBytes: 1 << 30}) // a small disk
	if !b.store.DiskLow() {
		t.Error("a twentieth of a small disk is not kept")
	}
	later(vfs.DiskUsage{AvailBytes: 52 << 20, TotalBytes: 1 << 30})
	if b.store.DiskLow() {
		t.Error("more than a twentieth of a small disk is kept")
	}
	b.check()
}

func TestPebbleErrorKeepsCauses(t *testing.T) {
	cause := errors.New("cause")
	err := newPebbleError("went wrong: %v, %d", []any{cause, 7})
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "went wrong: cause, 7") {
		t.Errorf("%v", err)
	}
}

func TestDamageFailsTheStore(t *testing.T) {
	LeavesGoroutines(t)
	told := make(chan error, 2)
	b := newBench(t, Options{OnFatal: func(err error) { told <- err }})
	listener := b.store.pebbleOptions(nil, false).EventListener
	listener.DataCorruption(pebble.DataCorruptionInfo{Path: "000007.sst", Details: errors.New("bad checksum")})
	listener.DataCorruption(pebble.DataCorruptionInfo{Path: "000008.sst", Details: errors.New("bad checksum")})
	err := <-told
	if !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "000007.sst") {
		t.Errorf("told %v", err)
	}
	if len(told) > 0 {
		t.Error("told twice")
	}
	if _, err := b.store.Accounts(); !errors.Is(err, ErrFailed) {
		t.Errorf("read: %v", err)
	}
}
