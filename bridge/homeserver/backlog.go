// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"sync"
	"time"
)

const (
	// backlogSize is how many undelivered events of a conversation are a backlog.
	backlogSize = 8
	// backlogTime is how long a backlog lasts after one of them was shown: more may come,
	// and a long poll that begins then lasts for long.
	backlogTime = 10 * time.Second
	// backlogPause is how long Yield waits.
	backlogPause = time.Second
)

// Backlog lets long polls yield while many events are brought into rooms: a homeserver
// that holds a long poll meanwhile looks for news after each of them. It may go when
// Dendrite no longer does. The zero value is ready for use, by many goroutines.
//
// A long poll that the homeserver holds already is not cut: Dendrite v0.15.2 with SQLite
// may end when its client leaves while it looks.
type Backlog struct {
	mu    sync.Mutex
	until time.Time
}

// Note is called after an event was shown, with the number of events behind it.
func (b *Backlog) Note(others int) {
	if others < backlogSize {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(backlogTime)
}

// Yield returns at once when there is no backlog, otherwise after a pause or the end of
// ctx. It reports whether there is one.
func (b *Backlog) Yield(ctx context.Context) bool {
	b.mu.Lock()
	lasts := time.Now().Before(b.until)
	b.mu.Unlock()
	if !lasts {
		return false
	}
	timer := time.NewTimer(backlogPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}
