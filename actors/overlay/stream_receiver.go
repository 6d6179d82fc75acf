// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"slices"
	"time"

	"github.com/mimird/mimird/proto/stream"
)

const (
	// maxEarly is the number of segments kept out of order, the reference's.
	maxEarly = 64
	// maxEarlyBytes bounds their memory: the reference has no such bound.
	maxEarlyBytes = 1 << 20
	// tightWindow is the window of a stream while memory is short.
	tightWindow = 64 << 10
	// ackDelay is how long the acknowledgment of a lone small segment waits for
	// an answer to ride on. It stays far below the reference's shortest timeout.
	ackDelay = 5 * time.Millisecond
	// packBlock is the size of the blocks that hold unread small segments.
	packBlock = 2 * smallBuffer
	// eagerSegments is how many full segments are acknowledged one by one,
	// because the reference's sender opens its window per acknowledgment.
	eagerSegments = 64
	// After a window that held a full segment no more, the opened window is told
	// every updateInterval, and every slowUpdateInterval after manyUpdates: the
	// reference's sender waits for ever when it misses it.
	updateInterval     = time.Second
	slowUpdateInterval = 10 * time.Second
	manyUpdates        = 10
)

// receiver puts the incoming half of a stream back in order, holds it for the
// reader, and decides what to acknowledge when. Its owner serialises calls.
type receiver struct {
	memory *streamMemory
	// next is the sequence number of the next byte expected. It never exceeds
	// 32 bits: the machine ends a stream that tries.
	next uint64
	// edge is the end of the largest window told so far.
	edge uint64

	// chunks hold what can be read. Invariant: buffered is the sum of their
	// unread bytes, and their memory is reserved.
	chunks   ring[chunk]
	buffered int
	// early holds what arrived out of order, sorted, without overlaps.
	early      []earlySegment
	earlyBytes int
	// gapAt is since when the segments of early wait for the one before them; 0 when
	// there are none.
	gapAt time.Duration
	// discard drops what arrives: the stream has no reader any more.
	discard bool

	// fin is where the peer's bytes end, once finKnown. finished says that all
	// bytes up to there have arrived.
	fin      uint64
	finKnown bool
	finished bool

	// advertised is the window that the last acknowledgment told.
	advertised int
	// ackNow asks for an acknowledgment on the next packet, whatever it is.
	ackNow bool
	// duplicates is the number of packets without payload owed for segments that
	// arrived out of order: a sender counts them.
	duplicates int
	// unacked counts segments since the last acknowledgment.
	unacked int
	// full counts full segments, up to eagerSegments.
	full int
	// ackAt is when a delayed acknowledgment is due, updateAt when the window is
	// to be looked at again; 0 is never.
	ackAt, updateAt time.Duration
	// starved says that the peer was told a window below one segment.
	starved bool
	updates int
}

// chunk is a buffer whose bytes before off have been read.
type chunk struct {
	data []byte
	off  int
}

type earlySegment struct {
	seq  uint64
	data []byte
}

func (e earlySegment) end() uint64 { return e.seq + uint64(len(e.data)) }

// accept takes one segment and the ownership of payload.
func (r *receiver) accept(seq uint64, payload []byte, now time.Duration) {
	r.updates, r.updateAt = 0, 0
	end := seq + uint64(len(payload))
	switch {
	case end <= r.next, r.finKnown && end > r.fin, end > r.edge+stream.MaxPayload:
		// Old, behind the end, or beyond every window told so far plus one segment.
		putBuffer(payload)
		r.ackNow = true
	case seq > r.next:
		r.holdEarly(seq, payload, now)
		r.duplicates = min(r.duplicates+1, maxEarly)
	default:
		r.advance(payload, int(r.next-seq), now)
	}
}

// advance appends a segment that begins at or before next.
func (r *receiver) advance(payload []byte, skip int, now time.Duration) {
	if !r.append(payload, skip) {
		r.ackNow = true
		return
	}
	gap := len(r.early) > 0
	for len(r.early) > 0 && r.early[0].seq <= r.next {
		first := r.early[0]
		r.early = r.early[1:]
		r.earlyBytes -= cap(first.data)
		r.memory.giveEarly(cap(first.data))
		skip := int(r.next - first.seq)
		if skip >= len(first.data) {
			putBuffer(first.data)
		} else if !r.append(first.data, skip) {
			break
		}
	}
	r.gapAt = max(now, 1)
	if len(r.early) == 0 {
		r.early, r.gapAt = nil, 0
	}
	if r.finKnown && r.next >= r.fin {
		r.finished = true
	}
	r.duplicates = 0
	r.unacked++
	eager := false
	if len(payload) >= stream.SegmentSize && r.full < eagerSegments {
		r.full++
		eager = true
	}
	if gap || eager || r.finished || r.unacked >= 2 {
		r.ackNow = true
	} else if r.ackAt == 0 {
		r.ackAt = now + ackDelay
	}
}

