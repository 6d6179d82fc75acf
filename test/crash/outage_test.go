// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"flag"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/bridgetest"
)

var waitingFlag = flag.Int("waiting", 500, "how many texts wait for the homeserver that is away")

const (
	// drainTime is how long what has waited may take to be shown.
	drainTime = 5 * time.Minute
	// moreMemory is how many KiB of memory the waiting may cost.
	moreMemory = 64 << 10
	// lookEvery is how often it is looked at.
	lookEvery = 250 * time.Millisecond
)

// Bar R06: thousands of texts come in while the homeserver is away. All of them are
// acknowledged meanwhile, wait on the disk, and are shown in order when it is back.
func TestOutageOfTheHomeserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown})
	before := w.memory()
	var writers sync.WaitGroup
	for _, c := range w.talks {
		writers.Go(func() {
			for range *waitingFlag / len(w.talks) {
				if err := c.write(t.Context(), mimirToMatrix); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	w.within(drainTime, "every text is acknowledged", func() bool {
		for _, c := range w.talks {
			if n, err := c.waiting(t.Context()); n > 0 || err != nil {
				return false
			}
		}
		return true
	})
	highest := w.memory()

	w.homeserver.SetFault(bridgetest.Fault{})
	returned := time.Now()
	looked := returned
	w.within(drainTime, "every text is shown", func() bool {
		if time.Since(looked) > lookEvery {
			highest, looked = max(highest, w.memory()), time.Now()
		}
		for _, c := range w.talks {
			if c.underWay(mimirToMatrix) > 0 {
				return false
			}
		}
		return true
	})
	t.Logf("%d texts shown %v after the homeserver was back; %d MiB of memory before, %d MiB at most",
		*waitingFlag, time.Since(returned).Round(time.Millisecond), before>>10, highest>>10)
	if highest > before+moreMemory {
		t.Errorf("the node has grown from %d to %d MiB", before>>10, highest>>10)
	}
	w.check(directions...)
}

// within is for what takes longer than everything else here.
func (w *world) within(limit time.Duration, what string, condition func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	for !poll(ctx.Done(), condition) {
		if ctx.Err() != nil {
			w.t.Fatalf("%sin vain for %v: %s\n%s", w.note, limit, what, w.verdict(directions...))
		}
	}
}

// memory is how many KiB of memory the node takes.
func (w *world) memory() int {
	w.t.Helper()
	pid := strconv.Itoa(w.victim.Process().PID())
	out, err := exec.CommandContext(w.t.Context(), "ps", "-o", "rss=", "-p", pid).Output()
	w.must(err)
	kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	w.must(err)
	return kib
}
