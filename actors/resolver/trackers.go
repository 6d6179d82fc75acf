// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"cmp"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// assumedLatency is what a tracker is taken for before it has answered, as in the
// apps.
const assumedLatency = 50 * time.Millisecond

// resendAfter is when a question is sent again, and at last given up. The first
// datagrams to a node get lost while the network looks for the way.
var resendAfter = []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}

// A tracker that does not answer is asked again soon, because a network that has
// just come up loses the first questions, and then less and less often. (That a
// node which has forgotten us must be left alone for a while is the overlay's
// business.)
const (
	quietFirst = 2 * time.Second
	quietMost  = 65 * time.Second
)

// trackerState is what the resolver knows about one tracker.
type trackerState struct {
	address        tracker.Address
	latency        time.Duration // smoothed
	failures       int           // times in a row that it did not answer
	quietUntil     time.Time
	open           int // questions under way
	lastAnswer     time.Time
	announcedUntil time.Time
}

// question is something a tracker was asked and has not answered.
type question struct {
	tracker   *trackerState
	request   tracker.Request
	identity  identity.PublicKey
	announced announceDue // of an announcement, or of the look at what it has led to
	own       bool        // such a look
	sent      time.Time
	tries     int
	timer     kernel.Timer
	// silenced is how long the overlay wants the tracker left alone.
	silenced time.Duration
}

// TrackerStatus is what is known about one tracker.
type TrackerStatus struct {
	Address tracker.Address
	// Answers says that it answered the last question.
	Answers bool
	// Latency of its answers, smoothed.
	Latency time.Duration
	// LastAnswer is zero when it has never answered.
	LastAnswer time.Time
	// AnnouncedUntil is how long it will remember what it was told last.
	AnnouncedUntil time.Time
	// QuietUntil is when it is asked again, zero while it answers.
	QuietUntil time.Time
}

// mayAsk reports whether a question may be put to it now. After a silence one
// question at a time finds out whether it is back.
func (t *trackerState) mayAsk(now time.Time) bool {
	return t.failures == 0 || t.open == 0 && !now.Before(t.quietUntil)
}

func (t *trackerState) answered(after time.Duration) {
	t.latency += (after - t.latency) / 4
	t.failures, t.quietUntil = 0, time.Time{}
	t.lastAnswer = time.Now()
}

// silent notes that a question was not answered, and leaves the tracker alone for
// at least the given time. Questions that were open together count once.
func (t *trackerState) silent(now time.Time, least time.Duration) {
	if now.Before(t.quietUntil) {
		return
	}
	pause := kernel.Backoff{Min: quietFirst, Max: quietMost}.Step(t.failures)
	t.failures++
	t.quietUntil = now.Add(max(pause, least))
}

func (t *trackerState) status(now time.Time) TrackerStatus {
	s := TrackerStatus{
		Address: t.address, Answers: t.failures == 0 && !t.lastAnswer.IsZero(), Latency: t.latency,
		LastAnswer: t.lastAnswer, AnnouncedUntil: t.announcedUntil,
	}
	if now.Before(t.quietUntil) {
		s.QuietUntil = t.quietUntil
	}
	return s
}

// best returns the trackers to ask now, at most n: those that answer before those
// that do not, quick ones first.
func best(all []*trackerState, n int, now time.Time) []*trackerState {
	var may []*trackerState
	for _, t := range all {
		if t.mayAsk(now) {
			may = append(may, t)
		}
	}
	slices.SortStableFunc(may, func(a, b *trackerState) int {
		return cmp.Or(cmp.Compare(a.failures, b.failures), cmp.Compare(a.latency, b.latency))
	})
	return may[:min(n, len(may))]
}
