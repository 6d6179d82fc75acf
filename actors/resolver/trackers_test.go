// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"testing"
	"time"
)

func TestTrackersAreRankedAndLeftAlone(t *testing.T) {
	now := time.Unix(1e9, 0)
	slow, quick, silent := &trackerState{latency: time.Second}, &trackerState{latency: time.Millisecond}, &trackerState{latency: time.Microsecond}
	silent.silent(now, 0)
	all := []*trackerState{silent, slow, quick}
	if got := best(all, 3, now); len(got) != 2 || got[0] != quick || got[1] != slow {
		t.Error("want the quick one first, and the one that was silent left alone")
	}
	later := now.Add(quietFirst)
	if got := best(all, 3, later); len(got) != 3 || got[2] != silent {
		t.Error("it must be asked again after a while, after those that answer")
	}
	silent.open = 1
	if got := best(all, 3, later); len(got) != 2 {
		t.Error("by one question at a time")
	}
	for range 20 {
		silent.silent(silent.quietUntil, 0)
	}
	if pause := silent.quietUntil.Sub(now); pause > 20*quietMost {
		t.Errorf("20 failures: left alone for %v", pause)
	}
	silent.silent(silent.quietUntil.Add(-1), 0)
	if silent.failures != 21 {
		t.Errorf("%d failures, questions that were open together count once", silent.failures)
	}
	silent.open = 0
	silent.answered(time.Millisecond)
	if got := best(all, 1, now); len(got) != 1 || got[0] != quick && got[0] != silent {
		t.Error("one that answers again is like the others")
	}
}
