// SPDX-License-Identifier: MPL-2.0

//go:build unix

package budget_test

import (
	"syscall"
	"testing"
	"time"
)

// processorTime is what this process has used of all cores.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
