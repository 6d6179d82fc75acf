// SPDX-License-Identifier: MPL-2.0

// Package poll waits in real time for what another process or a real network does,
// which no channel announces. It is for tests and the programs below test.
package poll

import (
	"context"
	"time"
)

// every is the pause between two looks at a condition.
const every = 5 * time.Millisecond

// Until returns true as soon as the condition holds, and false when the context ends
// before.
func Until(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// Pass lets d of real time pass, for the random moments of faults and for
// measurements over a time. It returns false when the context ends before. It is
// not for waiting until something has happened.
func Pass(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
