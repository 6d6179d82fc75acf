// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync/atomic"
	"time"
)

// What counts as life on a session. A peer that is busy answers late: the apps'
// own queue overflows after some hundred quick messages, and a large frame on a slow
// link keeps a PONG behind it for minutes. To end the session then would send a text
// twice. So there are three clocks:
//
//   - Any byte shows that the peer is there. Without one a PING is due, and the
//     session ends when the answer does not come.
//   - Any frame but PING and PONG, any byte of a larger one that is arriving, and any
//     byte on a data stream, shows that the peer works: it may have an acknowledgment
//     behind what it sends. Without one for ackTime while a text is not acknowledged
//     the session ends: the peer is connected but deaf.
//   - Nothing but PING and PONG in either direction for a while is an idle session.

const (
	// ackTime is how long a text may stay unacknowledged without a sign of life.
	ackTime = time.Minute
	// ackLimit is how long a text may stay unacknowledged whatever else the peer says.
	ackLimit = 10 * time.Minute
	// workBytes is how much comes of one frame before it shows that the peer works. PING
	// and PONG are far smaller.
	workBytes = 1 << 10
)

// traffic is when bytes went over the streams of a session. It is written by the
// goroutines that read and write them.
type traffic struct {
	begun time.Time
	// Nanoseconds after begun; 0 for never.
	read, workRead, dataWritten atomic.Int64
	// arriving is how much has come of the next frame of the control stream.
	arriving atomic.Int64
}

func newTraffic() *traffic { return &traffic{begun: time.Now()} }

func (t *traffic) note(at *atomic.Int64) { at.Store(int64(time.Since(t.begun))) }

// noteRead notes bytes of the control stream, noteFrame that a frame of it is whole.
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

// since returns the later of a time and one that was noted.
func (t *traffic) since(noted *atomic.Int64, other time.Time) time.Time {
	if at := t.begun.Add(time.Duration(noted.Load())); at.After(other) {
		return at
	}
	return other
}

// lastByte is when anything at all came from the peer.
func (s *session) lastByte() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.read, s.lastFrame)
}

// lastSign is when the peer last did something other than pinging.
func (s *session) lastSign() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.workRead, s.lastActivity)
}

// lastUse is when anything but pings went over the session, in either direction.
func (s *session) lastUse() time.Time {
	return s.conn.traffic.since(&s.conn.traffic.dataWritten, s.lastSign())
}

// pongDue is when the unanswered ping ends the session.
func (s *session) pongDue() time.Time {
	from := s.pinged
	if at := s.lastByte(); at.After(from) {
		from = at
	}
	return from.Add(pongTime)
}

// ackDue is when the text that is not acknowledged ends the session.
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