// append makes payload[skip:] readable and moves next, or drops it when
// memory is short. A stream without unread bytes always gets one segment, so
// that all streams make progress.
func (r *receiver) append(payload []byte, skip int) bool {
	n := len(payload) - skip
	if r.discard {
		r.next += uint64(n)
		putBuffer(payload)
		return true
	}
	if r.chunks.len() > 0 {
		if last := r.chunks.back(); cap(last.data)-len(last.data) >= n {
			last.data = append(last.data, payload[skip:]...)
			r.next += uint64(n)
			r.buffered += n
			putBuffer(payload)
			return true
		}
		if n <= smallBuffer {
			// Unread crumbs share a block: each its own would cost far more than the
			// window allows for.
			block := make([]byte, n, packBlock)
			copy(block, payload[skip:])
			putBuffer(payload)
			payload, skip = block, 0
		}
	}
	if !r.memory.take(cap(payload)) {
		if r.buffered > 0 || n > stream.SegmentSize || !r.memory.force(cap(payload)) {
			putBuffer(payload)
			return false
		}
	}
	r.chunks.push(chunk{data: payload, off: skip})
	r.next += uint64(n)
	r.buffered += n
	return true
}

// holdEarly keeps a segment that begins behind next, within bounds. One that overlaps
// another one is dropped: a sender repeats whole segments, and many that share their
// bytes would take memory for each.
func (r *receiver) holdEarly(seq uint64, payload []byte, now time.Duration) {
	i, found := slices.BinarySearchFunc(r.early, seq, func(e earlySegment, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
	overlaps := found || i > 0 && r.early[i-1].end() > seq ||
		i < len(r.early) && seq+uint64(len(payload)) > r.early[i].seq
	if overlaps || r.discard || len(r.early) >= maxEarly || r.earlyBytes+cap(payload) > maxEarlyBytes ||
		!r.memory.takeEarly(cap(payload)) {
		putBuffer(payload)
		return
	}
	if len(r.early) == 0 {
		r.gapAt = max(now, 1)
	}
	r.earlyBytes += cap(payload)
	r.early = slices.Insert(r.early, i, earlySegment{seq: seq, data: payload})
}

// finish notes that the peer's bytes end at seq. An end before next can only
// be a repetition or a peer that counts wrongly; the reference would take it.
func (r *receiver) finish(seq uint64) {
	r.ackNow = true
	if r.finished {
		return
	}
	r.fin, r.finKnown = max(seq, r.next), true
	r.finished = r.fin == r.next
}

// read moves bytes to p and says how many.
func (r *receiver) read(p []byte, now time.Duration) int {
	n := 0
	for n < len(p) && r.chunks.len() > 0 {
		first := r.chunks.front()
		m := copy(p[n:], first.data[first.off:])
		n += m
		first.off += m
		r.buffered -= m
		if first.off == len(first.data) {
			r.release(r.chunks.pop().data)
		}
	}
	if n > 0 && r.advertised < r.limit()/2 && r.wide() {
		r.ackNow = true
		if r.starved {
			r.starved, r.updates, r.updateAt = false, 1, now+updateInterval
		}
	}
	return n
}

// limit is the window of this stream when nothing is buffered.
func (r *receiver) limit() int {
	if r.memory.tight() {
		return tightWindow
	}
	return stream.DefaultWindow
}

func (r *receiver) window() int { return max(0, r.limit()-r.buffered) }

// wide says that the window is large enough to be worth an update.
func (r *receiver) wide() bool { return r.window() >= r.limit()/2 }

// acknowledge returns the fields of an acknowledgment that is being sent.
func (r *receiver) acknowledge(now time.Duration) (ack, window uint32) {
	r.advertised = r.window()
	// Not next+advertised: what was taken beyond the window must not move it on.
	r.edge = max(r.edge, r.next+uint64(r.limit())-uint64(r.buffered))
	r.ackNow, r.unacked, r.ackAt = false, 0, 0
	if r.advertised < stream.SegmentSize {
		r.starved = true
		if r.updateAt == 0 {
			r.updateAt = now + updateInterval
		}
	}
	number := r.next
	if r.finished {
		number++
	}
	return uint32(number), uint32(r.advertised)
}

// expire does what is due.
func (r *receiver) expire(now time.Duration) {
	if r.ackAt != 0 && now >= r.ackAt {
		r.ackAt, r.ackNow = 0, true
	}
	if r.gapAt != 0 && now >= r.gapAt+gapTime {
		r.gapAt = now // looked at again
		if r.memory.dropsGap() {
			r.dropEarly()
		}
	}
	if r.updateAt == 0 || now < r.updateAt {
		return
	}
	r.updateAt = now + updateInterval
	switch {
	case r.finished:
		r.updateAt = 0
	case r.wide():
		r.starved = false
		r.ackNow = true
		r.updates++
		if r.updates > manyUpdates {
			r.updateAt = now + slowUpdateInterval
		}
	}
}

// drop frees all memory. The receiver only counts from now on.
func (r *receiver) drop() {
	r.discard = true
	for r.chunks.len() > 0 {
		r.release(r.chunks.pop().data)
	}
	r.buffered = 0
	r.chunks.trim()
	r.dropEarly()
}

// dropEarly frees what waits for a gap to be filled.
func (r *receiver) dropEarly() {
	for _, e := range r.early {
		r.memory.giveEarly(cap(e.data))
		putBuffer(e.data)
	}
	r.early, r.earlyBytes, r.gapAt = nil, 0, 0
}

func (r *receiver) release(b []byte) {
	r.memory.give(cap(b))
	putBuffer(b)
}
