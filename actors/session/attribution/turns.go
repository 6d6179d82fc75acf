// SPDX-License-Identifier: MPL-2.0

package attribution

import (
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// turnsTime is how long a node has one pair at a time after a data stream that could
	// be for several pairs, or after a session asked to have the node alone.
	turnsTime = 5 * time.Minute
	// maxTurnNodes bounds the nodes that have one pair at a time. When there are more,
	// the one that began first may have all pairs again.
	maxTurnNodes = 1024
	// turnFallback is the interval in which a pair in line asks again, besides TurnCame.
	turnFallback = 15 * time.Second
	// turnWishTime is how long a pair that does not ask again stays in line.
	turnWishTime = 2 * turnFallback
	// OpenTime is the time to open our data stream.
	OpenTime = 10 * time.Second
	// reserveTime is how long a node is reserved for one pair while our data stream to it
	// opens. The peer attributes the stream when it reads the role byte, for which it has
	// attributeTime; a frame that it acknowledges ends the reservation.
	reserveTime   = OpenTime + attributeTime
	attributeTime = 10 * time.Second
)

// nodeTurns is the state of a node that has one pair at a time.
type nodeTurns struct {
	// until is when all pairs may have sessions again; zero when they may.
	until time.Time
	// line are the pairs that wait, first come first.
	line []turnWish
	// reserved is the session whose data stream is opening, until reservedUntil, also
	// when the session ends before: what was written is still delivered.
	reserved      *Session
	reservedUntil time.Time
}

// turnWish is a pair that waits for its turn.
type turnWish struct {
	pair    store.Conversation
	contact kernel.Ref
	asked   time.Time
}

// TurnError says that another pair has its turn at the node. The contact asks again
// after Wait, or when it gets [TurnCame].
type TurnError struct{ Wait time.Duration }

func (*TurnError) Error() string { return "another conversation with the same device has its turn" }

// Messages of the table.
type (
	// Yield tells a session to end when it is idle: another pair waits for the node.
	Yield struct{}
	// EndShared tells a session to end: a data stream could be for several pairs.
	EndShared struct{}
	// TurnCame tells the actor of a contact, after [Table.Wait] or a [TurnError], that it
	// may have a session with the node after Wait.
	TurnCame struct{ Wait time.Duration }
)

// takeTurnsLocked begins one pair at a time at the node.
func (t *Table) takeTurnsLocked(n *nodePairs, now time.Time) {
	n.turns.until = now.Add(turnsTime)
	t.turnNodes = slices.DeleteFunc(t.turnNodes, func(k identity.NodeKey) bool { return k == n.key })
	t.turnNodes = append(t.turnNodes, n.key)
	if len(t.turnNodes) > maxTurnNodes {
		t.endTurnsLocked(t.turnNodes[0], now)
	}
}

// sweepTurnsLocked ends the turns whose time is over.
func (t *Table) sweepTurnsLocked(now time.Time) {
	for len(t.turnNodes) > 0 {
		n := t.nodes[t.turnNodes[0]]
		if n != nil && now.Before(n.turns.until) {
			return
		}
		t.endTurnsLocked(t.turnNodes[0], now)
	}
}

func (t *Table) endTurnsLocked(node identity.NodeKey, now time.Time) {
	t.turnNodes = slices.DeleteFunc(t.turnNodes, func(k identity.NodeKey) bool { return k == node })
	if n := t.nodes[node]; n != nil {
		n.turns.until = time.Time{}
		n.wakeLocked(now)
		t.tidyLocked(n, now)
	}
}

// turnLocked returns how long a pair has to wait for the node, 0 when it may have a
// session now.
func (n *nodePairs) turnLocked(p store.Conversation, now time.Time) time.Duration {
	turns := &n.turns
	if r := turns.reserved; r != nil && r.pair != p && now.Before(turns.reservedUntil) {
		return turns.reservedUntil.Sub(now)
	}
	if !now.Before(turns.until) {
		return 0
	}
	var wait time.Duration
	for _, s := range n.sessions {
		switch {
		case s.pair == p:
		case !s.ended:
			wait = max(wait, turnFallback)
		case s.counts(now):
			wait = max(wait, s.until.Sub(now))
		}
	}
	if first, ok := turns.first(now); wait == 0 && ok && first.pair != p {
		wait = turnFallback
	}
	return wait
}

