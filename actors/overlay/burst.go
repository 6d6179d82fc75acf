// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync"
	"time"

	"github.com/mimird/mimird/proto/stream"
)

const (
	// burstLimit is how many bytes of streams a node hands to the network faster
	// than they leave it. The queue to each neighbour holds 131,070 bytes.
	burstLimit = 96 << 10
	// smallPacket is the size up to which packets pass beyond the limit, up to
	// burstSlack more: a stream with little to say does not wait for bulk.
	smallPacket = 2 << 10
	burstSlack  = 16 << 10
	// drainRate is how fast queues empty at least, in bytes per second. It frees
	// what is never acknowledged.
	drainRate = 1 << 20
	drainTick = time.Second * stream.SegmentSize / drainRate
)

// burst bounds what all streams of a node together have in the network's
// queues. Each stream knows its own path, but the first queue is shared.
type burst struct {
	start time.Time

	mu      sync.Mutex
	level   int
	drained time.Duration // when drainRate was last subtracted
	waiting ring[*turn]
	timer   *time.Timer
	stopped bool
}

// turn is a stream's place among those that wait to send. Its fields belong to
// the burst.
type turn struct {
	// wake makes the stream try again. It does not block.
	wake   func()
	queued bool
	// pass lets the stream send one segment although others wait.
	pass bool
}

// take asks to send n bytes. A refused stream is woken when its turn comes:
// those that wait send one segment each in order.
func (b *burst) take(t *turn, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drain()
	fits := b.level+n <= burstLimit && (b.waiting.len() == 0 || t.pass)
	if !fits && (n > smallPacket || b.level+n > burstLimit+burstSlack) {
		t.pass = false
		if !t.queued && !b.stopped {
			t.queued = true
			b.waiting.push(t)
			b.arm()
		}
		return false
	}
	t.pass = false
	b.level += n
	b.grant()
	return true
}

// give notes that n bytes have left the network.
func (b *burst) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = max(0, b.level-n)
	b.grant()
}

// grant wakes the first stream that waits, when a segment fits.
func (b *burst) grant() {
	if b.waiting.len() == 0 || b.level+stream.SegmentSize > burstLimit {
		return
	}
	t := b.waiting.pop()
	t.queued, t.pass = false, true
	t.wake()
}

func (b *burst) drain() {
	now := time.Since(b.start)
	// Within a second the queues are empty anyway.
	gone := int(min(now-b.drained, time.Second) * drainRate / time.Second)
	if gone > 0 {
		b.level = max(0, b.level-gone)
		b.drained = now
	}
}

// arm starts the timer that wakes streams when nothing is acknowledged.
func (b *burst) arm() {
	if b.timer == nil {
		b.timer = time.AfterFunc(drainTick, b.tick)
	}
}

func (b *burst) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	b.drain()
	b.grant()
	if b.waiting.len() > 0 && !b.stopped {
		b.arm()
	}
}

// stop ends the timer. Refused streams are not woken any more.
func (b *burst) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	if b.timer != nil {
		b.timer.Stop()
	}
}
