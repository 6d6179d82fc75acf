// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mimird/mimird/proto/identity"
)

// Limits of the group commit.
const (
	// maxBatchOps and maxBatchBytes close a batch. What they bound is how long the
	// first caller of a batch waits for the work of the others.
	maxBatchOps   = 1024
	maxBatchBytes = 1 << 20
	// maxCounters is how many conversations the writer remembers the position of.
	// When there are more it forgets all, at a moment when nothing waits, and reads
	// them again on demand.
	maxCounters = 50_000
	// maxRecent and maxRecentBytes are how many committed batches share one lookup
	// iterator. Making one costs more than using it.
	maxRecent      = 16
	maxRecentBytes = 1 << 20
)

// caller receives the answer to an operation. answer may be called from any
// goroutine and must not block.
type caller interface{ answer(Written) }

// writer is the state behind the store actor: the two-phase group commit. While
// one batch is being committed, operations run at once against the next. It is
// used by one goroutine at a time, except where noted; a fresh one is created for
// each incarnation of the actor and reads its state from the database.
type writer struct {
	store          *Store
	txn            txn
	inFlight       *batch   // being committed, or nil
	waiting        []*batch // to be committed, oldest first; only the last takes operations
	bytes          int      // in inFlight and waiting
	pendingAnswers []answer // true as soon as inFlight is on the disk

	// lookups finds single rows in the database as it was when the iterator was
	// created. What was committed since is in recent, newest last.
	lookups     *pebble.Iterator
	recent      []*layer
	recentBytes int

	accounts map[identity.PublicKey]*accountState
	queues   map[string]*queueState
	moves    map[floorOf]uint64 // of the cursors of each consumer
	counted  int                // entries in accounts and their conversations
	known    uint64             // guids in the sets of all conversations

	rows   int      // in the last batch that was committed
	layers []*layer // the result of newer and all; refresh empties it
}

func newWriter(s *Store) *writer {
	w := &writer{
		store:    s,
		accounts: make(map[identity.PublicKey]*accountState),
		queues:   make(map[string]*queueState),
		moves:    make(map[floorOf]uint64),
	}
	w.txn.w = w
	return w
}

// newer returns what is not in the database yet, newest first. The slice is valid
// until the next call of newer or all.
func (w *writer) newer() []*layer {
	w.layers = w.layers[:0]
	for i := len(w.waiting) - 1; i >= 0; i-- {
		w.layers = append(w.layers, &w.waiting[i].layer)
	}
	if w.inFlight != nil {
		w.layers = append(w.layers, &w.inFlight.layer)
	}
	return w.layers
}

// all returns what lookups does not see, newest first.
func (w *writer) all() []*layer {
	w.layers = w.newer()
	for i := len(w.recent) - 1; i >= 0; i-- {
		w.layers = append(w.layers, w.recent[i])
	}
	return w.layers
}

// submit runs an operation. The answer comes at once when the operation failed
// or when nothing has to be synced for it to be true, else after its commit.
func (w *writer) submit(to caller, msg Write) {
	result, err := w.run(msg.Op)
	written := Written{Token: msg.Token, Result: result, Err: err}
	switch n := len(w.waiting); {
	case err != nil:
		to.answer(written)
	case n > 0:
		// Also when nothing was written: what the result rests on may be in there. A
		// duplicate of a message that waits for its commit is ours only then.
		b := w.waiting[n-1]
		b.answers = append(b.answers, answer{to, written})
	case w.inFlight != nil:
		w.pendingAnswers = append(w.pendingAnswers, answer{to, written})
	default:
		to.answer(written)
	}
}

