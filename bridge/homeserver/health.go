// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/fault"
)

// Monitor is whether something outside works, as far as we have seen. It is safe
// for use by many goroutines.
type Monitor struct {
	mu    sync.Mutex
	state Health
	last  time.Time // of the last success
	onUp  func()    // called without the lock, after it came back
}

// Health is whether something outside works.
type Health struct {
	// OK is what was seen last. Before anything was seen it is false, without an
	// Error.
	OK bool
	// Since is when OK became what it is.
	Since time.Time
	// Error is what is wrong, in one sentence for people.
	Error string
}

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

func (h *Monitor) OnUp(onUp func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onUp = onUp
}

func (h *Monitor) Down(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.OK || h.state.Since.IsZero() {
		h.state.Since = time.Now()
	}
	h.state.OK = false
	h.state.Error = fault.OneLine(err)
}

func (h *Monitor) Health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// LastUp is when the last success was, zero for never.
func (h *Monitor) LastUp() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// QuietFor is how long ago the last success was.
func (h *Monitor) QuietFor() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.last)
}
