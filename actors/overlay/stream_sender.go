// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"time"

	"github.com/mimird/mimird/proto/stream"
)

const (
	// maxPending is how many unsent bytes a stream takes before Write blocks.
	maxPending = 128 << 10
	// smallWrite is the size up to which a write gets a buffer of its own size.
	smallWrite = 2 << 10
	// stallLimit is how long a stream waits for progress, the reference's.
	stallLimit = 30 * time.Second
	// duplicateLimit is how many acknowledgments of the same byte prove a loss.
	duplicateLimit = 3
	// maxBytes is how much a stream may carry in one direction. The reference
	// compares sequence numbers without wrap-around.
	maxBytes = 4_000_000_000
)

// sender keeps the outgoing half of a stream: what is to be sent, what is
// under way, and when to send it again. Its owner serialises calls.
//
//	una <= next <= highest
//	[una, next)      sent and believed to be under way
//	[next, highest)  sent before a timeout, to be sent again
//	from highest on  pending
type sender struct {
	una, next, highest uint32
	// written counts bytes taken from the writer.
	written uint64
	// window is the peer's.
	window int

	// segments are what was sent and is not acknowledged, in order. Their
	// boundaries never change: the reference drops a repetition that begins
	// before its next byte, even when it ends behind it.
	segments ring[segment]
	// again is the index in segments of the segment that begins at next.
	again int
	// pending are buffers with bytes to send; the first one may be partly sent.
	pending      ring[*sendBuffer]
	pendingBytes int
	// lastByte is the byte before una, for the probe.
	lastByte byte

	congestion congestion
	// duplicates counts acknowledgments of una that prove later segments arrived.
	duplicates int
	// recovering is set from the detection of a loss until recover is
	// acknowledged. After a timeout only recover is set, and duplicates prove
	// nothing before it.
	recovering bool
	recover    uint32
	// resendFirst asks to send the first segment again at once.
	resendFirst bool

	// backoff is the factor on the retransmission timeout.
	backoff int
	// timeoutAt is when the oldest segment counts as lost, probeAt when a closed
	// window is probed; 0 is never.
	timeoutAt, probeAt time.Duration
	// stalled sums the timeouts since the last progress.
	stalled time.Duration
	// probe asks for a probe on the next packet.
	probe bool
	// sentAt is when the last data packet left.
	sentAt time.Duration
}

// sendBuffer holds bytes of the writer until they are acknowledged.
type sendBuffer struct {
	data []byte
	off  int // first byte that is not in a segment
	refs int // segments into data, plus one while pending
}

func (b *sendBuffer) release() {
	b.refs--
	if b.refs == 0 {
		putBuffer(b.data)
		b.data = nil
	}
}

type segment struct {
	seq    uint32
	data   []byte
	buffer *sendBuffer
	sentAt time.Duration
	resent bool
	// delivered and deliveredAt are the congestion state when it left.
	delivered   uint64
	deliveredAt time.Duration
}

func (s *segment) end() uint32 { return s.seq + uint32(len(s.data)) }

func newSender() sender {
	return sender{window: stream.DefaultWindow, congestion: newCongestion(), backoff: 1}
}

// write buffers bytes of p while they fit, and returns how many.
func (s *sender) write(p []byte) int {
	n := 0
	for n < len(p) && s.pendingBytes < maxPending && s.written < maxBytes {
		b := s.writable(len(p) - n)
		room := min(cap(b.data)-len(b.data), maxPending-s.pendingBytes)
		m := min(len(p)-n, room, int(min(maxBytes-s.written, maxPending)))
		b.data = append(b.data, p[n:n+m]...)
		n += m
		s.pendingBytes += m
		s.written += uint64(m)
	}
	return n
}

// fits reports whether write would take n bytes.
func (s *sender) fits(n int) bool {
	return s.pendingBytes+n <= maxPending && s.written+uint64(n) <= maxBytes
}

// writable returns the buffer that the next of n bytes go to.
func (s *sender) writable(n int) *sendBuffer {
	if s.pending.len() > 0 {
		if b := *s.pending.back(); len(b.data) < cap(b.data) {
			return b
		}
	}
	b := &sendBuffer{refs: 1}
	if n <= smallWrite && s.pending.len() == 0 {
		b.data = make([]byte, 0, n)
	} else {
		b.data = getBuffer(stream.SegmentSize)[:0]
	}
	s.pending.push(b)
	return b
}

