// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
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

// sequences sets how many random sequences a model test runs. The flag
// -rapid.checks says otherwise; -short and the race detector run a tenth.
func sequences(t *testing.T, n int) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f == checks })
	if given {
		return
	}
	if testing.Short() {
		n /= 10
	}
	n = lessWithRace(n, n/10)
	before := checks.Value.String()
	t.Cleanup(func() { _ = checks.Value.Set(before) })
	if err := checks.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
}

// lessWithRace returns how often something is done: the race detector makes it ten
// times as slow, and what it looks for shows in a few.
func lessWithRace(n, withRace int) int {
	if raceEnabled {
		return withRace
	}
	return n
}

// excused are the goroutines of failed stores.
var excused = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/mimird/mimird/actors/store.park"),
	goleak.IgnoreAnyFunction("github.com/mimird/mimird/actors/store.failStop.do"),
}

// LeavesGoroutines begins a test in which a store fails. A failed store leaves
// everything as it is for the end of the process, so its goroutines are excused
// from the check at the end, and only those.
func LeavesGoroutines(t *testing.T) {
	t.Helper()
	goleak.VerifyNone(t, excused...)
	t.Cleanup(func() { excused = append(excused, goleak.IgnoreCurrent()) })
}
