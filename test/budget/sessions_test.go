// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"testing"
	"time"
)

// What an idle session may cost.
const (
	maxHeap       = 40 * kib
	maxGoroutines = 3
	maxRSS        = 600 * mib // of the whole process, with 10,000 sessions
	minHandshakes = 500       // in a second of one core, by the time that the node has used
)

// Bar R25: memory and goroutines of authenticated sessions in which nothing happens,
// each with the data stream that apps open.
func TestIdleSessions(t *testing.T) {
	sizes := []int{50}
	if *all {
		sizes = []int{1000, 10_000}
	}
	for _, size := range sizes {
		r := newRig(t, size)
		before := measure(t)
		phones := r.callAll()
		after := measure(t)
		heap := (after.heap - before.heap) / int64(size)
		goroutines := float64(after.goroutines-before.goroutines) / float64(size)
		show("%6d idle sessions: %5.1f KiB of heap and %.2f goroutines each; the process has %d MiB, %d before",
			size, float64(heap)/kib, goroutines, after.rss/mib, before.rss/mib)
		// A few goroutines belong to the link and to timers, not to sessions.
		if spare := 20; after.goroutines-before.goroutines > maxGoroutines*size+spare {
			t.Errorf("%d sessions have %d goroutines", size, after.goroutines-before.goroutines)
		}
		if *all && (heap > maxHeap || after.rss > maxRSS) {
			t.Errorf("%d sessions: %d bytes each, %d in all", size, heap, after.rss)
		}
		for _, p := range phones {
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Bar R28: nothing is left of sessions that have come and gone.
func TestNothingIsLeftOfSessions(t *testing.T) {
	const contacts = 40
	times := 5
	if *all {
		times = 125 // 5,000 sessions
	}
	r := newRig(t, contacts)
	before := measure(t)
	var after usage
	begun, used := processorTime(t), time.Duration(0)
	p := r.phones(order{Count: contacts * times, Contacts: contacts, Drop: true})
	r.await("the end of the sessions", p, func() bool {
		select {
		case <-p.Ended():
		default:
			return false
		}
		if used == 0 {
			used = processorTime(t) - begun
		}
		if r.sessions() > 0 || r.network.Links() > 0 {
			return false
		}
		after = measure(t)
		return after.goroutines <= before.goroutines && after.files <= before.files
	})
	show("%6d sessions come and gone: %+d goroutines, %+d files, %+d KiB of heap",
		contacts*times, after.goroutines-before.goroutines, after.files-before.files, (after.heap-before.heap)/kib)
	rate := float64(contacts*times) / used.Seconds()
	show("%6.0f handshakes in a second of one core, with dialling, session and end", rate)
	if *all && rate < minHandshakes {
		t.Errorf("%.0f handshakes in a second of one core", rate)
	}
}
