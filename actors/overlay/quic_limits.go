// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// quicStrangerWindow is how much a stranger may send before it has logged in, on
	// all streams of a connection together.
	quicStrangerWindow = 64 << 10
	// quicConnsPerNode is how many connections a node may have with those whose
	// handshake is under way: see quicLinksPerNode.
	quicConnsPerNode = 2 * quicLinksPerNode
	// quicAcceptTime is when a connection must have been accepted that a node has
	// begun: quic-go ends a handshake before.
	quicAcceptTime = 3 * quicHandshakeTime
	// Strangers may begin quicStrangerBurst handshakes at once and then quicStrangerRate
	// in a second, all together: each costs a millisecond of a processor.
	quicStrangerRate  = 32
	quicStrangerBurst = 64
)

// quicAdmission counts the connections that other nodes open, from their first
// packet on, and the memory that quic-go may use for what they send. Every
// connection has a place among the streams of the node, as each of its streams has;
// memory is reserved in the receive memory, by the windows that are granted.
type quicAdmission struct {
	places   *places
	memory   *receiveMemory
	contacts *contactIndex
	// later runs what may wait for quic-go.
	later func(func())
	// strangers limits the handshakes of all strangers together.
	strangers *rate.Limiter

	mu      sync.Mutex
	perNode map[identity.NodeKey]int
	granted map[*quic.Conn]int // window beyond the first one, in bytes
}

// quicEntry is the place of one connection that another node opens.
type quicEntry struct {
	admission *quicAdmission
	key       identity.NodeKey
	place     *place
	stranger  bool // quicStrangerWindow is reserved
	expiry    *time.Timer

	mu    sync.Mutex
	conn  *quic.Conn // nil until accepted
	ended bool
}

type quicEntryKey struct{}

func newQUICAdmission(places *places, memory *receiveMemory, later func(func())) *quicAdmission {
	return &quicAdmission{
		places: places, memory: memory, contacts: places.contacts, later: later,
		strangers: rate.NewLimiter(quicStrangerRate, quicStrangerBurst),
		perNode:   make(map[identity.NodeKey]int), granted: make(map[*quic.Conn]int),
	}
}

// enter is quic.Transport.ConnContext: it refuses a connection, or takes a place for
// it until its context ends.
func (a *quicAdmission) enter(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	from, ok := client.RemoteAddr.(*quicAddr)
	if !ok {
		return nil, ErrBadAddress
	}
	e := &quicEntry{admission: a, key: from.key}
	if !a.countNode(from.key) {
		return nil, ErrTooMany
	}
	if a.contacts.stranger(from.key) {
		if !a.strangers.Allow() || !a.memory.strangers.take(quicStrangerWindow) {
			a.uncountNode(from.key)
			return nil, ErrTooMany
		}
		e.stranger = true
	}
	place, evicted, err := a.places.connect(from.key, e.evict)
	evictAll(evicted)
	if err != nil {
		e.release()
		return nil, err
	}
	e.mu.Lock()
	e.place = place
	e.expiry = time.AfterFunc(quicAcceptTime, e.expire)
	e.mu.Unlock()
	context.AfterFunc(ctx, e.release)
	return context.WithValue(ctx, quicEntryKey{}, e), nil
}

func (a *quicAdmission) countNode(key identity.NodeKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perNode[key] >= quicConnsPerNode {
		return false
	}
	a.perNode[key]++
	return true
}

func (a *quicAdmission) uncountNode(key identity.NodeKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perNode[key]--; a.perNode[key] <= 0 {
		delete(a.perNode, key)
	}
}

// accepted notes the connection; it returns false when its place has been taken
// away meanwhile.
func (e *quicEntry) accepted(conn *quic.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn = conn
	return !e.ended
}

// release gives everything back. Further calls do nothing.
func (e *quicEntry) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	e.ended = true
	if e.expiry != nil {
		e.expiry.Stop()
	}
	e.admission.places.leave(e.place)
	e.admission.uncountNode(e.key)
	if e.stranger {
		e.admission.memory.strangers.give(quicStrangerWindow)
	}
}

// evict ends the connection, as another one gets its place.
func (e *quicEntry) evict() {
	e.release()
	e.mu.Lock()
	conn := e.conn
	e.mu.Unlock()
	if conn != nil {
		e.admission.later(func() { _ = conn.CloseWithError(0, quicReplacedText) })
	}
}

// expire frees the place of a connection that quic-go has lost.
func (e *quicEntry) expire() {
	e.mu.Lock()
	lost := e.conn == nil
	e.mu.Unlock()
	if lost {
		e.release()
	}
}

// config is quic.Config.GetConfigForClient: strangers begin with a small window.
func (a *quicAdmission) config(standard *quic.Config) func(*quic.ClientInfo) (*quic.Config, error) {
	small := standard.Clone()
	small.InitialStreamReceiveWindow = quicStrangerWindow
	small.InitialConnectionReceiveWindow = quicStrangerWindow
	return func(client *quic.ClientInfo) (*quic.Config, error) {
		if from, ok := client.RemoteAddr.(*quicAddr); ok && a.contacts.stranger(from.key) {
			return small, nil
		}
		return standard, nil
	}
}

// grow is quic.Config.AllowConnectionWindowIncrease: a window grows when the other side
// is not a stranger, as long as all windows leave half of the receive memory to
// others.
func (a *quicAdmission) grow(conn *quic.Conn, delta uint64) bool {
	to, ok := conn.RemoteAddr().(*quicAddr)
	return ok && conn.Context().Err() == nil && a.grant(to.key, conn, int(delta))
}

func (a *quicAdmission) grant(key identity.NodeKey, conn *quic.Conn, delta int) bool {
	if a.contacts.stranger(key) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	total := &a.memory.total
	if total.used.Load()+int64(delta) > total.limit/2 || !total.take(delta) {
		return false
	}
	a.granted[conn] += delta
	return true
}

// forget gives back what grow has reserved. The connection has ended.
func (a *quicAdmission) forget(conn *quic.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory.total.give(a.granted[conn])
	delete(a.granted, conn)
}
