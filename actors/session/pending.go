// SPDX-License-Identifier: MPL-2.0

package session

import (
	"container/list"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxPending bounds the pending streams in all, maxPendingPerNode those of one node. A
	// further one evicts the oldest: honest peers finish a handshake quickly.
	maxPending        = 256
	maxPendingPerNode = 8
	// maxStrangerPending reserves a quarter for the nodes of contacts.
	maxStrangerPending = maxPending - maxPending/4
	// pendingPerPair is what each pair of an account and an accepted contact adds to the
	// bound of its node: apps dial two or three times at once.
	pendingPerPair = 3

	// A node may begin handshakeBurst handshakes at once and then one every
	// handshakeEvery. An app dials two or three times within seconds at most; every
	// handshake costs signatures, and may be an attempt to get one. Handshakes of contacts
	// do not count.
	handshakeBurst = 32
	handshakeEvery = time.Second
	// maxLimitedNodes bounds the nodes that are remembered. An evicted node has a new
	// allowance, like a new node key, which is free.
	maxLimitedNodes = 4096
)

// pendingStreams are the streams that have not finished the handshake. Those from the
// nodes of contacts have a list of their own, so that strangers cannot evict them with
// any number of node keys. It is safe for concurrent use.
type pendingStreams struct {
	mu                  sync.Mutex
	contacts, strangers *list.List // of *pendingStream, oldest first
	perNode             map[identity.NodeKey]int
}

type pendingStream struct {
	conn overlay.Conn
	// place is the element of in; nil after leave.
	place *list.Element
	in    *list.List
}

func newPendingStreams() *pendingStreams {
	return &pendingStreams{contacts: list.New(), strangers: list.New(), perNode: make(map[identity.NodeKey]int)}
}

// enter adds a stream of a node with that many pairs. When there are too many it evicts
// the oldest of the same node, or the oldest of a stranger, and one of a contact only for
// another contact. An evicted stream is reset, and its goroutine ends.
func (g *pendingStreams) enter(conn overlay.Conn, pairs int) *pendingStream {
	g.mu.Lock()
	defer g.mu.Unlock()
	node := conn.RemoteKey()
	e := &pendingStream{conn: conn, in: g.contacts}
	if pairs == 0 {
		e.in = g.strangers
	}
	switch {
	case g.perNode[node] >= maxPendingPerNode+pendingPerPair*pairs:
		g.evictNodeLocked(node)
	case pairs == 0 && g.strangers.Len() >= maxStrangerPending:
		g.evictLocked(g.strangers.Front())
	case g.contacts.Len()+g.strangers.Len() < maxPending:
	case g.strangers.Len() > 0:
		g.evictLocked(g.strangers.Front())
	default:
		g.evictLocked(g.contacts.Front())
	}
	e.place = e.in.PushBack(e)
	g.perNode[node]++
	return e
}

// leave removes a stream that has finished the handshake, or has ended.
func (g *pendingStreams) leave(e *pendingStream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removeLocked(e)
}

func (g *pendingStreams) abortAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, all := range []*list.List{g.contacts, g.strangers} {
		for e := all.Front(); e != nil; e = e.Next() {
			_ = e.Value.(*pendingStream).conn.Abort() // its goroutine reports the error
		}
	}
}

// evictNodeLocked evicts the oldest stream of a node.
func (g *pendingStreams) evictNodeLocked(node identity.NodeKey) {
	for _, all := range []*list.List{g.contacts, g.strangers} {
		for p := all.Front(); p != nil; p = p.Next() {
			if p.Value.(*pendingStream).conn.RemoteKey() == node {
				g.evictLocked(p)
				return
			}
		}
	}
}

func (g *pendingStreams) evictLocked(place *list.Element) {
	e := place.Value.(*pendingStream)
	g.removeLocked(e)
	_ = e.conn.Abort() // its goroutine reports the error
}

func (g *pendingStreams) removeLocked(e *pendingStream) {
	if e.place == nil {
		return
	}
	e.in.Remove(e.place)
	e.place = nil
	node := e.conn.RemoteKey()
	if g.perNode[node]--; g.perNode[node] <= 0 {
		delete(g.perNode, node)
	}
}

// handshakeLimiter limits how often a node may begin a handshake. It is safe for
// concurrent use.
type handshakeLimiter struct {
	mu    sync.Mutex
	nodes *lru.Table[identity.NodeKey, *allowance]
}

// allowance is the number of handshakes that a node may begin, as of a moment.
type allowance struct {
	left float64
	asOf time.Time
}

func newHandshakeLimiter() *handshakeLimiter {
	return &handshakeLimiter{nodes: lru.New[identity.NodeKey, *allowance](maxLimitedNodes)}
}

// begin reports whether a node may begin a handshake, and counts it.
func (h *handshakeLimiter) begin(node identity.NodeKey, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.nodes.Get(node)
	if !ok {
		a = &allowance{left: handshakeBurst, asOf: now}
		h.nodes.Put(node, a)
	}
	a.left = min(handshakeBurst, a.left+max(0, now.Sub(a.asOf).Seconds()/handshakeEvery.Seconds()))
	a.asOf = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// release takes back what begin has counted, for a handshake of a contact.
func (h *handshakeLimiter) release(node identity.NodeKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a, ok := h.nodes.Peek(node); ok {
		a.left = min(handshakeBurst, a.left+1)
	}
}
