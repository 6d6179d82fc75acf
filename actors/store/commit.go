// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// slowCommit is how long a commit may take before an operator should know.
const slowCommit = 2 * time.Second

// batch is a group of operations that are committed together. The writer builds it, and
// changes it no more once the commit goroutine has it.
type batch struct {
	rows *pebble.Batch
	// events are rows that come behind the others. Pebble inserts a row fastest next
	// to the one that it has inserted before, and events are next to each other in the
	// database, not in the order of operations.
	events  *pebble.Batch
	layer   layer
	ops     int
	bytes   int
	sync    bool
	removal bool // an account is removed
	// contacts are the keys of the rows of contacts that are written.
	contacts []string
	touched  map[Conversation]Touched
	answers  []answer

	// answered is set by the side that answers the callers: the commit, or the actor
	// when the store has failed and the commit may never return.
	answered atomic.Bool
}

// newBatch returns a batch with space for about as many rows.
func newBatch(db *pebble.DB, rows int) *batch {
	return &batch{rows: db.NewBatch(), events: db.NewBatch(), layer: newLayer(rows), touched: make(map[Conversation]Touched)}
}

// write adds one change.
func (b *batch) write(c change) error {
	switch c.kind {
	case changePut:
		key := string(c.key)
		b.layer.put(key, c.value)
		if isContactKey(key) {
			b.contacts = append(b.contacts, key)
		}
		return b.rows.Set(c.key, c.value, nil)
	case changeAppend:
		return b.rows.Set(c.key, c.value, nil)
	case changeEvent:
		return b.events.Set(c.key, c.value, nil)
	}
	// What is deleted may be events that came before.
	if err := b.mergeEvents(); err != nil {
		return err
	}
	if c.kind == changeDelete {
		b.layer.put(string(c.key), nil)
		return b.rows.Delete(c.key, nil)
	}
	b.layer.clear(string(c.key))
	return b.rows.DeleteRange(c.key, prefixEnd(c.key), nil)
}

// mergeEvents moves the events to the end of the other rows.
func (b *batch) mergeEvents() error {
	if err := b.rows.Apply(b.events, nil); err != nil {
		return fmt.Errorf("merge events: %w", err)
	}
	b.events.Reset()
	return nil
}

// discard frees a batch that was not applied, or is applied now.
func (b *batch) discard() error { return errors.Join(b.events.Close(), b.rows.Close()) }

type answer struct {
	to      caller
	written Written
}

// answerAll answers with the results, or with the error in place of all.
func answerAll(answers []answer, err error) {
	for _, a := range answers {
		if err != nil {
			a.written.Result, a.written.Err = nil, err
		}
		a.to.answer(a.written)
	}
}

// answer answers the callers of the batch, once.
func (b *batch) answer(err error) {
	if b.answered.CompareAndSwap(false, true) {
		answerAll(b.answers, err)
	}
}

// commit writes the batch, publishes it to readers, wakes watches and answers
// the callers. It blocks for the disk and returns only when the outcome is known:
// any error is final. When the disk fails it may not return at all, see failStop.
func (b *batch) commit(s *Store) error {
	begun := time.Now()
	err := s.apply(b)
	if err != nil {
		b.answer(err)
		return err
	}
	if len(b.contacts) > 0 || b.removal {
		s.names.publish(b, func() { s.views.publish(b.removal) })
	} else {
		s.views.publish(false)
	}
	s.watches.wake(b.touched)
	b.answer(nil)
	if took := time.Since(begun); took > slowCommit {
		s.log.Warn("disk is slow", "took", took, "count", b.ops, "bytes", b.bytes)
	}
	return nil
}

// apply commits to Pebble. With sync it returns when the batch is on the disk.
func (s *Store) apply(b *batch) error {
	if err := b.mergeEvents(); err != nil {
		return s.fail(fmt.Errorf("commit: %w", err))
	}
	opts := pebble.NoSync
	if b.sync {
		opts = pebble.Sync
		if err := s.number(b.rows); err != nil {
			return s.fail(fmt.Errorf("commit: %w", err))
		}
	}
	if err := s.guard(func() error { return s.db.Apply(b.rows, opts) }); err != nil {
		return s.fail(fmt.Errorf("commit: %w", err))
	}
	if err := s.failure(); err != nil {
		return err // another goroutine met it meanwhile; the commit does not count
	}
	if b.sync {
		s.synced.Store(s.count)
	}
	if err := b.discard(); err != nil {
		return s.fail(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// job is a batch for the commit goroutine.
type job struct {
	batch *batch
	ended func()
}

var errUnderWay = errors.New("another commit is under way")

// startCommit passes a batch to the goroutine that commits, which belongs to the
// store: when the disk fails it is parked, and an actor could not wait for it.
// ended is called from there after a commit that succeeded. There is one commit
// at a time.
func (s *Store) startCommit(b *batch, ended func()) error {
	select {
	case s.slot <- struct{}{}:
	default:
		return errUnderWay
	}
	s.jobs <- job{b, ended}
	return nil
}

// commits is that goroutine. It also writes the marker, between commits. It ends
// when jobs is closed.
func (s *Store) commits() {
	defer close(s.committed)
	var stale <-chan time.Time // the marker is older than a commit; nil when it is not
	for {
		select {
		case j, open := <-s.jobs:
			if !open {
				return
			}
			err := j.batch.commit(s)
			<-s.slot
			if err == nil {
				j.ended()
			}
			if stale == nil {
				stale = time.After(markerInterval)
			}
		case <-s.due:
			stale = s.retryMarker()
		case <-stale:
			stale = s.retryMarker()
		}
	}
}

// retryMarker brings the marker up to date. When it cannot, it returns when to try again.
func (s *Store) retryMarker() <-chan time.Time {
	if s.refreshMarker() {
		return nil
	}
	return time.After(markerInterval)
}

// committing reports whether a commit is under way.
func (s *Store) committing() bool { return len(s.slot) > 0 }

// settled waits until no commit is under way or the store has failed. It is not
// for actors.
func (s *Store) settled() {
	select {
	case s.slot <- struct{}{}:
		<-s.slot
	case <-s.failed:
	}
}
