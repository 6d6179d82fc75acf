// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/mimird/mimird/proto/identity"
)

// The settings of the library that the apps of gen2 use, where they can be
// seen from outside.
const (
	quicHandshakeTime = 8 * time.Second
	quicDialTime      = 5 * time.Second
	// quicIdle is the apps' own; the smaller one of both sides holds.
	quicIdle = 300 * time.Second
	// quicKeepAlive is below the minute after which Yggdrasil forgets a session.
	quicKeepAlive     = 30 * time.Second
	quicStreamWindow  = 1 << 20
	quicConnWindow    = 2 << 20
	quicStreams       = 100
	quicReplacedText  = "Timed out"
	quicPacketSize    = 1452 // the largest that the library sends and reads
	quicRetryPause    = 300 * time.Millisecond
	quicAttempts      = 3
	quicLinger        = time.Minute
	quicLinksPerNode  = 2
	quicStreamAborted = quic.StreamErrorCode(0)
	// quicPackets is by how much more packets a node may send here than over
	// ygg_stream, whose packets are up to eleven times as large.
	quicPackets = 8
)

// quicCarrier is QUIC in the packets of a layer, as the apps of gen2 speak
// it: one connection between two nodes, dialled by either, on which both open
// streams. There are no ports: the one listener gets every stream.
//
// A node is proved by Yggdrasil; the certificates prove nothing and are not
// checked.
type quicCarrier struct {
	layer     PacketLayer
	peers     *peerTable
	limits    Limits
	logger    *slog.Logger
	packets   *quicPacketConn
	transport *quic.Transport
	listener  *quic.Listener
	tls       *tls.Config
	config    *quic.Config
	places    *places
	admission *quicAdmission

	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	nodes    map[identity.NodeKey]*quicNode
	incoming *quicListener // nil while nobody listens
}

// quicNode is what there is with one other node.
type quicNode struct {
	// links are the connections, the newest last. New streams take the newest; on
	// older ones streams that are open live on.
	links []*quicLink
	// dialling is closed when the dial that is under way has ended, nil without one.
	dialling chan struct{}
	// stop ends that dial: the other side was faster.
	stop context.CancelFunc
}

func newQUICCarrier(layer PacketLayer, peers *peerTable, places *places, memory *receiveMemory, limits Limits, logger *slog.Logger) (*quicCarrier, error) {
	cert, err := quicCertificate()
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	c := &quicCarrier{
		layer: layer, peers: peers, limits: limits, logger: logger, packets: newQUICPacketConn(layer, peers),
		// No protocol is named: the apps end a handshake in which one is.
		tls: &tls.Config{
			ServerName:         layer.Key().String(),
			Certificates:       []tls.Certificate{*cert},
			InsecureSkipVerify: true, // #nosec G402 -- Yggdrasil has proved who is there
			MinVersion:         tls.VersionTLS13,
		},
		config: &quic.Config{
			Versions:                   []quic.Version{quic.Version1},
			HandshakeIdleTimeout:       quicHandshakeTime,
			MaxIdleTimeout:             quicIdle,
			KeepAlivePeriod:            quicKeepAlive,
			InitialPacketSize:          quicPacketSize,
			DisablePathMTUDiscovery:    true,
			MaxStreamReceiveWindow:     quicStreamWindow,
			MaxConnectionReceiveWindow: quicConnWindow,
			MaxIncomingStreams:         quicStreams,
			MaxIncomingUniStreams:      -1,
		},
		places: places,
		nodes:  make(map[identity.NodeKey]*quicNode),
	}
	c.admission = newQUICAdmission(places, memory, c.later)
	c.config.AllowConnectionWindowIncrease = c.admission.grow
	accepting := c.config.Clone()
	accepting.GetConfigForClient = c.admission.config(c.config)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.transport = &quic.Transport{Conn: c.packets, StatelessResetKey: resetKey(layer), ConnContext: c.admission.enter}
	if c.listener, err = c.transport.Listen(c.tls, accepting); err != nil {
		c.cancel()
		c.packets.close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	c.workers.Go(c.accept)
	return c, nil
}

// quicCertificate returns a certificate of a fresh key that is used for nothing else.
func quicCertificate() (*tls.Certificate, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return selfSigned(key)
}

// resetKey lets us tell the other side after a restart that its connection is gone,
// which it would notice only after minutes. The key must survive the restart, so it is
// derived from the node key; without a node key there are no such resets.
func resetKey(layer PacketLayer) *quic.StatelessResetKey {
	node, ok := layer.(*coreLayer)
	if !ok {
		return nil
	}
	key := quic.StatelessResetKey(sha256.Sum256(append([]byte("mimird quic stateless reset "), node.core.PrivateKey().Seed()...)))
	return &key
}

func (c *quicCarrier) Key() identity.NodeKey { return c.layer.Key() }

// later runs something in a goroutine of the carrier, unless that has ended: all
// connections do then.
func (c *quicCarrier) later(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.workers.Go(f)
	}
}

