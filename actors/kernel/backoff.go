// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff says how long a failed actor waits for its next incarnation, and when
// it is given up. A zero field has its default.
type Backoff struct {
	// Min is the first delay; it doubles with every further failure. Default 1 s.
	Min time.Duration
	// Max is where it stops growing. Default 2 min, or Min when that is larger.
	Max time.Duration
	// Reset is how long an incarnation must have lived for the next failure to
	// count as the first again. Default 5 min.
	Reset time.Duration
	// StormRestarts within StormWindow are allowed; the next failure in that
	// time ends the actor with ErrRestartStorm. Default 10 within 1 min.
	StormRestarts int
	StormWindow   time.Duration
	// Forever switches the storm rule off, for actors whose failures are the
	// network's.
	Forever bool
}

const (
	defaultBackoffMin    = time.Second
	defaultBackoffMax    = 2 * time.Minute
	defaultBackoffReset  = 5 * time.Minute
	defaultStormRestarts = 10
	defaultStormWindow   = time.Minute
)

func (b Backoff) withDefaults() Backoff {
	if b.Min == 0 {
		b.Min = defaultBackoffMin
	}
	if b.Max == 0 {
		b.Max = max(defaultBackoffMax, b.Min)
	}
	if b.Reset == 0 {
		b.Reset = defaultBackoffReset
	}
	if b.StormRestarts == 0 {
		b.StormRestarts = defaultStormRestarts
	}
	if b.StormWindow == 0 {
		b.StormWindow = defaultStormWindow
	}
	return b
}

func (b Backoff) validate() error {
	d := b.withDefaults()
	if d.Min < 0 || d.Max < d.Min || d.Reset < 0 || d.StormRestarts < 0 || d.StormWindow < 0 {
		return fmt.Errorf("%w: back-off %+v", errBadSpec, b)
	}
	return nil
}

// Delay returns the pause after the n-th failure in a row, counted from 0: Step(n),
// shortened at random by up to half. It may be called by everybody who retries, also
// outside of actors.
func (b Backoff) Delay(n int) time.Duration { return Jitter(b.Step(n)) }

// Step returns Min·2ⁿ, at most Max, without jitter.
func (b Backoff) Step(n int) time.Duration {
	b = b.withDefaults()
	d := b.Min
	for ; n > 0 && d < b.Max; n-- {
		if d > b.Max/2 {
			d = b.Max
			break
		}
		d *= 2
	}
	return d
}

// Jitter shortens a duration at random by up to half, so that those who failed at the
// same moment do not retry at the same moment.
func Jitter(d time.Duration) time.Duration { return jitterBy(d, rand.Float64()) }

// jitterBy returns between d/2, for 0, and d, for 1.
func jitterBy(d time.Duration, jitter float64) time.Duration {
	half := d / 2
	return half + time.Duration(jitter*float64(d-half))
}

// history is what supervision remembers of one actor, from its first failure on.
type history struct {
	failures int         // in a row
	restarts []time.Time // those inside the storm window, oldest first
}

// next decides about the failure, at now, of an incarnation that lived so long.
// It returns the history after it and either the delay of the restart or that
// the actor is given up.
func (b Backoff) next(h history, lived time.Duration, now time.Time, jitter float64) (after history, delay time.Duration, storm bool) {
	b = b.withDefaults()
	if lived >= b.Reset {
		h.failures = 0
	}
	if !b.Forever {
		old := 0
		for old < len(h.restarts) && now.Sub(h.restarts[old]) >= b.StormWindow {
			old++
		}
		recent := append([]time.Time(nil), h.restarts[old:]...)
		if len(recent) >= b.StormRestarts {
			return h, 0, true
		}
		h.restarts = append(recent, now)
	}
	delay = jitterBy(b.Step(h.failures), jitter)
	h.failures++
	return h, delay, false
}
