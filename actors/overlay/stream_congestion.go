// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"time"

	"github.com/mimird/mimird/proto/stream"
)

const (
	// The retransmission timeout's bounds are the reference's. A shorter one
	// would repeat packets whose acknowledgments the reference still paces.
	initialTimeout = 500 * time.Millisecond
	minTimeout     = 200 * time.Millisecond
	maxTimeout     = 5 * time.Second
	timeoutSlack   = 50 * time.Millisecond

	// initialFlight is what a new or rested stream may have under way.
	initialFlight = 2 * stream.SegmentSize
	// minSegment is the smallest segment made of more bytes, firstSegment the
	// largest one before anything is known of the path.
	minSegment   = 1200
	firstSegment = 4 << 10
	// segmentTime is how long a path takes for a segment at most: a longer one
	// holds up all others, and relays drop what has waited for 25 ms. It is not
	// shorter because of the reference: that paces its acknowledgments to one in
	// 10 ms, and segments must not shrink to what such a peer seems to take.
	segmentTime = 50 * time.Millisecond
	// maxFlight is the reference's window.
	maxFlight = stream.DefaultWindow
	// queueAllowance is how much of a stream may wait in the network's queues.
	// Each holds 131,070 bytes and drops from its head beyond that.
	queueAllowance = 96 << 10

	// sampleSpan is how long a measured round trip or rate counts.
	sampleSpan = 10 * time.Second
)

// roundTrip estimates round trip times as RFC 6298 does.
type roundTrip struct {
	smooth, variance time.Duration
	shortest         windowed
}

func (r *roundTrip) sample(d, now time.Duration) {
	d = max(d, time.Microsecond)
	if r.smooth == 0 {
		r.smooth, r.variance = d, d/2
	} else {
		r.variance += ((r.smooth - d).Abs() - r.variance) / 4
		r.smooth += (d - r.smooth) / 8
	}
	r.shortest.update(-int64(d), now)
}

// timeout is the retransmission timeout before any back-off.
func (r *roundTrip) timeout() time.Duration {
	if r.smooth == 0 {
		return initialTimeout
	}
	return min(max(r.smooth+max(4*r.variance, timeoutSlack), minTimeout), maxTimeout)
}

// min is the shortest round trip seen lately, 0 when unknown.
func (r *roundTrip) min() time.Duration { return time.Duration(-r.shortest.best()) }

// windowed is the largest of the values seen in the last one to two
// sampleSpans; 0 without values.
type windowed struct {
	current, previous int64
	has               [2]bool
	since             time.Duration
}

func (w *windowed) update(v int64, now time.Duration) {
	if now-w.since >= sampleSpan {
		w.previous, w.has[1] = w.current, w.has[0]
		if now-w.since >= 2*sampleSpan {
			w.has[1] = false
		}
		w.has[0] = false
		w.since = now
	}
	if !w.has[0] || v > w.current {
		w.current, w.has[0] = v, true
	}
}

func (w *windowed) best() int64 {
	switch {
	case w.has[0] && w.has[1]:
		return max(w.current, w.previous)
	case w.has[0]:
		return w.current
	case w.has[1]:
		return w.previous
	}
	return 0
}

// congestion decides how many bytes a stream may have under way. It is Reno
// with one addition: what exceeds the path's own capacity waits in queues, and
// no more than queueAllowance may.
type congestion struct {
	window, threshold int
	// credit counts acknowledged bytes towards the next growth past threshold.
	credit int
	rtt    roundTrip
	// rate is the best delivery rate seen lately, in bytes per second.
	rate windowed
	// delivered counts acknowledged bytes, deliveredAt says since when the count
	// stands: both together give the rate.
	delivered   uint64
	deliveredAt time.Duration
}

func newCongestion() congestion {
	return congestion{window: initialFlight, threshold: maxFlight}
}

// limit is how many bytes may be under way.
func (c *congestion) limit() int {
	capacity := 0
	if rtt := c.rtt.min(); rtt > 0 {
		capacity = int(float64(c.rate.best()) * rtt.Seconds())
	}
	return min(c.window, queueAllowance+capacity, maxFlight)
}

// segment is the largest segment to make now.
func (c *congestion) segment() int {
	rate := c.rate.best()
	if rate == 0 {
		return firstSegment
	}
	return min(max(int(float64(rate)*segmentTime.Seconds()), minSegment), stream.SegmentSize)
}

// grow notes that n bytes were acknowledged while the limit was in use.
func (c *congestion) grow(n int) {
	if c.window < c.threshold {
		c.window = min(c.window+n, maxFlight)
		return
	}
	c.credit += n
	if c.credit >= c.window {
		c.credit -= c.window
		c.window = min(c.window+c.segment(), maxFlight)
	}
}

// lost notes that a packet of a flight was lost; the rest still flows.
func (c *congestion) lost(flight int) {
	c.threshold = max(flight*7/10, 2*c.segment())
	c.window = c.threshold
	c.credit = 0
}

// collapsed notes that a whole flight went unanswered.
func (c *congestion) collapsed(flight int) {
	c.threshold = max(flight/2, 2*c.segment())
	c.window = c.segment()
	c.credit = 0
}

// rested notes that nothing was sent for a while: what the path took before
// says nothing about now.
func (c *congestion) rested() { c.window = min(c.window, initialFlight) }
