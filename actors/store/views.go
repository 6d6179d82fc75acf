// SPDX-License-Identifier: MPL-2.0

package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// views hands the state as of the last synced commit to readers. One commit is
// under way at a time, so a snapshot that is taken when it has ended, and before
// the next begins, shows exactly what is on the disk.
type views struct {
	db *pebble.DB

	mu       sync.Mutex
	current  *view // nil before open and after close
	unclosed int   // views that are not closed yet
	drained  chan struct{}
}

// view is a snapshot with the number of its users.
type view struct {
	snapshot *pebble.Snapshot
	users    int // readers, and views itself while it is current
}

func (v *views) open(db *pebble.DB) {
	v.db = db
	v.drained = make(chan struct{})
	_ = v.publish() // the first
}

// publish makes the present state visible to readers. The caller releases the
// view before it.
func (v *views) publish() *view {
	fresh := &view{snapshot: v.db.NewSnapshot(), users: 1}
	v.mu.Lock()
	old := v.current
	v.current = fresh
	v.unclosed++
	v.mu.Unlock()
	return old
}

// acquire returns the current view, or nil when the store is closed.
func (v *views) acquire() *view {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil {
		v.current.users++
	}
	return v.current
}

func (v *views) release(old *view) {
	if old == nil {
		return
	}
	v.mu.Lock()
	old.users--
	last := old.users == 0
	v.mu.Unlock()
	if !last {
		return
	}
	_ = old.snapshot.Close() // fails only when closed twice
	v.mu.Lock()
	v.unclosed--
	if v.unclosed == 0 && v.current == nil {
		close(v.drained)
	}
	v.mu.Unlock()
}

// close refuses further readers. The channel is closed when the last one has
// finished.
func (v *views) close() <-chan struct{} {
	v.mu.Lock()
	old := v.current
	v.current = nil
	v.mu.Unlock()
	v.release(old)
	return v.drained
}

// read calls f with the state as of the last synced commit.
func (s *Store) read(f func(r rows) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	v := s.views.acquire()
	if v == nil {
		return ErrClosed
	}
	defer s.views.release(v)
	return f(v.snapshot)
}
