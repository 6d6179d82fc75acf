// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"sync"
	"time"
)

const (
	// backlogSize is how many events of a conversation wait when there is a backlog.
	backlogSize = 8
	// backlogTime is how long after one of them was shown it is taken to last.
	backlogTime = 2 * time.Second
	// backlogPause is the pause of who makes way for it.
	backlogPause = time.Second
)

// backlog lets what can wait make way while many events are brought into rooms: a
// homeserver that is asked for news meanwhile looks for some after each of them. Its
// zero value is there. It is safe for use by many goroutines.
type backlog struct {
	begins broadcast

	mu    sync.Mutex
	until time.Time
}

// shown is told that an event was shown behind which others wait.
func (b *backlog) shown(others int) {
	if others < backlogSize {
		return
	}
	b.mu.Lock()
	begins := !b.lastsLocked()
	b.until = time.Now().Add(backlogTime)
	b.mu.Unlock()
	if begins {
		b.begins.happened()
	}
}

func (b *backlog) lastsLocked() bool { return time.Now().Before(b.until) }

// makeWay returns at once when there is no backlog, otherwise after a pause, or when
// ctx ends. It reports whether there was one.
func (b *backlog) makeWay(ctx context.Context) bool {
	b.mu.Lock()
	lasts := b.lastsLocked()
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

// unlessBegins calls f with a context that also ends when a backlog begins.
func (b *backlog) unlessBegins(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	begins := b.begins.next()
	watcher.Go(func() {
		select {
		case <-begins:
			cancel()
		case <-ctx.Done():
		}
	})
	return f(ctx)
}
