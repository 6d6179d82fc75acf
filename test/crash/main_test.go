// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/test/process"
)

var (
	killsFlag    = flag.Int("kills", 3, "how often the node is killed at random, in each direction")
	togetherFlag = flag.Int("together", 0, "how often the node and Dendrite are killed at the same moment")
	seedFlag     = flag.Uint64("seed", 0, "of the random moments; 0 draws one")
)

// program is mimird, built once.
var program string

func TestMain(m *testing.M) {
	// The tests mostly wait for nodes that find each other again.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "mimird-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if program = os.Getenv(insideEnv); program == "" {
		program = filepath.Join(dir, "mimird")
		if err := process.BuildMimird(context.Background(), program); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	} else if err := mountDisk(os.Getenv(diskEnv), diskSize); err != nil {
		fmt.Fprintln(os.Stderr, "mount a disk:", err)
		os.Exit(exitForbidden)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		printTotals()
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const (
	// patience bounds waiting for what takes seconds; it is only ever reached when
	// something is broken.
	patience = 90 * time.Second
	// pollEvery is how often a condition is looked at that nobody tells of.
	pollEvery = 10 * time.Millisecond
)

// poll waits until a condition holds. It reports false when that takes too long,
// or when stop is closed before.
func poll(stop <-chan struct{}, condition func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-stop:
			return condition()
		case <-deadline.C:
			return false
		}
	}
	return true
}

// long reports whether the tests take their time, as in make crash.
func long() bool { return *killsFlag >= 10 }
