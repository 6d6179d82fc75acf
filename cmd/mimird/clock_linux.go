// SPDX-License-Identifier: MPL-2.0

package main

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/mimird/mimird/cmd/internal/doctor"
)

// readClock reads the clock, and asks the system whether something keeps it right.
func readClock() doctor.Clock {
	c := doctor.Clock{Now: time.Now()}
	var state unix.Timex
	if _, err := unix.Adjtimex(&state); err == nil {
		c.Known, c.Synchronised = true, state.Status&unix.STA_UNSYNC == 0
	}
	return c
}
