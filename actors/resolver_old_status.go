// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"slices"
	"sync"
	"time"
)

// OldTrackerStatus is what is known about one tracker of generation 1 or 2.
type OldTrackerStatus struct {
	Tracker OldTracker
	// LastAnswer is zero when it has never answered.
	LastAnswer time.Time
	// Err says why it did not answer the last question, nil when it did or when there
	// was none yet.
	Err error
}

// oldTrackers remembers how the old trackers answer. The resolver's tasks write,
// whoever shows a status reads.
type oldTrackers struct {
	mu    sync.Mutex
	state []OldTrackerStatus // in the order of the options
}

func newOldTrackers(all []OldTracker) *oldTrackers {
	o := &oldTrackers{}
	for _, t := range all {
		o.state = append(o.state, OldTrackerStatus{Tracker: t})
	}
	return o
}

// note takes how the last question to a tracker ended.
func (o *oldTrackers) note(t OldTracker, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.state {
		if s := &o.state[i]; s.Tracker == t {
			if s.Err = err; err == nil {
				s.LastAnswer = time.Now()
			}
		}
	}
}

func (o *oldTrackers) current() []OldTrackerStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.state)
}