// accept takes the connections that other nodes open.
func (c *quicCarrier) accept() {
	for {
		conn, err := c.listener.Accept(c.ctx)
		if err != nil {
			return
		}
		from, ok := conn.RemoteAddr().(*quicAddr)
		if !ok {
			continue // not from here
		}
		entry, ok := conn.Context().Value(quicEntryKey{}).(*quicEntry)
		if !ok || !entry.accepted(conn) {
			_ = conn.CloseWithError(0, quicReplacedText) // its place was evicted
			continue
		}
		if _, err := c.add(from.key, conn, nil); err != nil {
			_ = conn.CloseWithError(0, "") // never fails
		}
	}
}

// add makes a connection the one for new streams to its node. The oldest is evicted
// when there are too many. dialled is the place of one that we have opened.
func (c *quicCarrier) add(key identity.NodeKey, conn *quic.Conn, dialled *place) (*quicLink, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	n := c.node(key)
	if len(n.links) >= quicLinksPerNode {
		n.links[0].replace()
	}
	l := &quicLink{carrier: c, conn: conn, key: key, peer: c.peers.pin(key), dialled: dialled}
	c.peers.allowMany(l.peer, quicPackets)
	n.links = append(n.links, l)
	if n.stop != nil {
		n.stop()
	}
	l.lingerLocked()
	c.workers.Go(l.acceptStreams)
	return l, nil
}

// node returns what there is with a node. The carrier is locked.
func (c *quicCarrier) node(key identity.NodeKey) *quicNode {
	n := c.nodes[key]
	if n == nil {
		n = &quicNode{}
		c.nodes[key] = n
	}
	return n
}

// tidy forgets a node without connections and dials. The carrier is locked.
func (c *quicCarrier) tidy(key identity.NodeKey) {
	if n := c.nodes[key]; n != nil && len(n.links) == 0 && n.dialling == nil {
		delete(c.nodes, key)
	}
}

// Dial implements Carrier. The port is ignored. The other side knows of the
// stream when something is written to it, and not before.
func (c *quicCarrier) Dial(ctx context.Context, to identity.NodeKey, _ uint16) (Conn, error) {
	conn, err := c.dial(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to.Short(), err)
	}
	return conn, nil
}

