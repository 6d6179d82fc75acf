// SPDX-License-Identifier: MPL-2.0

package actors

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

// Silence: a tracker that restarted does not see what we send as long as we keep
// sending (see stream.md of the protocol), so after quietAfter questions without
// an answer it is left alone for quietTime.
const (
	quietAfter = 2
	quietTime  = 65 * time.Second
)

// trackerState is what the resolver knows about one tracker.
type trackerState struct {
	address        tracker.Address
	latency        time.Duration // smoothed
	failures       int           // questions in a row without an answer
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
	announced announceDue // of an announcement
	sent      time.Time
	tries     int
	timer     kernel.Timer
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
	return t.failures < quietAfter || t.open == 0 && !now.Before(t.quietUntil)
}

func (t *trackerState) answered(after time.Duration) {
	t.latency += (after - t.latency) / 4
	t.failures, t.quietUntil = 0, time.Time{}
	t.lastAnswer = time.Now()
}

func (t *trackerState) silent(now time.Time) {
	if t.failures++; t.failures >= quietAfter {
		t.quietUntil = now.Add(quietTime)
	}
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
