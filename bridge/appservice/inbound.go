// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// HeardPath is the path under which the listener says, to a caller with the token, when
	// the homeserver came: a [Heard] as JSON.
	HeardPath = selfTestPath + "/heard"
	// DefaultUnreachableAfter is how long the homeserver may take until it sends back an
	// event of the bridge. Dendrite pauses for up to 64 s after a failure.
	DefaultUnreachableAfter = 150 * time.Second
)

// InboundHealth notes when the homeserver reached the listener, and when it should have.
// It is safe for use by many goroutines.
type InboundHealth struct {
	mu          sync.Mutex
	heard       Heard
	owed        time.Time // since when the homeserver owes an event of the bridge
	asked       time.Time // when the last test event was sent
	unreachable bool
}

// Heard says when transactions came. Both are zero for never.
type Heard struct {
	// Transaction is when one came with the right token, and Refused when one came with
	// another token.
	Transaction time.Time `json:"transaction,omitzero"`
	Refused     time.Time `json:"refused,omitzero"`
}

// Heard returns when transactions came.
func (h *InboundHealth) Heard() Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard
}

func (h *InboundHealth) noteHeard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Transaction, h.owed = time.Now(), time.Time{}
}

func (h *InboundHealth) noteRefused() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Refused = time.Now()
}

// Sent notes that the homeserver has accepted an event which it has to send back, if it
// is a new one. begun is when the request began: the event may come before the answer.
func (h *InboundHealth) Sent(begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owed.IsZero() && h.heard.Transaction.Before(begun) {
		h.owed = begun
	}
}

var errUnreachable = errors.New("the homeserver does not send the bridge the events of its rooms")

// Check returns an error when the homeserver has owed an event for longer than after, and
// whether that differs from the last result. Before it does, it has ask send a new event:
// one that was sent twice comes back once. address is where the listener is reachable.
func (h *InboundHealth) Check(after time.Duration, address string, ask func() error) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waits := !h.owed.IsZero() && time.Since(h.owed) > after/2
	if waits && h.asked.Before(h.owed) {
		begun := time.Now()
		h.mu.Unlock()
		err := ask()
		h.mu.Lock()
		if err == nil {
			h.asked = begun
		}
	}
	unreachable := waits && !h.owed.IsZero() && h.asked.After(h.owed) && time.Since(h.asked) > after/2
	changed, h.unreachable = unreachable != h.unreachable, unreachable
	switch {
	case unreachable && h.heard.Refused.After(h.owed):
		return changed, fmt.Errorf("%w: its hs_token is wrong; give it the registration file and restart it", errUnreachable)
	case unreachable:
		return changed, fmt.Errorf("%w: it has to reach %s; mimird matrix doctor says more", errUnreachable, address)
	default:
		return changed, nil
	}
}
