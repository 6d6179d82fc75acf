// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mimird/mimird/proto/identity"
)

// layer is what one batch changes, for the operations that come before it is in
// the database. Rows that no operation reads (events) are not in it.
type layer struct {
	rows    map[string][]byte // nil: deleted
	cleared []string          // prefixes under which everything older is gone
}

func newLayer(rows int) layer { return layer{rows: make(map[string][]byte, rows)} }

// get looks a key up; decided is false when the layer says nothing about it.
func (l *layer) get(key string) (value []byte, decided bool) {
	if value, ok := l.rows[key]; ok {
		return value, true
	}
	for _, prefix := range l.cleared {
		if strings.HasPrefix(key, prefix) {
			return nil, true
		}
	}
	return nil, false
}

func (l *layer) put(key string, value []byte) { l.rows[key] = value }

func (l *layer) clear(prefix string) {
	for key := range l.rows {
		if strings.HasPrefix(key, prefix) {
			l.rows[key] = nil
		}
	}
	l.cleared = append(l.cleared, prefix)
}

// change is one write of the running operation.
type change struct {
	kind  changeKind
	key   []byte
	value []byte
}

type changeKind uint8

const (
	changePut    changeKind = iota // a row that operations read
	changeAppend                   // a row that no operation reads
	changeEvent                    // the same, behind the last one of its kind
	changeDelete
	changeClear // everything under a prefix
)

// txn is the view of one operation: what it reads, what it has changed so far,
// and how to take that back. It lives for one turn of the writer.
type txn struct {
	w        *writer
	now      Millis
	changes  []change
	scratch  []byte    // of the keys and values that no operation reads
	recent   recent    // the conversation that was asked for last
	touched  []touched // conversations that got an event
	queued   bool      // the queue of transfers is changed
	unsynced bool      // the operation may be lost in a crash
	removal  bool      // the operation removes an account
	counters []counter // values before the operation, to restore
	undo     []func()  // restores everything else
}

// touched is a conversation that got an event.
type touched struct {
	conversation Conversation
	by           Touched
}

func (t *txn) touch(conversation Conversation, by Touched) {
	t.touched = append(t.touched, touched{conversation, by})
}

// recent is the conversation that the operation asked for last: most ask for one,
// several times.
type recent struct {
	account      identity.PublicKey
	conversation ConversationID
	state        *conversationState // nil for none
}

// counter is a number that the writer remembers, as it was.
type counter struct {
	field  *uint64
	before uint64
}

// maxScratch is how much scratch an operation leaves to the next one.
const maxScratch = 64 << 10

// reset makes the txn ready for the next operation.
func (t *txn) reset(now Millis) {
	clear(t.changes)
	if cap(t.scratch) > maxScratch {
		t.scratch = nil
	}
	*t = txn{w: t.w, now: now, changes: t.changes[:0], scratch: t.scratch[:0], touched: t.touched[:0], counters: t.counters[:0], undo: t.undo[:0]}
}

