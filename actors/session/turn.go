// SPDX-License-Identifier: MPL-2.0

package session

import (
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/session/attribution"
)

const (
	// yieldQuiet is the idle time after which a session yields to another pair.
	yieldQuiet = 3 * time.Second
	// yieldTime is when it yields although it is busy, yieldLimit when it yields also
	// during the transfer of a file.
	yieldTime  = time.Minute
	yieldLimit = 10 * time.Minute
	// yieldLook is the interval in which it checks whether it can.
	yieldLook = time.Second
)

// enter adds the session to the table of sessions. It is called before the peer can count the
// session, and fails with *TurnError while another pair has its turn.
func (s *session) enter(c *kernel.Context) error {
	if !s.generation().hasRoles() {
		return nil // no data streams
	}
	place, err := s.deps.Table.sessions.Enter(attribution.Entry{
		Node: s.conn.node, Conversation: s.Conversation, Session: c.Self(), Contact: c.Parent(), Known: s.allowed,
	})
	if err != nil {
		return err
	}
	s.place = place
	return nil
}

// onYieldTurn notes that another pair waits for the node.
func (s *session) onYieldTurn(c *kernel.Context) {
	if s.yielding.IsZero() {
		s.yielding = time.Now()
	}
	if s.live {
		s.schedule(c)
	}
}

// endUndoubted ends the session for a reason, nil for none, when nothing is in flight: the
// peer has acknowledged our message, which it would otherwise show twice, and the store
// has answered all writes. Meanwhile no other message is sent.
func (s *session) endUndoubted(c *kernel.Context, reason error) {
	s.ending = reason
	if reason != nil && s.inFlight == nil && len(s.waiting) == 0 {
		s.end(c, reason)
	}
}

// yieldDue is when the session next checks whether it can yield.
func (s *session) yieldDue() time.Time {
	return time.Now().Add(max(yieldLook, time.Until(s.lastUse().Add(yieldQuiet))))
}

// mayYield reports whether the session can end in favour of another pair.
func (s *session) mayYield(now time.Time) bool {
	waited := now.Sub(s.yielding)
	busy := s.inFlight != nil || len(s.waiting) > 0
	switch {
	case s.call != nil, len(s.toServe) > 0, s.conn.receiving.Load(), s.deps.Files.Awaits(s.Conversation):
		return waited >= yieldLimit
	case waited >= yieldTime:
		return true
	}
	return !busy && now.Sub(s.lastUse()) >= yieldQuiet
}

// mayUseData reports whether our data stream may carry the next frame, and reserves the
// node for this session while the stream opens. See [attribution.Session.Reserve].
func (s *session) mayUseData() bool {
	return s.place != nil && s.place.Reserve(s.conn.data(&s.conn.outgoing) == nil)
}

// claimNode yields to a session of this pair that has the node alone, for a frame that
// only a data stream can carry. The requested files are owed.
func (s *session) claimNode(c *kernel.Context) {
	if s.place == nil {
		s.toServe = nil // generations without data streams have no file requests
		return
	}
	s.owe(c.Parent())
}

// owe leaves the files to the next session, and claims the node.
func (s *session) owe(contact kernel.Ref) {
	if len(s.toServe) > 0 {
		s.deps.Table.owed.put(s.Conversation, s.toServe, time.Now())
		s.toServe = nil
	}
	s.place.Claim(contact)
}

// serveOwed sends the files that an earlier session could not send. It is called after
// the first frame of the peer, which proves that the peer has the session.
func (s *session) serveOwed(c *kernel.Context) {
	if s.served || !s.allowed {
		return
	}
	s.served = true
	idle := len(s.toServe) == 0
	s.toServe = appendServed(s.toServe, s.deps.Table.owed.take(s.Conversation, time.Now()))
	if idle && len(s.toServe) > 0 {
		s.serve(c)
	}
}

// appendServed appends files to those that are to be sent, of which the first is being
// sent: up to maxFileRequests, each once.
func appendServed(files, more []servedFile) []servedFile {
	for _, f := range more {
		if len(files) < maxFileRequests && !slices.ContainsFunc(files, func(other servedFile) bool { return other.guid == f.guid }) {
			files = append(files, f)
		}
	}
	return files
}
