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

// assumedLatency is the latency of a tracker that has not answered yet, as in the apps.
const assumedLatency = 50 * time.Millisecond

// resendAfter has the pauses after which a query is repeated, and at last given up. The
// first datagrams to a node are lost while the network searches for a path.
var resendAfter = []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}

// A tracker that does not answer is asked again soon, because a network that has just come
// up loses the first queries, and then less and less often. (The overlay knows when a node
// that has forgotten us must be left alone.)
const (
	backOffMin = 2 * time.Second
	backOffMax = 65 * time.Second
)

// trackerState is what the resolver knows about one tracker.
type trackerState struct {
	address        tracker.Address
	latency        time.Duration // smoothed
	failures       int           // times in a row that it did not answer
	retryAt        time.Time
	open           int // queries that are not answered
	lastAnswer     time.Time
	announcedUntil time.Time
}

// query is a request to a tracker that has not answered it.
type query struct {
	tracker   *trackerState
	request   tracker.Request
	identity  identity.PublicKey
	announced announceDue // of an announcement, or of the lookup that follows it
	own       bool        // the lookup that follows an announcement
	sent      time.Time
	tries     int
	timer     kernel.Timer
	// silenced is for how long the overlay sends nothing to the tracker.
	silenced time.Duration
}

// TrackerStatus is how one tracker of version 2 answers.
type TrackerStatus struct {
	Address tracker.Address
	// Answers says that it answered the last query.
	Answers bool
	// Latency of its answers, smoothed.
	Latency time.Duration
	// LastAnswer is zero when it has never answered.
	LastAnswer time.Time
	// AnnouncedUntil is when our last announcement expires there.
	AnnouncedUntil time.Time
	// RetryAt is when it is asked again; zero while it answers.
	RetryAt time.Time
}

// ready reports whether the tracker may be asked now. After a failure one query at a time
// finds out whether it is back.
func (t *trackerState) ready(now time.Time) bool {
	return t.failures == 0 || t.open == 0 && !now.Before(t.retryAt)
}

func (t *trackerState) answered(after time.Duration) {
	t.latency += (after - t.latency) / 4
	t.failures, t.retryAt = 0, time.Time{}
	t.lastAnswer = time.Now()
}

// timedOut notes that a query was not answered, and backs off for at least the given time.
// Queries that were open together count once.
func (t *trackerState) timedOut(now time.Time, least time.Duration) {
	if now.Before(t.retryAt) {
		return
	}
	pause := kernel.Backoff{Min: backOffMin, Max: backOffMax}.Step(t.failures)
	t.failures++
	t.retryAt = now.Add(max(pause, least))
}

func (t *trackerState) status(now time.Time) TrackerStatus {
	s := TrackerStatus{
		Address: t.address, Answers: t.failures == 0 && !t.lastAnswer.IsZero(), Latency: t.latency,
		LastAnswer: t.lastAnswer, AnnouncedUntil: t.announcedUntil,
	}
	if now.Before(t.retryAt) {
		s.RetryAt = t.retryAt
	}
	return s
}

// best returns the trackers to ask now, at most n: those that answer before those that do
// not, those with a low latency first.
func best(all []*trackerState, n int, now time.Time) []*trackerState {
	var ready []*trackerState
	for _, t := range all {
		if t.ready(now) {
			ready = append(ready, t)
		}
	}
	slices.SortStableFunc(ready, func(a, b *trackerState) int {
		return cmp.Or(cmp.Compare(a.failures, b.failures), cmp.Compare(a.latency, b.latency))
	})
	return ready[:min(n, len(ready))]
}
