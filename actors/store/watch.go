// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"sync"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
)

// maxWatched is how many conversations a watch remembers between two Takes.
const maxWatched = 4096

// Touched says what has happened in a conversation: a bit for each kind of event, and one
// for the queue of transfers.
type Touched uint64

const (
	touchedQueue Touched = 1 << 63
	touchedAll           = ^Touched(0)
)

func touchedBy(kind EventKind) Touched { return 1 << kind }

// Only reports whether nothing but events of some kinds has happened, and nothing with
// the queue of transfers.
func (t Touched) Only(kinds ...EventKind) bool {
	for _, kind := range kinds {
		t &^= touchedBy(kind)
	}
	return t == 0
}

// Transfers reports whether the queue of transfers has changed.
func (t Touched) Transfers() bool { return t&touchedQueue != 0 }

// Changes are the conversations that got events.
type Changes struct {
	Conversations map[Conversation]Touched
	// All is set when there were more than a watch remembers, and instead of them:
	// read every conversation.
	All bool
}

// Watch wakes one consumer of the event log. It only says where; the events
// are read from the log, after the consumer's cursor.
type Watch struct {
	owner   *watches
	account identity.PublicKey // zero: all accounts
	wake    chan struct{}

	mu      sync.Mutex
	changes Changes
}

// Watch returns a watch over one account, or over all when account is zero. What
// happened before is not reported: create the watch first, then read the log, then
// wait. The owner has to call Close.
func (s *Store) Watch(account identity.PublicKey) *Watch {
	w := &Watch{owner: &s.watches, account: account, wake: make(chan struct{}, 1)}
	s.watches.add(w)
	return w
}

// C gets a value when there is something to Take. Wake-ups coalesce. It is closed
// by Close, of the watch or of the store.
func (w *Watch) C() <-chan struct{} { return w.wake }

// LogChanged tells an actor that called [Store.WatchLog] that conversations have new
// events in the log. The receiver calls Release.
type LogChanged struct {
	Changes Changes
	slot    *kernel.Credits
}

// Release allows the next LogChanged. The receiver calls it once.
func (m LogChanged) Release() { m.slot.Release(1) }

// WatchLog sends the actor of c a [LogChanged] whenever the log of one account, or of
// all when account is zero, has new events, until the incarnation of the actor ends.
// One is in the mailbox at a time. An actor that calls it before it reads the store
// misses nothing: what changes in between is reported although it was read.
func (s *Store) WatchLog(c *kernel.Context, account identity.PublicKey) {
	watch, inbox := s.Watch(account), c.Inbox()
	slot := kernel.NewCredits(1, 1)
	c.Go("watch", func(ctx context.Context) error {
		defer watch.Close()
		for {
			if err := slot.Acquire(ctx, 1); err != nil {
				return nil // the actor stops
			}
			select {
			case <-ctx.Done():
				return nil
			case <-watch.C():
			}
			inbox.Tell(LogChanged{Changes: watch.Take(), slot: slot})
		}
	})
}

// Take returns the conversations with events synced since the last Take, and
// forgets them. It may be called at any time.
func (w *Watch) Take() Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.changes
	w.changes = Changes{}
	return taken
}

// Close ends the watch. It may be called more than once.
func (w *Watch) Close() { w.owner.remove(w) }

// note adds conversations of a commit and wakes the owner.
func (w *Watch) note(touched map[Conversation]Touched) {
	w.mu.Lock()
	added := false
	for conversation, by := range touched {
		if !w.account.IsZero() && conversation.Account != w.account {
			continue
		}
		added = true
		switch {
		case w.changes.All:
		case len(w.changes.Conversations) >= maxWatched:
			w.changes = Changes{All: true}
		default:
			if w.changes.Conversations == nil {
				w.changes.Conversations = make(map[Conversation]Touched)
			}
			w.changes.Conversations[conversation] |= by
		}
	}
	w.mu.Unlock()
	if added {
		select {
		case w.wake <- struct{}{}:
		default: // a wake-up is waiting already
		}
	}
}

// watches are the watches of a store.
type watches struct {
	mu     sync.Mutex
	set    map[*Watch]struct{}
	closed bool
}

func (ws *watches) add(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		close(w.wake)
		return
	}
	if ws.set == nil {
		ws.set = make(map[*Watch]struct{})
	}
	ws.set[w] = struct{}{}
}

func (ws *watches) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.set[w]; ok {
		delete(ws.set, w)
		close(w.wake)
	}
}

func (ws *watches) wake(touched map[Conversation]Touched) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(touched) == 0 {
		return
	}
	for w := range ws.set {
		w.note(touched)
	}
}

func (ws *watches) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.set {
		close(w.wake)
	}
	clear(ws.set)
}