// first returns the head of the line.
func (x *nodeTurns) first(now time.Time) (turnWish, bool) {
	for len(x.line) > 0 && now.Sub(x.line[0].asked) > turnWishTime {
		x.line = x.line[1:]
	}
	if len(x.line) == 0 {
		x.line = nil
		return turnWish{}, false
	}
	return x.line[0], true
}

func (x *nodeTurns) leaveLine(p store.Conversation) {
	x.line = slices.DeleteFunc(x.line, func(w turnWish) bool { return w.pair == p })
}

// release ends the reservation of a session.
func (x *nodeTurns) release(s *Session) {
	if x.reserved == s {
		x.reserved, x.reservedUntil = nil, time.Time{}
	}
}

func (x *nodeTurns) isOver(now time.Time) bool {
	return !now.Before(x.until) && (x.reserved == nil || !now.Before(x.reservedUntil))
}

// waitLocked puts a pair in line, or notes that it is still there. While the node gets
// one pair at a time the sessions of other pairs are asked to end when they can.
func (n *nodePairs) waitLocked(w turnWish) {
	if i := slices.IndexFunc(n.turns.line, func(other turnWish) bool { return other.pair == w.pair }); i >= 0 {
		n.turns.line[i] = w
	} else {
		n.turns.line = append(n.turns.line, w)
	}
	if !w.asked.Before(n.turns.until) {
		return // the node is only reserved, which is over soon
	}
	for _, s := range n.sessions {
		if s.pair != w.pair && !s.ended {
			s.actor.Tell(Yield{})
		}
	}
}

// wakeLocked tells the first in line when it has its turn.
func (n *nodePairs) wakeLocked(now time.Time) {
	if first, ok := n.turns.first(now); ok {
		if wait := n.turnLocked(first.pair, now); wait < turnFallback {
			first.contact.Tell(TurnCame{Wait: wait})
		}
	}
}

// Wait returns how long a pair has to wait until it may have a session with a node,
// and 0 when it need not. It is then in line, and contact is told when its turn has
// come.
func (t *Table) Wait(node identity.NodeKey, p store.Conversation, contact kernel.Ref) time.Duration {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweepLocked(now)
	n := t.nodes[node]
	if n == nil {
		return 0
	}
	wait := n.turnLocked(p, now)
	if wait > 0 {
		n.waitLocked(turnWish{pair: p, contact: contact, asked: now})
	}
	return wait
}

// Reserve reports whether our data stream to the node may carry a frame now, and
// reserves the node for this pair while the stream opens. The peer attributes the stream
// to the session that began last, and forgets a session that shared the node when another
// one ends. So only sessions that never shared the node may use data streams.
func (s *Session) Reserve(opening bool) bool {
	now := s.table.now()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	n := s.table.nodes[s.node]
	if n == nil || s.shared || s.revoked || s.ended {
		return false
	}
	if opening {
		n.turns.reserved, n.turns.reservedUntil = s, now.Add(reserveTime)
	}
	return true
}

// Claim requests the node for this pair alone. All sessions with the node are told to
// yield, this one too: the next one of the pair, which is the first in line, does not
// share the node.
func (s *Session) Claim(contact kernel.Ref) {
	now := s.table.now()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	n := s.table.nodeLocked(s.node)
	s.table.takeTurnsLocked(n, now)
	n.turns.leaveLine(s.pair)
	n.turns.line = slices.Insert(n.turns.line, 0, turnWish{pair: s.pair, contact: contact, asked: now})
	for _, other := range n.sessions {
		if !other.ended {
			other.actor.Tell(Yield{})
		}
	}
}

// DataOpened notes that our data stream is open and its role byte was written.
func (s *Session) DataOpened() {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if n := s.table.nodes[s.node]; n != nil && n.turns.reserved == s {
		n.turns.reservedUntil = s.table.now().Add(attributeTime)
	}
}

// DataRead notes that the peer has read a frame of our data stream, so it has attributed
// the stream.
func (s *Session) DataRead() {
	now := s.table.now()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if n := s.table.nodes[s.node]; n != nil {
		n.turns.release(s)
		n.wakeLocked(now)
	}
}
