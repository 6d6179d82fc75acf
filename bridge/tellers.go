// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// tellers tell rooms something, each by itself: one that does not answer delays no
// other, and one that refuses is told later. It is safe for use by many goroutines.
type tellers struct {
	retry kernel.Backoff
	group sync.WaitGroup

	mu    sync.Mutex
	busy  map[store.Conversation]bool
	fails map[store.Conversation]tellFailure
	ended map[store.Conversation]telling // since the last call of results
}

// telling is the outcome of one notice.
type telling struct {
	open bool // the room has a notice that is to be edited
	err  error
}

// tellFailure is a notice that was not accepted.
type tellFailure struct {
	tries int
	next  time.Time
}

func newTellers(retry kernel.Backoff) *tellers {
	return &tellers{
		retry: retry, busy: make(map[store.Conversation]bool),
		fails: make(map[store.Conversation]tellFailure), ended: make(map[store.Conversation]telling),
	}
}

// start tells a room, unless it is being told or its pause is not over. It reports
// whether it does.
func (t *tellers) start(at store.Conversation, tell func() (open bool, err error)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[at] || time.Now().Before(t.fails[at].next) {
		return false
	}
	t.busy[at] = true
	t.group.Go(func() {
		open, err := tell()
		t.end(at, telling{open, err})
	})
	return true
}

func (t *tellers) end(at store.Conversation, how telling) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, at)
	t.ended[at] = how
	if how.err == nil {
		delete(t.fails, at)
		return
	}
	failure := t.fails[at]
	pause := t.retry.Delay(failure.tries)
	if wait := (*homeserver.RetryAfter)(nil); errors.As(how.err, &wait) {
		pause = max(pause, min(wait.Delay, homeserver.MaxRetryAfter))
	}
	t.fails[at] = tellFailure{failure.tries + 1, time.Now().Add(pause)}
}

// results returns what has ended since the last call.
func (t *tellers) results() map[store.Conversation]telling {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := maps.Clone(t.ended)
	clear(t.ended)
	return ended
}