// dial opens a stream on the newest connection, or opens one. When two nodes dial
// each other at once, one of the dials fails or even both do; after a moment there
// is the other side's connection, or a retry can succeed.
func (c *quicCarrier) dial(ctx context.Context, to identity.NodeKey) (*quicConn, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case to == c.Key():
		return nil, ErrRefused
	}
	var last error
	for range quicAttempts {
		if remaining := c.peers.silent(to); remaining > 0 {
			return nil, &SilencedError{Remaining: remaining}
		}
		began := time.Since(c.peers.start)
		l, dialled, err := c.link(ctx, to)
		if err == nil {
			var conn *quicConn
			if conn, err = l.open(ctx); err == nil {
				return conn, nil
			}
			l.drop()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = err
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrTooMany) || errors.Is(err, ErrTimeout) && !c.peers.heardSince(to, began) {
			break
		}
		if dialled {
			if err := pause(ctx, quicRetryPause+mathrand.N(quicRetryPause)); err != nil {
				return nil, err
			}
		}
	}
	return nil, last
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// link returns the newest connection to a node, and dials when there is none and no
// other dial is under way. dialled says that it has tried.
func (c *quicCarrier) link(ctx context.Context, to identity.NodeKey) (l *quicLink, dialled bool, err error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, false, ErrClosed
		}
		n := c.node(to)
		if len(n.links) > 0 {
			l := n.links[len(n.links)-1]
			c.mu.Unlock()
			return l, false, nil
		}
		if n.dialling == nil {
			n.dialling = make(chan struct{})
			dialCtx, cancel := context.WithTimeout(ctx, quicDialTime)
			n.stop = cancel
			c.mu.Unlock()
			l, err := c.connect(dialCtx, to)
			cancel()
			c.mu.Lock()
			close(n.dialling)
			n.dialling, n.stop = nil, nil
			c.tidy(to)
			c.mu.Unlock()
			return l, true, err
		}
		waiting := n.dialling
		c.mu.Unlock()
		select {
		case <-waiting:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-c.ctx.Done():
			return nil, false, ErrClosed
		}
	}
}

// connect dials. When ctx is cancelled because the other side's connection has
// come meanwhile, it returns that.
func (c *quicCarrier) connect(ctx context.Context, to identity.NodeKey) (*quicLink, error) {
	place, evicted, err := c.places.dial(to, nil)
	evictAll(evicted)
	if err != nil {
		return nil, err
	}
	conn, err := c.transport.Dial(ctx, newQUICAddr(to), c.tls, c.config)
	if err == nil {
		l, err := c.add(to, conn, place)
		if err != nil {
			_ = conn.CloseWithError(0, "") // never fails
			c.places.leave(place)
		}
		return l, err
	}
	c.places.leave(place)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[to]; n != nil && len(n.links) > 0 {
		return n.links[len(n.links)-1], nil
	}
	if c.closed {
		return nil, ErrClosed
	}
	return nil, quicError(err)
}

// Listen implements Carrier. One listener gets every stream, so a second one is
// refused whatever its port.
func (c *quicCarrier) Listen(port uint16) (Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.incoming != nil:
		return nil, fmt.Errorf("listen: %w", ErrPortTaken)
	}
	c.incoming = &quicListener{
		carrier: c, port: port,
		queue: make(chan *quicConn, c.limits.Backlog), closed: make(chan struct{}),
	}
	return c.incoming, nil
}

// ListenDatagrams implements Carrier: the apps have none.
func (c *quicCarrier) ListenDatagrams(uint16) (Datagrams, error) {
	return nil, fmt.Errorf("datagrams over QUIC: %w", errors.ErrUnsupported)
}

// shutdown ends everything and waits for the carrier's goroutines, but not for the
// one that reads, see wait. It tells the other sides when the layer still works.
func (c *quicCarrier) shutdown(bool) {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	incoming := c.incoming
	var links []*quicLink
	for _, n := range c.nodes {
		links = append(links, n.links...)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.cancel()
	if incoming != nil {
		_ = incoming.Close() // never fails
	}
	for _, l := range links {
		_ = l.conn.CloseWithError(0, "") // never fails
	}
	_ = c.listener.Close()
	c.workers.Wait()
}

// wait ends quic-go, which reads until the layer has been closed.
func (c *quicCarrier) wait() {
	c.packets.close()
	_ = c.transport.Close() // fails when the packets' Close does
}
