// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync/atomic"
	"time"
)

// Signs of life on a session. A busy peer answers late: the queue of the apps overflows
// after some hundred messages in a short time, and a large frame on a slow link delays a
// PONG for minutes. Ending the session then would send a message twice. So there are
// three clocks:
//
//   - Any byte shows that the peer is there. Without one a PING is due, and the session
//     ends if the answer does not arrive.
//   - Any frame but PING and PONG, any byte of a larger one that is arriving, and any
//     byte on a data stream, shows that the peer works: an acknowledgment may follow.
//     Without one for ackTime while a message is not acknowledged, the session ends.
//   - A session with nothing but PING and PONG in both directions is idle.

const (
	// ackTime is how long a message may be unacknowledged without a sign of life.
	ackTime = time.Minute
	// ackLimit is how long a message may be unacknowledged in spite of signs of life.
	ackLimit = 10 * time.Minute
	// workBytes is how many bytes of one frame show that the peer works. PING and PONG
	// are far smaller.
	workBytes = 1 << 10
)

// traffic has the times of the last bytes on the streams of a session. It is safe for
// concurrent use.
type traffic struct {
	begun time.Time
	// Nanoseconds after begun; 0 for never.
	read, workRead, dataWritten atomic.Int64
	// arriving is how many bytes of the next frame of the control stream have arrived.
	arriving atomic.Int64
}

func newTraffic() *traffic { return &traffic{begun: time.Now()} }

func (t *traffic) note(at *atomic.Int64) { at.Store(int64(time.Since(t.begun))) }

// noteRead notes bytes of the control stream, noteFrame a complete frame.
func (t *traffic) noteRead(n int) {
	t.note(&t.read)
	if t.arriving.Add(int64(n)) > workBytes {
		t.note(&t.workRead)
	}
}

func (t *traffic) noteFrame() { t.arriving.Store(0) }

func (t *traffic) noteDataWritten() { t.note(&t.dataWritten) }
func (t *traffic) noteDataRead(int) {
	t.note(&t.read)
	t.note(&t.workRead)
}

// since returns the later of a time and a noted one.
func (t *traffic) since(noted *atomic.Int64, other time.Time) time.Time {
	if at := t.begun.Add(time.Duration(noted.Load())); at.After(other) {
		return at
	}
	return other
}

// lastByte is when the last byte arrived.
func (s *session) lastByte() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.read, s.lastFrame)
}

// lastSign is the last time that the peer showed that it works.
func (s *session) lastSign() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.workRead, s.lastActivity)
}

// lastUse is the last time that the session carried more than pings, in either direction.
func (s *session) lastUse() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.dataWritten, s.lastSign())
}

// pongDue is the deadline of the answer to the ping.
func (s *session) pongDue() time.Time {
	from := s.pinged
	if at := s.lastByte(); at.After(from) {
		from = at
	}
	return from.Add(pongTime)
}

// ackDue is the deadline of the acknowledgment.
func (s *session) ackDue() time.Time {
	due, limit := s.lastSign().Add(ackTime), s.inFlight.sent.Add(ackLimit)
	if due.After(limit) {
		due = limit
	}
	if due.Before(s.inFlight.until) {
		due = s.inFlight.until
	}
	return due
}