func (t *txn) rollback() {
	for i := len(t.counters) - 1; i >= 0; i-- {
		*t.counters[i].field = t.counters[i].before
	}
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

// get reads one row: the operation's own changes first, then the batches that
// are not in the database yet, then the database.
func (t *txn) get(key []byte) ([]byte, error) {
	for i := len(t.changes) - 1; i >= 0; i-- {
		c := &t.changes[i]
		switch c.kind {
		case changeClear:
			if strings.HasPrefix(string(key), string(c.key)) {
				return nil, ErrNotFound
			}
		default:
			if string(c.key) == string(key) {
				if c.kind == changeDelete {
					return nil, ErrNotFound
				}
				return c.value, nil
			}
		}
	}
	name := string(key)
	for _, l := range t.w.all() {
		if value, decided := l.get(name); decided {
			if value == nil {
				return nil, ErrNotFound
			}
			return value, nil
		}
	}
	return t.w.lookup(key)
}

func (t *txn) has(key []byte) (bool, error) {
	_, err := t.get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// load reads and decodes one row and returns its bytes too, for update.
func (t *txn) load(key []byte, v any) ([]byte, error) {
	raw, err := t.get(key)
	if err != nil {
		return nil, err
	}
	return raw, decode(raw, v)
}

// putRaw sets a row that operations read.
func (t *txn) putRaw(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.changes = append(t.changes, change{changePut, key, value})
}

// put encodes and sets a row that operations read.
func (t *txn) put(key []byte, v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	t.putRaw(key, raw)
	return nil
}

// update replaces a row, keeping the fields of old that this version does not
// know.
func (t *txn) update(key, old []byte, rec record) error {
	raw, err := mergeUnknown(old, rec)
	if err != nil {
		return err
	}
	t.putRaw(key, raw)
	return nil
}

func (t *txn) delete(key []byte) {
	t.changes = append(t.changes, change{kind: changeDelete, key: key})
}

// clear deletes everything under a prefix.
func (t *txn) clear(prefix []byte) {
	t.changes = append(t.changes, change{kind: changeClear, key: prefix})
}

// count changes a number that the writer remembers, so that rollback can restore
// it.
func (t *txn) count(field *uint64, value uint64) {
	t.counters = append(t.counters, counter{field, *field})
	*field = value
}

// event appends to the log of an account. Account, conversation and kind are set
// by the caller.
func (t *txn) event(ev Event) error {
	a, err := t.w.account(t, ev.Account)
	if err != nil {
		return err
	}
	t.count(&a.lastSeq, a.lastSeq+1)
	ev.Seq, ev.Time = a.lastSeq, t.now
	key := t.keep(appendEventKey(t.scratch, ev.Account, ev.Seq))
	value := t.keep(ev.appendTo(t.scratch))
	entry := t.keep(appendConvLogKey(t.scratch, ev.Account, ev.Conversation, ev.Seq))
	t.changes = append(t.changes, change{changeEvent, key, value}, change{changeAppend, entry, nil})
	t.touch(Conversation{ev.Account, ev.Conversation}, touchedBy(ev.Kind))
	return nil
}

// keep takes what was appended to scratch. It lasts until the next operation.
func (t *txn) keep(appended []byte) []byte {
	added := appended[len(t.scratch):len(appended):len(appended)]
	t.scratch = appended
	return added
}

// last returns the number at the end of the last key under a prefix, 0 for none.
// It looks into the database only: the caller keeps a counter for everything
// written since.
func (t *txn) last(prefix []byte) (uint64, error) {
	if t.isCleared(prefix) {
		return 0, nil
	}
	return lastNumber(t.w.store.db, prefix)
}

// isCleared reports whether a batch that is not in the database yet has cleared
// the prefix, or a part of the keys that it belongs to.
func (t *txn) isCleared(prefix []byte) bool {
	for _, l := range t.w.newer() {
		for _, cleared := range l.cleared {
			if strings.HasPrefix(string(prefix), cleared) {
				return true
			}
		}
	}
	return false
}

// scan calls f for every row under a prefix as the operation would see it if it
// had changed nothing itself, in no particular order.
func (t *txn) scan(prefix []byte, f func(key, value []byte) error) error {
	layers := t.w.newer()
	decided := func(key string, newer []*layer) bool {
		for _, l := range newer {
			if _, ok := l.get(key); ok {
				return true
			}
		}
		return false
	}
	for i, l := range layers { // newest first
		for key, value := range l.rows {
			if value == nil || !strings.HasPrefix(key, string(prefix)) || decided(key, layers[:i]) {
				continue
			}
			if err := f([]byte(key), value); err != nil {
				return err
			}
		}
	}
	for row, err := range scanPrefix(t.w.store.db, prefix) {
		if err != nil {
			return err
		}
		if decided(string(row.key), layers) {
			continue
		}
		value, err := row.value()
		if err != nil {
			return err
		}
		if err := f(row.key, value); err != nil {
			return err
		}
	}
	return nil
}

// needConversation fails unless the account has the contact or the group.
func (t *txn) needConversation(account identity.PublicKey, conversation ConversationID) error {
	c, err := t.w.conversation(t, account, conversation)
	if err == nil && !c.exists {
		err = fmt.Errorf("conversation %s of account %s: %w", conversation.Short(), account.Short(), ErrNotFound)
	}
	return err
}

// needAccount fails unless the account exists.
func (t *txn) needAccount(account identity.PublicKey) error {
	known, err := t.has(accountKey(account))
	if err == nil && !known {
		err = fmt.Errorf("account %s: %w", account.Short(), ErrNotFound)
	}
	return err
}

// needSpace fails when the disk is too full to take in something new.
func (t *txn) needSpace() error {
	if t.w.store.space.low() {
		return ErrDiskFull
	}
	return nil
}

// write adds the operation's changes to a batch.
func (t *txn) write(b *batch) error {
	for _, c := range t.changes {
		if err := b.write(c); err != nil {
			return fmt.Errorf("add to batch: %w", err)
		}
	}
	return nil
}