// unacked is the number of bytes that were sent and are not acknowledged.
func (s *sender) unacked() int { return int(s.highest - s.una) }

// idle says that everything written was acknowledged.
func (s *sender) idle() bool { return s.unacked() == 0 && s.pendingBytes == 0 }

// flight is the number of bytes believed to be under way: each duplicate
// stands for a segment that has arrived.
func (s *sender) flight() int {
	f := int(s.next - s.una)
	if s.recovering {
		f -= s.duplicates * s.averageSegment()
	}
	return max(0, f)
}

func (s *sender) averageSegment() int {
	if s.segments.len() == 0 {
		return stream.SegmentSize
	}
	return s.unacked() / s.segments.len()
}

// nextSegment returns the segment to send now, or nil. allow asks for
// permission to send that many bytes; it is asked last and may refuse. While
// cold is set only one segment may be under way: the network would keep only
// the newest of several.
func (s *sender) nextSegment(now time.Duration, cold bool, allow func(int) bool) *segment {
	var seg *segment
	switch {
	case s.resendFirst && s.segments.len() > 0:
		seg = s.segments.front()
		if !allow(len(seg.data)) {
			return nil
		}
		s.resendFirst = false
		s.repeat(seg, now)
	case s.again < s.segments.len():
		seg = s.segments.at(s.again)
		flight := s.flight()
		if flight > 0 && (cold || flight+len(seg.data) > s.congestion.limit()) || !allow(len(seg.data)) {
			return nil
		}
		s.again++
		s.next = seg.end()
		s.repeat(seg, now)
	default:
		seg = s.carve(now, cold, allow)
	}
	if seg == nil {
		return nil
	}
	s.sentAt = now
	if s.timeoutAt == 0 {
		s.timeoutAt = now + s.timeout()
	}
	s.probeAt = 0
	return seg
}

func (s *sender) repeat(seg *segment, now time.Duration) {
	seg.resent = true
	seg.sentAt = now
}

// carve makes the next segment from pending bytes.
func (s *sender) carve(now time.Duration, cold bool, allow func(int) bool) *segment {
	if s.pendingBytes == 0 {
		return nil
	}
	unacked := s.unacked()
	if unacked == 0 {
		if s.sentAt != 0 && now-s.sentAt > max(s.timeout(), time.Second) {
			s.congestion.rested()
		}
		s.congestion.deliveredAt = now
	}
	b := *s.pending.front()
	n := min(len(b.data)-b.off, s.congestion.segment())
	room := min(s.window-unacked, s.congestion.limit()-s.flight())
	if s.probe && s.una == 0 && unacked == 0 {
		// A closed window before any acknowledged byte: the first segment is its
		// own probe.
		s.probe, room = false, n
	}
	if room < n {
		// A smaller segment than what is at hand only when nothing else moves.
		if room <= 0 || unacked > 0 {
			return nil
		}
		n = room
	}
	if cold && unacked > 0 || !allow(n) {
		return nil
	}
	s.segments.push(segment{
		seq: s.highest, data: b.data[b.off : b.off+n], buffer: b, sentAt: now,
		delivered: s.congestion.delivered, deliveredAt: s.congestion.deliveredAt,
	})
	b.off += n
	b.refs++
	s.pendingBytes -= n
	if b.off == len(b.data) {
		s.pending.pop().release()
	}
	s.highest += uint32(n)
	s.next = s.highest
	s.again = s.segments.len()
	return s.segments.back()
}

// timeout is the retransmission timeout now.
func (s *sender) timeout() time.Duration {
	return min(s.congestion.rtt.timeout()*time.Duration(s.backoff), maxTimeout)
}

// acknowledge handles an acknowledgment. pure says that it came without
// payload. It returns how many bytes have left the network.
func (s *sender) acknowledge(ack, window uint32, pure bool, now time.Duration) (left int) {
	switch {
	case ack > s.highest || ack < s.una:
		return 0 // not ours, or overtaken
	case ack > s.una:
		left = s.advance(ack, now)
	case pure && int(window) == s.window && s.unacked() > 0:
		left = s.duplicate(now)
	}
	s.window = int(window)
	if s.window > 0 && (s.probeAt != 0 || s.probe) {
		s.probeAt, s.probe, s.backoff = 0, false, 1
	}
	return left
}

