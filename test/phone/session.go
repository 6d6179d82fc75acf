// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errUnreachable = errors.New("no PONG")
	errIdle        = errors.New("idle")
	errClosed      = errors.New("closed by the test")
)

// Session is an authenticated control stream, with the data stream that goes with
// it.
type Session struct {
	r       *running
	contact *contact
	line    *Line
	number  uint64 // larger than that of every earlier session of any phone
	// work tells the sender that there is something in the outbox.
	work chan struct{}
	over chan struct{}

	mu   sync.Mutex
	err  error
	data *Line // ours, nil without one
	// pinged is when the last PING went out, waiting whether it has been answered.
	pinged  time.Time
	waiting bool
	pongs   int
	ponged  time.Time // the last PONG
	// event is when the last frame came, real when the last one that was neither PING
	// nor PONG.
	event, real time.Time
}

func newSession(r *running, c *contact, l *Line) *Session {
	now := time.Now()
	return &Session{
		r: r, contact: c, line: l, number: sessionNumbers.Add(1), event: now, real: now,
		work: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

// Done is closed when the session has ended; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.over }

// Err says why the session has ended, nil while it has not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session in order.
func (s *Session) Close() { s.end(errClosed) }

// Abort ends the session at once, as when the app is killed.
func (s *Session) Abort() {
	s.line.Abort()
	s.end(errClosed)
}

// end ends the session, for the reason that comes first, and both its streams.
func (s *Session) end(err error) {
	if s.finish(err) {
		s.line.Close()
	}
}

// vanish ends the session and does not tell the other side.
func (s *Session) vanish(err error) {
	if s.finish(err) {
		s.r.abandon(s.line)
	}
}

// finish ends all but the control stream. It returns false when that was done
// before.
func (s *Session) finish(err error) bool {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.over)
	}
	data := s.data
	s.mu.Unlock()
	if !first {
		return false
	}
	if data != nil {
		data.Close()
	}
	s.r.ended(s, err)
	return true
}

// run is the life of a session after its handshake.
func (s *Session) run() {
	q := s.r.quirks.Load()
	s.mu.Lock()
	early := s.data != nil
	s.mu.Unlock()
	if !q.NoDataStream && q.LateDataStream == 0 && !early {
		// Nothing else is read before it is open.
		if err := s.openData(s.r.ctx); err != nil {
			s.vanish(fmt.Errorf("open data stream: %w", err))
			return
		}
	}
	if q.LateDataStream > 0 {
		s.r.spawn(func() {
			if s.pause(q.LateDataStream) {
				_ = s.openData(s.r.ctx) // without it large messages wait
				poke(s.work)
			}
		})
	}
	s.greet()
	s.r.spawn(s.keepAlive)
	s.r.spawn(s.sendOutbox)
	s.end(s.read())
}

// greet sends what comes before messages.
func (s *Session) greet() {
	q := s.r.quirks.Load()
	if q.PingAtOnce {
		_ = s.ping() // the reader sees the failure
	}
	if q.UnaskedInfo {
		_ = s.Send(s.r.profile())
	}
	if s.r.mayWrite(s.contact) && !q.NoInfoRequest {
		s.r.mu.Lock()
		since := s.contact.asked
		s.r.mu.Unlock()
		_ = s.Send(Frame{Type: TypeInfoRequest, Fields: Fields{"since": since}})
	}
}

// profile is the phone's own.
func (p *Phone) profile() Frame {
	f := Frame{Type: TypeInfoResponse, Fields: Fields{
		"time": p.opts.ProfileTime, "nickname": p.opts.Name, "info": p.opts.Info, "avatar": p.opts.Avatar,
	}}
	if p.quirks.Load().NoAvatar {
		delete(f.Fields, "avatar")
	}
	return f
}

// openData opens the stream for large messages.
func (s *Session) openData(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	conn, err := s.r.carrier.Dial(ctx, s.line.Node(), Port)
	if err != nil {
		return err
	}
	l := NewLine(conn)
	if _, err := l.Write([]byte{RoleData}); err != nil {
		l.Abort()
		return err
	}
	s.mu.Lock()
	ended := s.err != nil
	s.data = l
	s.mu.Unlock()
	if ended {
		l.Close()
	}
	return nil
}

// read handles what comes on the control stream until it ends.
func (s *Session) read() error {
	if err := s.line.limit(0); err != nil {
		return err
	}
	for {
		t, size, err := readHeader(s.line.in)
		if err != nil {
			return err
		}
		f, err := readBody(s.line.in, t, size, !t.opensSession())
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.event = time.Now()
		if t != TypePing && t != TypePong {
			s.real = s.event
		}
		s.mu.Unlock()
		if err := s.handle(f); err != nil {
			return err
		}
	}
}

// pause waits, or returns false when the session ends first.
func (s *Session) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.over:
		return false
	}
}

func (s *Session) ping() error {
	s.mu.Lock()
	s.pinged, s.waiting = time.Now(), true
	s.mu.Unlock()
	return s.Send(Frame{Type: TypePing})
}

// pingUnless is ping, unless the phone sends none.
func (s *Session) pingUnless() error {
	if !s.r.quirks.Load().NoPing {
		return s.ping()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinged = time.Now()
	return nil
}

// alive asks the other side for a sign of life.
func (s *Session) alive(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(s.r.ctx, within)
	defer cancel()
	s.mu.Lock()
	before := s.pongs
	s.mu.Unlock()
	if s.ping() != nil {
		return false
	}
	return s.r.Await(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.pongs > before
	}) == nil
}

// keepAlive pings, and ends the session when there is no answer or nothing to do.
func (s *Session) keepAlive() {
	for {
		s.mu.Lock()
		now := time.Now()
		due, act := s.event.Add(pingEvery), s.pingUnless // the first
		switch {
		case s.waiting:
			due, act = s.pinged.Add(pongTime), func() error { return errUnreachable }
		case !s.pinged.IsZero():
			due = s.pinged.Add(pingEvery)
		}
		if idle := s.real.Add(idleTime); idle.Before(due) {
			due, act = idle, func() error { return errIdle }
		}
		s.mu.Unlock()
		if due.After(now) {
			if !s.pause(due.Sub(now)) {
				return
			}
			continue // something may have happened meanwhile
		}
		if err := act(); err != nil {
			s.end(err)
			return
		}
	}
}
