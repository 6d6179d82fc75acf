// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"maunium.net/go/mautrix/id"
)

const (
	// maxTellTries is how often a notice about an event may fail while the homeserver
	// answers other requests.
	maxTellTries = 20
	// maxEventFailures bounds the events that are remembered.
	maxEventFailures = 1024
)

// eventFailures counts the failures of requests for an event, so that the events behind
// it in the same room do not wait for ever. It is safe for use by many goroutines.
type eventFailures struct {
	lastUp func() time.Time // when the homeserver last answered a request well

	mu     sync.Mutex
	events map[id.EventID]eventFailure
}

type eventFailure struct {
	count int
	last  time.Time // when it was counted
}

// isHopeless notes that a request for an event has failed, and reports whether to give
// up: the homeserver has refused it, or has failed limit times while it answered other
// requests. Failures while it does not answer, and those without it, do not count.
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
