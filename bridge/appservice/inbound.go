// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// HeardPath says, to those who have the token, when the homeserver was heard.
	HeardPath = selfTestPath + "/heard"
	// DefaultUnreachableAfter is how long the homeserver may take until it sends back what
	// we have sent to it. Dendrite pauses for up to 64 s after a failure.
	DefaultUnreachableAfter = 150 * time.Second
)

// InboundHealth is what we have heard of the homeserver, and whether we should have. It
// is safe for use by many goroutines.
type InboundHealth struct {
	mu          sync.Mutex
	heard       Heard
	spoken      time.Time // when we began to send something that did not come back yet
	asked       time.Time // when we sent something only to see whether it comes back
	unreachable bool
}

// Heard is when a listener had visits. Both are zero for never.
type Heard struct {
	// Transaction is when the homeserver came with the right token, and Refused when
	// somebody came with a transaction and another token.
	Transaction time.Time `json:"transaction,omitzero"`
	Refused     time.Time `json:"refused,omitzero"`
}

func (h *InboundHealth) Heard() Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard
}

func (h *InboundHealth) heardNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Transaction, h.spoken = time.Now(), time.Time{}
}

func (h *InboundHealth) refusedNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Refused = time.Now()
}

// Sent notes that the homeserver took an event which it has to send back, if it
// is a new one. It may have been quicker than its answer.
func (h *InboundHealth) Sent(begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.spoken.IsZero() && h.heard.Transaction.Before(begun) {
		h.spoken = begun
	}
}

var errUnreachable = errors.New("the homeserver does not send the bridge what happens in its rooms")

// Check returns an error when the homeserver should have sent something for so
// long, and changed whether that is another result than the last time. Before that
// it wants to be sent something new, by ask: what was sent twice comes back once.
func (h *InboundHealth) Check(after time.Duration, address string, ask func() error) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waits := !h.spoken.IsZero() && time.Since(h.spoken) > after/2
	if waits && h.asked.Before(h.spoken) {
		begun := time.Now()
		h.mu.Unlock()
		err := ask()
		h.mu.Lock()
		if err == nil {
			h.asked = begun
		}
	}
	unreachable := waits && !h.spoken.IsZero() && h.asked.After(h.spoken) && time.Since(h.asked) > after/2
	changed, h.unreachable = unreachable != h.unreachable, unreachable
	switch {
	case unreachable && h.heard.Refused.After(h.spoken):
		return changed, fmt.Errorf("%w: it comes with another hs_token; give it the registration file and restart it", errUnreachable)
	case unreachable:
		return changed, fmt.Errorf("%w: it has to reach %s; mimird matrix doctor says more", errUnreachable, address)
	default:
		return changed, nil
	}
}
