// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"maunium.net/go/mautrix/id"
)

const (
	// maxTellTries is how often the homeserver may fail to take what the bot says about
	// an event, while it answers other requests.
	maxTellTries = 20
	// maxEventFailures bounds the events that are remembered.
	maxEventFailures = 1024
)

// eventFailures counts what fails for an event, so that the events behind it in the
// same room wait no longer than they have to. It is safe for use by many goroutines.
type eventFailures struct {
	lastUp func() time.Time // when the homeserver last answered a request well

	mu     sync.Mutex
	events map[id.EventID]eventFailure
}

type eventFailure struct {
	count int
	last  time.Time // when it was counted
}

// isHopeless notes that a request for an event has failed, and reports whether it
// would fail again: the homeserver has refused it, or has failed so often while it
// answered other requests. While it answers nothing, nothing is hopeless, and neither
// is what failed without it.
func (f *eventFailures) isHopeless(evt id.EventID, err error, limit int) bool {
	switch homeserver.AnswerOf(err) {
	case homeserver.AnswerNone, homeserver.AnswerAway:
		return false
	case homeserver.AnswerDoubtful:
		if homeserver.IsServerFault(err) {
			break
		}
		return true
	default:
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, known := f.events[evt]
	if !known && len(f.events) >= maxEventFailures || f.events == nil {
		f.events = make(map[id.EventID]eventFailure)
	}
	if !known || f.lastUp().After(at.last) {
		f.events[evt] = eventFailure{at.count + 1, time.Now()}
	}
	return f.events[evt].count >= limit
}