// run applies an operation and adds what it changed to the waiting batch.
func (w *writer) run(op Op) (result any, err error) {
	w.txn.reset(MillisOf(w.store.now()))
	if err := w.store.failure(); err != nil {
		return nil, err
	}
	if op == nil {
		return nil, fmt.Errorf("write without an operation: %w", ErrInvalid)
	}
	if w.bytes >= w.store.opts.WaitingBytes {
		return nil, ErrBusy
	}
	done := false
	defer func() {
		if done && err == nil {
			return
		}
		w.txn.rollback()
		w.txn.reset(0)
		if !done {
			// A defect of one operation must not lose the answers of
			// all others, as a restart of the actor would.
			reason := recover()
			w.store.log.Error("store operation panicked", "op", fmt.Sprintf("%T", op),
				"reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
			result, err = nil, fmt.Errorf("apply %T: panic: %v", op, reason)
		}
	}()
	result, err = op.apply(&w.txn)
	if err != nil {
		err = fmt.Errorf("%T: %w", op, err)
	} else if len(w.txn.changes) > 0 {
		err = w.add(op.size())
	}
	done = true
	return result, err
}

// add moves the changes of the txn into the waiting batch.
func (w *writer) add(size int) error {
	var b *batch
	if n := len(w.waiting); n > 0 {
		b = w.waiting[n-1]
	}
	if b == nil || b.ops >= maxBatchOps || b.bytes+size > maxBatchBytes {
		b = newBatch(w.store.db, w.rows)
		w.waiting = append(w.waiting, b)
	}
	if err := w.txn.write(b); err != nil {
		// The batch now holds half an operation; it must never be committed.
		return w.store.fail(err)
	}
	b.ops++
	b.bytes += size
	w.bytes += size
	b.sync = b.sync || !w.txn.unsynced
	b.removal = b.removal || w.txn.removal
	for _, at := range w.txn.touched {
		if w.txn.queued {
			at.by |= touchedQueue
		}
		b.touched[at.conversation] |= at.by
	}
	return nil
}

// waitingOps returns how many operations wait to be committed.
func (w *writer) waitingOps() int {
	n := 0
	for _, b := range w.waiting {
		n += b.ops
	}
	return n
}

// busy reports whether anything waits for the disk.
func (w *writer) busy() bool { return w.inFlight != nil || len(w.waiting) > 0 }

// next takes the batch to be committed now, or returns nil: nothing waits, or a
// commit is under way.
func (w *writer) next() *batch {
	if w.inFlight != nil || len(w.waiting) == 0 {
		return nil
	}
	w.inFlight = w.waiting[0]
	w.waiting[0] = nil
	w.waiting = w.waiting[1:]
	return w.inFlight
}

// ended notes that the commit of the batch that next returned is over.
func (w *writer) ended() {
	answerAll(w.pendingAnswers, nil)
	w.pendingAnswers = nil
	b := w.inFlight
	w.inFlight = nil
	w.bytes -= b.bytes
	w.rows = len(b.layer.rows)
	if w.lookups != nil {
		w.recent = append(w.recent, &b.layer)
		w.recentBytes += b.bytes
		if len(w.recent) > maxRecent || w.recentBytes > maxRecentBytes {
			w.refresh()
		}
	}
	if len(w.waiting) == 0 {
		w.waiting = nil
		if w.counted > maxCounters {
			clear(w.accounts)
			w.counted, w.known = 0, 0
		}
	}
}

// abandon answers everything that waits and is not being committed: it was not
// accepted. When the store has failed, that includes the batch in flight, whose
// commit may never return.
func (w *writer) abandon(reason error) {
	if err := w.store.failure(); err != nil {
		reason = err
		if w.inFlight != nil {
			w.inFlight.answer(err)
		}
	}
	answerAll(w.pendingAnswers, reason)
	w.pendingAnswers = nil
	for _, b := range w.waiting {
		b.answer(reason)
		_ = b.discard() // never applied
	}
	w.waiting = nil
	w.refresh()
}

// accountState is what the writer knows of an account: the ends of its sequences,
// read once and counted on from there.
type accountState struct {
	lastSeq       uint64
	conversations map[ConversationID]*conversationState
	outbox        *outboxState // nil until needed
	requests      *uint64      // contacts in state ContactRequested; nil until needed
	invites       *uint64      // groups in state GroupInvited; nil until needed
}

type conversationState struct {
	exists    bool // the row of the contact or group exists
	lastOrder uint64
	known     *guidSet // nil for none
	crowded   bool     // there was no space for known
	members   *uint64  // rows of members; nil until needed

	// measured says that its size on the disk was measured, unmeasured is what came
	// since then; see needShare.
	measured   bool
	unmeasured uint64
}

type outboxState struct{ rows, bytes uint64 }

// account returns the state of an account.
func (w *writer) account(t *txn, id identity.PublicKey) (*accountState, error) {
	if a, ok := w.accounts[id]; ok {
		return a, nil
	}
	last, err := t.last(tablePrefix(id, tableEvent))
	if err != nil {
		return nil, err
	}
	a := &accountState{lastSeq: last, conversations: make(map[ConversationID]*conversationState)}
	w.accounts[id] = a
	w.counted++
	return a, nil
}

// conversation returns the state of a conversation.
func (w *writer) conversation(t *txn, account identity.PublicKey, conversation ConversationID) (*conversationState, error) {
	if t.recent.state != nil && t.recent.conversation == conversation && t.recent.account == account {
		return t.recent.state, nil
	}
	c, err := w.findConversation(t, account, conversation)
	if err == nil {
		t.recent = recent{account, conversation, c}
	}
	return c, err
}

func (w *writer) findConversation(t *txn, account identity.PublicKey, conversation ConversationID) (*conversationState, error) {
	a, err := w.account(t, account)
	if err != nil {
		return nil, err
	}
	if c, ok := a.conversations[conversation]; ok {
		return c, nil
	}
	c := &conversationState{}
	if c.exists, err = t.has(ownerKey(account, conversation)); err != nil {
		return nil, err
	}
	if c.lastOrder, err = t.last(conversationPrefix(account, tableMessage, conversation)); err != nil {
		return nil, err
	}
	a.conversations[conversation] = c
	w.counted++
	return c, nil
}

// outbox returns how much of an account is undelivered.
func (w *writer) outbox(t *txn, account identity.PublicKey) (*outboxState, error) {
	a, err := w.account(t, account)
	if err != nil || a.outbox != nil {
		return a.outbox, err
	}
	rows, bytes, err := t.sumOutbox(tablePrefix(account, tableFor(tableOutbox, KindContact)), tablePrefix(account, tableFor(tableOutbox, KindGroup)))
	if err != nil {
		return nil, err
	}
	a.outbox = &outboxState{rows, bytes}
	return a.outbox, nil
}

// lookup reads one row of the database, or returns ErrNotFound. Most look-ups are
// for guids that are new, and an iterator can use the filters of all levels,
// which Pebble's Get does not.
func (w *writer) lookup(key []byte) ([]byte, error) {
	if w.lookups == nil {
		it, err := w.store.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return nil, rowError("open iterator", err)
		}
		w.lookups = it
	}
	if !w.lookups.SeekPrefixGE(key) {
		if err := w.lookups.Error(); err != nil {
			return nil, rowError("read", err)
		}
		return nil, ErrNotFound
	}
	value, err := w.lookups.ValueAndErr()
	if err != nil {
		return nil, rowError("read", err)
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

// refresh closes the lookup iterator. It has to be called before long when
// nothing is written any more: the iterator keeps old files alive.
func (w *writer) refresh() {
	if w.lookups != nil && w.store.failure() == nil { // in a failed store Close may block for ever
		_ = w.lookups.Close() // its errors were seen by lookup
	}
	w.lookups = nil
	clear(w.recent)
	w.recent, w.recentBytes = w.recent[:0], 0
	// Of a burst there are pointers behind the end, too.
	clear(w.layers[:cap(w.layers)])
	w.layers = w.layers[:0]
}
