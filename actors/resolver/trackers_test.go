// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTrackers_RankingAndBackOff(t *testing.T) {
	now := time.Unix(1e9, 0)
	slow, quick, down := &trackerState{latency: time.Second}, &trackerState{latency: time.Millisecond}, &trackerState{latency: time.Microsecond}
	down.timedOut(now, 0)
	all := []*trackerState{down, slow, quick}
	if got := best(all, 3, now); len(got) != 2 || got[0] != quick || got[1] != slow {
		t.Error("want the quick one first, and not the one that is backing off")
	}
	later := now.Add(backOffMin)
	if got := best(all, 3, later); len(got) != 3 || got[2] != down {
		t.Error("want it again after the back-off, last")
	}
	down.open = 1
	if got := best(all, 3, later); len(got) != 2 {
		t.Error("by one query at a time")
	}
	for range 20 {
		down.timedOut(down.retryAt, 0)
	}
	if pause := down.retryAt.Sub(now); pause > 20*backOffMax {
		t.Errorf("20 failures: backs off for %v", pause)
	}
	down.timedOut(down.retryAt.Add(-1), 0)
	if down.failures != 21 {
		t.Errorf("%d failures, queries that were open together count once", down.failures)
	}
	down.open = 0
	down.answered(time.Millisecond)
	if got := best(all, 1, now); len(got) != 1 || got[0] != quick && got[0] != down {
		t.Error("one that answers again is like the others")
	}
}
