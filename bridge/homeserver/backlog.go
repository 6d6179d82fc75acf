// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"sync"
	"time"
)

const (
	// backlogSize is how many events of a conversation wait when there is a backlog.
	backlogSize = 8
	// backlogTime is how long after one of them was shown it is taken to last: more may
	// come, and a request that is kept then is kept for long.
	backlogTime = 10 * time.Second
	// backlogPause is the pause of who makes way for it.
	backlogPause = time.Second
)

// Backlog lets what can wait make way while many events are brought into rooms: a
// homeserver that is asked for news meanwhile looks for some after each of them. Its
// zero value is there. It is safe for use by many goroutines.
//
// A request that the homeserver keeps already is not given up: Dendrite v0.15.2 with
// SQLite may end when somebody goes away while it looks.
type Backlog struct {
	mu    sync.Mutex
	until time.Time
}

// Note is told that an event was shown behind which others wait.
func (b *Backlog) Note(others int) {
	if others < backlogSize {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(backlogTime)
}

// Yield returns at once when there is no backlog, otherwise after a pause, or when
// ctx ends. It reports whether there was one.
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
