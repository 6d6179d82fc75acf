// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/mimird/mimird/proto/identity"
)

// AddressCarrier is the carrier of gen1, where nodes are reached at IPv6
// addresses. Its Dial goes to the address of a node key.
type AddressCarrier interface {
	Carrier
	// Address is under which others reach this node.
	Address() netip.Addr
	// DialAddress opens a stream to a port of the node that has the address, or
	// that routes it. It fails as Dial does, and with ErrBadAddress.
	DialAddress(ctx context.Context, to netip.AddrPort) (Conn, error)
	// Resolve finds the node that has an address, or that routes it.
	Resolve(ctx context.Context, a netip.Addr) (identity.NodeKey, error)
	// ListenPacket opens a UDP port, 0 for any. What comes from there has a sender
	// in Yggdrasil's ranges, and nothing can be sent elsewhere.
	ListenPacket(port uint16) (net.PacketConn, error)
}

// ErrBadAddress says that an address is not one of Yggdrasil's.
var ErrBadAddress = errors.New("not a Yggdrasil address")

// tcpCarrier is TCP and UDP over IPv6 over a packet layer, with a network stack in
// the program: neither a device nor a privilege is needed.
//
// The reader calls receive, which queues packets. One goroutine gives them to the
// network stack, another one sends what the stack has queued. Neither waits for
// the other, see PacketLayer.
type tcpCarrier struct {
	layer   PacketLayer
	peers   *peerTable
	places  *places
	limits  Limits
	logger  *slog.Logger
	book    *addressBook
	own     netip.Addr
	ip      *ipStack
	packets *packetQueue

	cancel  context.CancelFunc
	done    <-chan struct{}
	workers sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[uint16]*tcpListener
	udp       map[uint16]*udpPort
	conns     map[*tcpConn]struct{}
}

func newTCPCarrier(layer PacketLayer, peers *peerTable, places *places, limits Limits, logger *slog.Logger) (*tcpCarrier, error) {
	own := AddressOf(layer.Key())
	ip, err := newIPStack(own)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &tcpCarrier{
		layer: layer, peers: peers, places: places, limits: limits, logger: logger,
		book: newAddressBook(layer), own: own, ip: ip, packets: newPacketQueue(), cancel: cancel, done: ctx.Done(),
		listeners: make(map[uint16]*tcpListener),
		udp:       make(map[uint16]*udpPort),
		conns:     make(map[*tcpConn]struct{}),
	}
	c.workers.Go(c.deliver)
	c.workers.Go(func() { c.send(ctx) })
	return c, nil
}

func (c *tcpCarrier) Key() identity.NodeKey { return c.layer.Key() }

func (c *tcpCarrier) Address() netip.Addr { return c.own }

// receive takes a packet from the reader: it must not block, see Stack.
func (c *tcpCarrier) receive(from identity.NodeKey, packet []byte) {
	if len(packet) >= ipv6HeaderSize && len(packet) <= tcpMTU {
		c.packets.arrive(from, packet)
	}
}

// deliver gives packets to the network stack.
func (c *tcpCarrier) deliver() {
	for {
		p, err := c.packets.next()
		if err != nil {
			return
		}
		if c.admit(p.from, p.data) {
			c.ip.deliver(p.data)
		}
		putBuffer(p.data)
	}
}

// admit drops everything but TCP, errors about it, and UDP to ports that are
// open, with the addresses that sender and receiver really have.
func (c *tcpCarrier) admit(from identity.NodeKey, packet []byte) bool {
	h, ok := parseIP(packet)
	if !ok || h.destination != c.own || !c.book.owns(from, h.source) {
		return false
	}
	switch h.protocol {
	case protocolTCP:
		return true
	case protocolICMP:
		return isICMPError(packet)
	case protocolUDP:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.udp[h.port] != nil
	}
	return false
}

// send sends what the network stack has to send.
func (c *tcpCarrier) send(ctx context.Context) {
	for {
		packet, ok := c.ip.next(ctx)
		if !ok {
			return
		}
		// An error means that the layer is closed, which its reader sees as well, or
		// that the node must be left alone.
		if h, ok := parseIP(packet); ok {
			if key, known := c.book.key(h.destination); known {
				_ = sendTraffic(c.layer, c.peers, key, packet)
			}
		}
		putBuffer(packet)
	}
}

// Dial implements Carrier.
func (c *tcpCarrier) Dial(ctx context.Context, to identity.NodeKey, port uint16) (Conn, error) {
	conn, err := c.dial(ctx, to, netip.AddrPortFrom(c.book.learn(to), port))
	if err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", to.Short(), port, err)
	}
	return conn, nil
}

