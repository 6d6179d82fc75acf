// SPDX-License-Identifier: MPL-2.0

package attribution

import (
	"context"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxHeldPerSession bounds the data streams of a node that are held, for each of its
	// sessions. A further one resets the oldest.
	maxHeldPerSession = 2
	// maxHeldForStrangers bounds those in all that met no accepted contact. A further
	// one is reset. Those that met one are bounded by the sessions of contacts.
	maxHeldForStrangers = 64
)

// Stream is a stream whose session is to be found.
type Stream interface {
	// AwaitByte waits for the first byte and leaves it to be read.
	AwaitByte() error
	// SetDeadline and SetReadDeadline are those of net.Conn, Abort resets the stream.
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	Abort() error
}

// Incoming is a stream from its opening until its session is decided. It has met the
// pairs that counted at its node at any moment since its opening.
//
//   - It met one pair: it is given to the newest live session of that pair, as soon as
//     no handshake of the pair is in progress.
//   - It met several: it could be for any of them, also for one that has ended
//     meanwhile. It is held, unread: the apps open a data stream with every session and
//     often never use it. When a frame arrives on it, all sessions with the node end, the
//     stream is reset, and the node has one pair at a time: the peer sends the frame
//     again, on a stream that meets one pair.
//   - No session with the node is left: it is reset.
type Incoming struct {
	table *Table
	node  identity.NodeKey
	// decided is closed when the stream was given or reset.
	decided chan struct{}

	// Under the table's lock.

	met      store.Conversation // when metAny
	metAny   bool
	several  bool
	stream   Stream   // nil while it may still be a control stream
	frame    bool     // it carries a frame
	owner    *Session // to whom it was given
	over     bool
	stranger bool // counted in heldForStrangers
}

// Opened returns a new stream, which begins to meet pairs. The caller calls
// [Incoming.Owner] or [Incoming.Forget].
func (t *Table) Opened(node identity.NodeKey) *Incoming {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweepLocked(now)
	n := t.nodeLocked(node)
	d := &Incoming{table: t, node: node, decided: make(chan struct{})}
	for _, s := range n.sessions {
		if s.counts(now) {
			d.meetLocked(s.pair)
		}
	}
	n.streams = append(n.streams, d)
	return d
}

func (d *Incoming) meetLocked(p store.Conversation) {
	d.several = d.several || d.metAny && d.met != p
	d.met, d.metAny = p, true
}

// Forget removes the stream: it is not a data stream, or the listener ends.
func (d *Incoming) Forget() {
	d.table.mu.Lock()
	defer d.table.mu.Unlock()
	if n := d.table.nodes[d.node]; n != nil {
		d.endLocked(n)
		d.table.tidyLocked(n, d.table.now())
	}
}

// Owner waits until the data stream has a session, whose actor it returns, or was reset
// (false), at the latest at the end of ctx. It reads nothing of it.
func (d *Incoming) Owner(ctx context.Context, s Stream) (session kernel.Ref, found bool) {
	defer context.AfterFunc(ctx, d.Forget)()
	if s.SetDeadline(time.Time{}) != nil {
		d.Forget() // the stream has ended
	} else if d.hold(s) {
		d.peeked(s.AwaitByte())
	}
	<-d.decided
	// The deadline that interrupted AwaitByte must not interrupt the session.
	if d.owner == nil || s.SetDeadline(time.Time{}) != nil {
		_ = s.Abort() // no owner
		return kernel.Ref{}, false
	}
	return d.owner.actor, true
}

// hold adds the stream to those that are held. It returns false when it is decided
// already.
func (d *Incoming) hold(s Stream) bool {
	t := d.table
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodeLocked(d.node)
	d.stream = s
	t.settleLocked(n, now)
	if d.over {
		t.tidyLocked(n, now) // most likely the node is empty: a node key is free
		return false
	}
	if !n.hasContactLocked() {
		if t.heldForStrangers >= maxHeldForStrangers {
			d.endLocked(n)
			return false
		}
		t.heldForStrangers++
		d.stranger = true
	}
	n.boundHeldLocked()
	return !d.over
}

// peeked notes that a frame arrives on the stream, or that it has ended.
func (d *Incoming) peeked(err error) {
	t := d.table
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[d.node]
	if d.over || n == nil {
		return
	}
	if err != nil {
		d.endLocked(n)
		t.tidyLocked(n, now)
		return
	}
	d.frame = true
	t.settleLocked(n, now)
}

// settleLocked decides about the streams of a node as far as possible.
func (t *Table) settleLocked(n *nodePairs, now time.Time) {
	present := slices.ContainsFunc(n.sessions, func(s *Session) bool { return !s.ended })
	for _, d := range slices.Clone(n.streams) {
		switch {
		case d.stream == nil, d.over:
		case !present:
			d.endLocked(n)
		case d.several && d.frame:
			t.conflictLocked(n, now)
			return
		case d.several:
		default:
			if s, ok := n.ownerLocked(d.met); ok {
				s.hasData = true
				d.owner = s
				d.endLocked(n)
			}
		}
	}
}

// ownerLocked returns the session of a pair that gets its data stream: the newest; false
// until it is live.
func (n *nodePairs) ownerLocked(p store.Conversation) (*Session, bool) {
	for _, s := range slices.Backward(n.sessions) {
		if s.pair == p && !s.ended && !s.revoked {
			return s, s.live
		}
	}
	return nil, false
}

// conflictLocked handles a frame on a stream that could be for several pairs. The
// sessions end when nothing is in flight, and the stream is reset with the last of them: a
// peer that sees the reset earlier may end them itself.
func (t *Table) conflictLocked(n *nodePairs, now time.Time) {
	ended := 0
	for _, s := range n.sessions {
		if !s.ended && !s.revoked {
			s.revoked, s.live = true, false
			s.actor.Tell(EndShared{})
			ended++
		}
	}
	if ended == 0 {
		return // all have been told before
	}
	t.takeTurnsLocked(n, now)
	t.log.Info("ambiguous data stream reset, node gets one conversation at a time", "component", "listener",
		"node", n.key.Short(), "count", ended, "ttl", turnsTime)
}

// boundHeldLocked resets the oldest held streams when there are too many.
func (n *nodePairs) boundHeldLocked() {
	sessions := 0
	for _, s := range n.sessions {
		if !s.ended {
			sessions++
		}
	}
	var held []*Incoming
	for _, d := range n.streams {
		if d.stream != nil {
			held = append(held, d)
		}
	}
	for len(held) > maxHeldPerSession*sessions {
		held[0].endLocked(n)
		held = held[1:]
	}
}

// hasContactLocked reports whether an accepted contact counts at the node.
func (n *nodePairs) hasContactLocked() bool {
	return slices.ContainsFunc(n.sessions, func(s *Session) bool { return s.known })
}

// endLocked decides about the stream: it is given to its owner, or reset when there is
// none. It interrupts the goroutine that waits for the first byte.
func (d *Incoming) endLocked(n *nodePairs) {
	if d.over {
		return
	}
	d.over = true
	n.streams = slices.DeleteFunc(n.streams, func(other *Incoming) bool { return other == d })
	if d.stranger {
		d.table.heldForStrangers--
	}
	close(d.decided)
	if d.stream != nil {
		_ = d.stream.SetReadDeadline(time.Unix(1, 0)) // fails if the stream has ended
	}
}
