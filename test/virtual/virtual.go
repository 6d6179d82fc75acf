// SPDX-License-Identifier: MPL-2.0

// Package virtual passes the time of a testing/synctest bubble. It is for tests, and
// touches nothing but the clock.
package virtual

import "time"

// realTime is where no bubble comes: their clocks begin in the year 2000.
var realTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Sleep lets d of virtual time pass. It panics outside of a bubble: a test that waits
// in real time waits for a condition instead, see package poll.
func Sleep(d time.Duration) {
	if time.Now().After(realTime) {
		panic("virtual.Sleep outside of a testing/synctest bubble")
	}
	time.Sleep(d) //nolint:forbidigo // virtual time
}