// Resolve implements AddressCarrier.
func (c *tcpCarrier) Resolve(ctx context.Context, a netip.Addr) (identity.NodeKey, error) {
	if !IsYggdrasil(a) {
		return identity.NodeKey{}, fmt.Errorf("find %v: %w", a, ErrBadAddress)
	}
	return c.book.resolve(ctx, a)
}

// DialAddress implements AddressCarrier.
func (c *tcpCarrier) DialAddress(ctx context.Context, to netip.AddrPort) (Conn, error) {
	if !IsYggdrasil(to.Addr()) {
		return nil, fmt.Errorf("dial %v: %w", to, ErrBadAddress)
	}
	key, err := c.book.resolve(ctx, to.Addr())
	if err != nil {
		return nil, fmt.Errorf("dial %v: find its node: %w", to, err)
	}
	conn, err := c.dial(ctx, key, to)
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", to, err)
	}
	return conn, nil
}

func (c *tcpCarrier) dial(ctx context.Context, key identity.NodeKey, to netip.AddrPort) (Conn, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case to.Port() == 0:
		return nil, ErrBadPort
	case key == c.Key():
		return nil, ErrRefused
	}
	if remaining := c.peers.silent(key); remaining > 0 {
		return nil, &SilencedError{Remaining: remaining}
	}
	conn, err := c.enter(key, false)
	if err != nil {
		return nil, err
	}
	c.book.awaitPath(ctx, key)
	if err := conn.open(ctx, c.ip, to); err != nil {
		c.leave(conn)
		if c.isClosed() {
			return nil, ErrClosed // whatever it looks like to the stack
		}
		return nil, err
	}
	c.peers.established(conn.peer)
	if c.isClosed() {
		_ = conn.Abort() // never fails
		return nil, ErrClosed
	}
	return conn, nil
}

// enter turns a connection into a stream, within the limits. leave frees its place.
func (c *tcpCarrier) enter(key identity.NodeKey, accepted bool) (*tcpConn, error) {
	conn := &tcpConn{carrier: c, key: key}
	take := c.places.dial
	if accepted {
		take = c.places.accept
	}
	place, evicted, err := take(key, func() { _ = conn.Abort() })
	evictAll(evicted)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.places.leave(place)
		return nil, ErrClosed
	}
	conn.place, conn.peer = place, c.peers.pin(key)
	c.book.use(key)
	c.conns[conn] = struct{}{}
	return conn, nil
}

func (c *tcpCarrier) leave(conn *tcpConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.conns[conn]; !ok {
		return
	}
	delete(c.conns, conn)
	c.places.leave(conn.place)
	c.book.release(conn.key)
	c.peers.unpin(conn.peer)
}

func (c *tcpCarrier) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// ListenDatagrams implements Carrier: there are none of ygg_stream's kind here.
func (c *tcpCarrier) ListenDatagrams(uint16) (Datagrams, error) {
	return nil, fmt.Errorf("datagrams over TCP: %w", errors.ErrUnsupported)
}

// shutdown ends all streams and ports and waits for the carrier's goroutines. It
// sends resets when the layer still works.
func (c *tcpCarrier) shutdown(reset bool) {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	listeners, ports, conns := values(c.listeners), values(c.udp), keys(c.conns)
	c.mu.Unlock()
	if !first {
		return
	}
	for _, l := range listeners {
		_ = l.Close() // never fails
	}
	for _, p := range ports {
		_ = p.Close()
	}
	for _, conn := range conns {
		_ = conn.Abort() // never fails
	}
	c.packets.close()
	if !reset {
		c.ip.drop()
	}
	c.cancel() // send goes on until nothing waits
	c.workers.Wait()
	c.ip.close()
}

func values[K comparable, V any](m map[K]V) []V {
	all := make([]V, 0, len(m))
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func keys[K comparable, V any](m map[K]V) []K {
	all := make([]K, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	return all
}

// open connects the stream.
func (c *tcpConn) open(ctx context.Context, ip *ipStack, to netip.AddrPort) error {
	var queue waiter.Queue
	ep, problem := ip.stack.NewEndpoint(tcp.ProtocolNumber, ipv6.ProtocolNumber, &queue)
	if problem != nil {
		return ipError(problem)
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	problem = ep.Connect(fullAddress(to))
	if _, started := problem.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Abort()
			return ctx.Err()
		case <-c.carrier.done:
			ep.Abort()
			return ErrClosed
		case <-connected:
		}
		problem = ep.LastError()
	}
	if problem != nil {
		ep.Close()
		return ipError(problem)
	}
	c.start(&queue, ep)
	return nil
}
