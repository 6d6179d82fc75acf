// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	soonest = 50 * time.Millisecond
	latest  = 1500 * time.Millisecond
)

// Bars R01, R02: killed at random moments under load: while it starts, while it
// catches up, and with everything in motion.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	seed := drawSeed()
	for i, d := range directions {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.note = fmt.Sprintf("seed %d: ", seed)
			random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // no secret
			end := w.load(d)
			for range *killsFlag {
				if random.IntN(2) == 0 {
					w.progress(d, 1+random.IntN(2*window))
				}
				w.run(soonest + time.Duration(random.Int64N(int64(latest-soonest))))
				w.kill()
				if random.IntN(2) == 0 {
					w.homeserver.ForgetTransactions()
				}
				w.must(w.victim.Launch())
			}
			w.must(w.victim.Ready(w.soon()))
			w.progress(d, 1)
			end()
			w.check(d)
		})
	}
}

// drawSeed returns the seed of the random moments.
func drawSeed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return rand.Uint64() //nolint:gosec // no secret
}
