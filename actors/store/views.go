// SPDX-License-Identifier: MPL-2.0

package store

import (
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// views gives readers the state as of the last synced commit. One commit is
// under way at a time, so a snapshot that is taken when it has ended, and before
// the next begins, shows exactly what is on the disk.
type views struct {
	db   *pebble.DB
	wake chan struct{} // something was retired
	done chan struct{} // closed when all views are closed for good

	mu       sync.Mutex
	current  *view              // nil after close
	removals uint64             // see view
	unclosed int                // snapshots
	retired  []*pebble.Snapshot // not used any more
}

// view is a snapshot with the number of its users.
type view struct {
	snapshot *pebble.Snapshot
	removals uint64 // batches with the removal of an account that it has, since open
	users    int    // readers, and views itself while it is current
}

// open shows the present state and starts the goroutine that closes what is not
// used any more. It ends after close, when the last reader has finished.
func (v *views) open(db *pebble.DB) {
	v.db = db
	v.wake = make(chan struct{}, 1)
	v.done = make(chan struct{})
	v.publish(false)
	go v.sweep()
}

// publish makes the present state visible to readers. removal says that an account was
// removed since the last call.
func (v *views) publish(removal bool) {
	fresh := &view{snapshot: v.db.NewSnapshot(), users: 1}
	v.mu.Lock()
	if removal {
		v.removals++
	}
	fresh.removals = v.removals
	old := v.current
	v.current = fresh
	v.unclosed++
	v.mu.Unlock()
	v.release(old)
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

// release retires a view that has no users any more. Closing a snapshot may wait
// for the disk, which neither a reader nor the next commit should.
func (v *views) release(old *view) {
	if old == nil {
		return
	}
	v.mu.Lock()
	old.users--
	last := old.users == 0
	if last {
		v.retired = append(v.retired, old.snapshot)
	}
	v.mu.Unlock()
	if last {
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
}

// close refuses further readers. The channel is closed when the last one has
// finished and every snapshot is closed.
func (v *views) close() <-chan struct{} {
	v.mu.Lock()
	old := v.current
	v.current = nil
	v.mu.Unlock()
	v.release(old)
	return v.done
}

// sweep closes retired snapshots.
func (v *views) sweep() {
	for range v.wake {
		v.mu.Lock()
		retired := v.retired
		v.retired = nil
		v.mu.Unlock()
		// Pebble looks for work whenever the oldest snapshot goes: once is enough.
		for _, snapshot := range slices.Backward(retired) {
			_ = snapshot.Close() // fails only when closed twice
		}
		v.mu.Lock()
		v.unclosed -= len(retired)
		over := v.current == nil && v.unclosed == 0
		v.mu.Unlock()
		if over {
			close(v.done)
			return
		}
	}
}

// read calls f with the state as of the last synced commit.
func (s *Store) read(f func(r rows) error) error {
	return s.readView(func(r rows, _ uint64) error { return f(r) })
}

// readView is read for what is remembered from one call to another: removals says
// whether an account of that id may be another one meanwhile.
func (s *Store) readView(f func(r rows, removals uint64) error) error {
	if err := s.failure(); err != nil {
		return err
	}
	v := s.views.acquire()
	if v == nil {
		return ErrClosed
	}
	defer s.views.release(v)
	return f(v.snapshot, v.removals)
}
