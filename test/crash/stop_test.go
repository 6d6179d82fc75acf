// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"testing"
	"time"
)

// stopTime is what an orderly stop may take.
const stopTime = 10 * time.Second

// Bar R14: stopped in order under load, again and again: 50 times with -kills 20.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.load(directions...)
	stops := 2
	if long() {
		stops = *killsFlag * 5 / 2
	}
	for range stops {
		for _, d := range directions {
			w.progress(d, window)
		}
		begun := time.Now()
		w.must(w.victim.Stop())
		if took := time.Since(begun); took > stopTime {
			t.Errorf("the stop took %v", took)
		}
		if err := w.victim.Process().Err(); err != nil {
			t.Errorf("the node has ended with %v", err)
		}
		w.must(w.victim.Start(w.soon()))
	}
	end()
	w.check(directions...)
}
