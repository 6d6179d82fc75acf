// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/fault"
)

// Monitor notes whether something outside works, as last seen. It is safe for use by
// many goroutines.
type Monitor struct {
	mu    sync.Mutex
	state Health
	last  time.Time // of the last success
	onUp  func()    // called without the lock, after it came back
}

// Health says whether something outside works.
type Health struct {
	// OK is what was seen last. Before anything was seen it is false, and Error empty.
	OK bool `json:"ok"`
	// Since is when OK became what it is.
	Since time.Time `json:"since,omitzero"`
	// Error is the failure, in one sentence for people.
	Error string `json:"error,omitempty"`
}

// Up notes a success, and calls the function of OnUp when it follows a failure.
func (h *Monitor) Up() {
	h.mu.Lock()
	h.last = time.Now()
	changed := !h.state.OK
	if changed {
		h.state = Health{OK: true, Since: h.last}
	}
	onUp := h.onUp
	h.mu.Unlock()
	if changed && onUp != nil {
		onUp()
	}
}

// OnUp sets what is called when a success follows a failure, without a lock.
func (h *Monitor) OnUp(onUp func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onUp = onUp
}

// Down notes a failure.
func (h *Monitor) Down(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.OK || h.state.Since.IsZero() {
		h.state.Since = time.Now()
	}
	h.state.OK = false
	h.state.Error = fault.OneLine(err)
}

// Health returns what was seen last.
func (h *Monitor) Health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// LastUp returns when the last success was, zero for never.
func (h *Monitor) LastUp() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// QuietFor returns how long ago the last success was.
func (h *Monitor) QuietFor() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.last)
}
