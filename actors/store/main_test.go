// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// envOpen makes the test binary a second process that opens the store in the
// directory that it names, says what happened, and ends.
const envOpen = "MIMIRD_TEST_OPEN_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envOpen); dir != "" {
		s, err := Open(Options{Dir: dir})
		if err == nil {
			err = s.Close()
		}
		if errors.Is(err, ErrInUse) {
			fmt.Println("in use")
		} else {
			fmt.Println("error:", err)
		}
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(excused...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// excused are the goroutines of failed stores.
var excused []goleak.Option

// LeavesGoroutines begins a test in which a store fails. A failed store leaves
// everything as it is for the end of the process, so its goroutines are excused
// from the check at the end, and only those.
func LeavesGoroutines(t *testing.T) {
	t.Helper()
	goleak.VerifyNone(t, excused...)
	t.Cleanup(func() { excused = append(excused, goleak.IgnoreCurrent()) })
}