// advance handles an acknowledgment of new bytes.
func (s *sender) advance(ack uint32, now time.Duration) int {
	c := &s.congestion
	left := int(ack - s.una)
	limited := s.flight()+c.segment() > c.limit()
	c.delivered += uint64(left)
	c.deliveredAt = now
	var newest segment
	popped, resent := 0, false
	for s.segments.len() > 0 && s.segments.front().end() <= ack {
		newest = s.segments.pop()
		resent = resent || newest.resent
		s.lastByte = newest.data[len(newest.data)-1]
		newest.buffer.release()
		s.again = max(0, s.again-1)
		popped++
	}
	s.una = ack
	s.next = max(s.next, ack)
	s.resendFirst = false
	s.stalled, s.timeoutAt = 0, 0
	if newest.data != nil && !resent {
		// Only now: while every segment is repeated before its acknowledgment can
		// come, the path is slower than the timeout without back-off.
		s.backoff = 1
		s.measure(newest, now)
	}
	switch {
	case s.recovering && ack >= s.recover:
		s.recovering, s.duplicates = false, 0
	case s.recovering:
		// The next hole of the same flight. All but the hole before it had been
		// counted as duplicates.
		s.resendFirst = true
		s.duplicates = max(0, s.duplicates-max(0, popped-1))
	default:
		s.duplicates = 0
		if limited {
			c.grow(left)
		}
	}
	if s.unacked() > 0 {
		s.timeoutAt = now + s.timeout()
	}
	return left
}

// measure takes the samples that a segment sent once gives.
func (s *sender) measure(seg segment, now time.Duration) {
	c := &s.congestion
	c.rtt.sample(now-seg.sentAt, now)
	span := max(now-seg.deliveredAt, c.rtt.min())
	c.rate.update(int64(float64(c.delivered-seg.delivered)/span.Seconds()), now)
}

// duplicate handles a repeated acknowledgment that a later segment caused.
// The network below drops what it overtakes, so a few prove a loss.
func (s *sender) duplicate(now time.Duration) int {
	s.duplicates = min(s.duplicates+1, s.segments.len())
	if s.recovering {
		return s.averageSegment()
	}
	limit := duplicateLimit
	if s.segments.len() <= duplicateLimit && s.pendingBytes == 0 {
		// Too few under way to ever see three.
		limit = max(1, s.segments.len()-1)
	}
	if s.duplicates >= limit && s.una >= s.recover {
		s.congestion.lost(s.unacked())
		s.recovering, s.resendFirst = true, true
		s.recover = s.highest
		s.timeoutAt = now + s.timeout()
	}
	return s.averageSegment()
}

// expire does what is due. It reports false when the peer has been silent for
// too long.
func (s *sender) expire(now time.Duration) bool {
	switch {
	case s.timeoutAt != 0 && now >= s.timeoutAt:
		s.timeoutAt = 0
		if s.unacked() == 0 {
			return true
		}
		if s.stalled == 0 {
			s.congestion.collapsed(s.unacked())
		}
		s.next, s.again = s.una, 0
		s.recovering, s.resendFirst, s.duplicates = false, false, 0
		s.recover = s.highest
		s.retry()
		s.timeoutAt = now + s.timeout()
	case s.probeAt != 0 && now >= s.probeAt:
		s.probeAt = 0
		s.probe = true
		s.retry()
	}
	return s.stalled < stallLimit
}

// retry counts a timeout and doubles the next one.
func (s *sender) retry() {
	s.stalled += s.timeout()
	s.backoff = min(s.backoff*2, 1<<10)
}

// await arms the probe when a closed window is all that keeps bytes here.
func (s *sender) await(now time.Duration) {
	if s.window == 0 && s.pendingBytes > 0 && s.unacked() == 0 && s.probeAt == 0 && !s.probe {
		s.probeAt = now + s.timeout()
	}
}

// heard notes a packet from the peer: a closed window does not count as a stall while
// its probes are answered.
func (s *sender) heard() {
	if s.unacked() == 0 {
		s.stalled = 0
	}
}

// drop frees all memory.
func (s *sender) drop() {
	for s.segments.len() > 0 {
		s.segments.pop().buffer.release()
	}
	for s.pending.len() > 0 {
		s.pending.pop().release()
	}
	s.una, s.next, s.again, s.pendingBytes = s.highest, s.highest, 0, 0
	s.timeoutAt, s.probeAt, s.probe, s.resendFirst = 0, 0, false, false
	s.segments.trim()
	s.pending.trim()
}
