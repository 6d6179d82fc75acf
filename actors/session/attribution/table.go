// SPDX-License-Identifier: MPL-2.0

package attribution

import (
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// stragglerTime is how long after the end of a session its data stream may arrive.
	// The apps open it right after the handshake and give up after 10 s; the rest is for
	// a slow network.
	stragglerTime = 15 * time.Second
	// maxLingering bounds the ended sessions whose data streams may arrive. The one that
	// ended first is evicted.
	maxLingering = 4096
)

// Table has the pairs of an account and a contact that have a session with each node.
// A data stream does not say whose it is: only the node at the other end is known, where
// several contacts may be, and with which several of our accounts may have sessions. So
// it belongs to a pair only if it cannot belong to another one.
//
// A session counts from the moment at which the peer can count it: before we send
// CHALLENGE_ANSWER2 as acceptor, before the final OK as initiator. None of its data
// streams is opened earlier. It counts until it has ended and its data stream cannot
// arrive any more. Only gen3 has data streams, so only its sessions are entered.
//
// Three files share the lock: this one has the sessions, streams.go the data streams that
// arrive, turns.go the nodes that have one pair at a time. The table is safe for concurrent use and never blocks.
type Table struct {
	log *strangerlog.Log
	now func() time.Time

	mu    sync.Mutex
	nodes map[identity.NodeKey]*nodePairs
	// lingering are ended sessions that still count, in the order of their ends.
	lingering []*Session
	// heldForStrangers counts held streams that met no accepted contact.
	heldForStrangers int
	// turnNodes are the nodes that have one pair at a time, the one whose time ends
	// first at the head.
	turnNodes []identity.NodeKey
}

// nodePairs are the sessions and streams of one node.
type nodePairs struct {
	key identity.NodeKey
	// sessions are all that count, in the order in which they were entered.
	sessions []*Session
	// streams are the data streams whose session is not decided, in the order of their
	// opening.
	streams []*Incoming
	turns   nodeTurns
}

// Session is one session in the table. Its session actor owns it; the methods are safe for
// concurrent use and never block.
type Session struct {
	table   *Table
	node    identity.NodeKey
	pair    store.Conversation
	actor   kernel.Ref
	known   bool // of an accepted contact
	entered time.Time

	// Under the table's lock.

	live bool
	// revoked: told to end; it gets no data stream any more.
	revoked bool
	// hasData: the peer's data stream was given to it.
	hasData bool
	// shared: another pair has counted at the node during the life of this session.
	shared bool
	ended  bool
	// until is when an ended session stops counting.
	until time.Time
}

// New returns an empty table, which logs what strangers can cause to log.
func New(log *strangerlog.Log) *Table {
	return &Table{log: log, now: time.Now, nodes: make(map[identity.NodeKey]*nodePairs)}
}

// Entry is what a session actor says of itself in [Table.Enter].
type Entry struct {
	Node         identity.NodeKey
	Conversation store.Conversation
	// Session is told [Yield] and [EndShared].
	Session kernel.Ref
	// Contact is told [TurnCame].
	Contact kernel.Ref
	// Known says that the contact is accepted.
	Known bool
}

// Enter adds a session that the peer is about to count. It fails with *TurnError while
// another pair has its turn at the node; the pair then waits in line.
func (t *Table) Enter(e Entry) (*Session, error) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweepLocked(now)
	n := t.nodeLocked(e.Node)
	if wait := n.turnLocked(e.Conversation, now); wait > 0 {
		if e.Known { // strangers try again by themselves
			n.waitLocked(turnWish{pair: e.Conversation, contact: e.Contact, asked: now})
		}
		return nil, &TurnError{Wait: wait}
	}
	n.turns.leaveLine(e.Conversation)
	s := &Session{table: t, node: e.Node, pair: e.Conversation, actor: e.Session, known: e.Known, entered: now}
	for _, other := range n.sessions {
		if other.pair != e.Conversation && other.counts(now) {
			s.shared, other.shared = true, true
		}
	}
	n.sessions = append(n.sessions, s)
	for _, d := range n.streams {
		d.meetLocked(e.Conversation)
	}
	t.settleLocked(n, now)
	return s, nil
}

// GoLive says that the session can be given the peer's data stream.
func (s *Session) GoLive() {
	now := s.table.now()
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.live = true
	if n := s.table.nodes[s.node]; n != nil {
		s.table.settleLocked(n, now)
	}
}

// Leave says that the session has ended. It may be called more than once.
func (s *Session) Leave() {
	t := s.table
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[s.node]
	if s.ended || n == nil {
		return
	}
	s.ended, s.live = true, false
	s.until = now.Add(stragglerTime)
	if s.hasData {
		// The data stream was opened at the beginning of the session, and there is one.
		s.until = s.entered.Add(stragglerTime)
	}
	if n.turns.reserved == s && n.turns.reservedUntil.After(s.until) {
		s.until = n.turns.reservedUntil // our data stream may still be on the way
	}
	if s.counts(now) {
		t.lingering = append(t.lingering, s)
	} else {
		n.removeLocked(s)
	}
	t.settleLocked(n, now)
	n.wakeLocked(now)
	t.sweepLocked(now)
	t.tidyLocked(n, now)
}

// SetKnown notes whether the contact is accepted.
func (s *Session) SetKnown(known bool) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.known = known
}

func (n *nodePairs) removeLocked(s *Session) {
	n.sessions = slices.DeleteFunc(n.sessions, func(other *Session) bool { return other == s })
}

// counts reports whether the session is there, or its data stream may arrive.
func (s *Session) counts(now time.Time) bool { return !s.ended || now.Before(s.until) }

func (t *Table) nodeLocked(key identity.NodeKey) *nodePairs {
	n := t.nodes[key]
	if n == nil {
		n = &nodePairs{key: key}
		t.nodes[key] = n
	}
	return n
}

// sweepLocked removes the sessions that do not count any more, and empty nodes.
func (t *Table) sweepLocked(now time.Time) {
	gone := 0
	for _, s := range t.lingering {
		if s.counts(now) && len(t.lingering)-gone <= maxLingering {
			break
		}
		gone++
		if n := t.nodes[s.node]; n != nil {
			n.removeLocked(s)
			t.tidyLocked(n, now)
		}
	}
	t.lingering = t.lingering[gone:]
	if len(t.lingering) == 0 {
		t.lingering = nil
	}
	t.sweepTurnsLocked(now)
}

func (t *Table) tidyLocked(n *nodePairs, now time.Time) {
	if len(n.sessions) == 0 && len(n.streams) == 0 && n.turns.isOver(now) {
		delete(t.nodes, n.key)
	}
}
