// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/mimird/mimird/proto/identity"
)

// systemCarrier is TCP and UDP over the Yggdrasil of the operating system, which is
// another node than ours: under its address others reach this carrier. The two are of
// one network, so ours is asked for the keys behind addresses.
type systemCarrier struct {
	layer  PacketLayer
	places *places
	limits Limits
	logger *slog.Logger
	book   *addressBook
	system System

	ctx     context.Context // ends with the carrier
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[uint16]*systemListener
	ports     map[*systemPort]struct{}
	conns     map[*systemConn]struct{}
}

func newSystemCarrier(layer PacketLayer, system System, places *places, limits Limits, logger *slog.Logger) *systemCarrier {
	ctx, cancel := context.WithCancel(context.Background())
	return &systemCarrier{
		layer: layer, places: places, limits: limits, logger: logger, book: newAddressBook(layer), system: system, ctx: ctx, cancel: cancel,
		listeners: make(map[uint16]*systemListener),
		ports:     make(map[*systemPort]struct{}),
		conns:     make(map[*systemConn]struct{}),
	}
}

// Key implements Carrier: it is our node's, as everywhere.
func (c *systemCarrier) Key() identity.NodeKey { return c.layer.Key() }

// Address implements AddressCarrier. It is invalid while the system has none.
func (c *systemCarrier) Address() netip.Addr {
	a, err := addressOn(c.system)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// Dial implements Carrier.
func (c *systemCarrier) Dial(ctx context.Context, to identity.NodeKey, port uint16) (Conn, error) {
	conn, err := c.dial(ctx, netip.AddrPortFrom(AddressOf(to), port))
	if err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", to.Short(), port, err)
	}
	conn.key = to
	return conn, nil
}

// Resolve implements AddressCarrier.
func (c *systemCarrier) Resolve(ctx context.Context, a netip.Addr) (identity.NodeKey, error) {
	if !IsYggdrasil(a) {
		return identity.NodeKey{}, fmt.Errorf("find %v: %w", a, ErrBadAddress)
	}
	return c.book.resolve(ctx, a)
}

// DialAddress implements AddressCarrier.
func (c *systemCarrier) DialAddress(ctx context.Context, to netip.AddrPort) (Conn, error) {
	conn, err := c.dial(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", to, err)
	}
	conn.key = c.keyOf(ctx, to.Addr())
	return conn, nil
}

func (c *systemCarrier) dial(ctx context.Context, to netip.AddrPort) (*systemConn, error) {
	if to.Port() == 0 {
		return nil, ErrBadPort
	}
	if !IsYggdrasil(to.Addr()) {
		return nil, ErrBadAddress
	}
	own, err := addressOn(c.system)
	if err != nil {
		return nil, err
	}
	if own == to.Addr() {
		return nil, ErrRefused
	}
	dialling, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	socket, err := c.system.Dial(dialling, own, to)
	if err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case c.ctx.Err() != nil:
			return nil, ErrClosed
		}
		return nil, socketError(err)
	}
	return c.enter(socket, to.Addr(), false)
}

// keyOf finds the key of the node that has an address. When our node does not find
// it in a moment, it is what the address shows of the key: good enough to dial the
// address again.
func (c *systemCarrier) keyOf(ctx context.Context, a netip.Addr) identity.NodeKey {
	if key, ok := c.book.key(a); ok {
		return key
	}
	ctx, cancel := context.WithTimeout(ctx, pathWait)
	defer cancel()
	key, err := c.book.resolve(ctx, a)
	if err != nil {
		return partialKey(a)
	}
	return key
}

// enter turns a socket into a stream, within the limits; else the socket is reset.
func (c *systemCarrier) enter(socket Socket, remote netip.Addr, accepted bool) (*systemConn, error) {
	conn := &systemConn{Socket: socket, carrier: c}
	// The key is found out later, so streams are counted by what the address shows of
	// it.
	counted := partialKey(remote)
	who, ok := c.book.key(remote)
	if !ok {
		who = counted
	}
	take := c.places.dial
	if accepted {
		take = func(key identity.NodeKey, evict func()) (*place, []*place, error) {
			return c.places.acceptAs(key, who, evict)
		}
	}
	place, evicted, err := take(counted, func() { _ = conn.Abort() })
	evictAll(evicted)
	if err != nil {
		resetSocket(socket)
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.places.leave(place)
		resetSocket(socket)
		return nil, ErrClosed
	}
	conn.place = place
	c.conns[conn] = struct{}{}
	return conn, nil
}

func (c *systemCarrier) leave(conn *systemConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.conns[conn]; !ok {
		return
	}
	delete(c.conns, conn)
	c.places.leave(conn.place)
}

// ListenDatagrams implements Carrier: there are none of ygg_stream's kind here.
func (c *systemCarrier) ListenDatagrams(uint16) (Datagrams, error) {
	return nil, fmt.Errorf("datagrams over TCP: %w", errors.ErrUnsupported)
}

// shutdown ends all streams and ports and waits for the carrier's goroutines.
func (c *systemCarrier) shutdown() {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	listeners, ports, conns := values(c.listeners), keys(c.ports), keys(c.conns)
	c.mu.Unlock()
	if !first {
		return
	}
	c.cancel()
	for _, l := range listeners {
		_ = l.Close() // never fails
	}
	for _, p := range ports {
		_ = p.Close()
	}
	for _, conn := range conns {
		_ = conn.Abort() // never fails
	}
	c.workers.Wait()
}

// systemConn is a socket as a Conn.
type systemConn struct {
	Socket
	carrier *systemCarrier
	key     identity.NodeKey
	place   *place
}

// RemoteKey implements Conn: the key of the node that has the other address, or what
// the address shows of it. The system vouches for the address.
func (c *systemConn) RemoteKey() identity.NodeKey { return c.key }

func (c *systemConn) Read(b []byte) (int, error) {
	n, err := c.Socket.Read(b)
	return n, socketError(err)
}

func (c *systemConn) Write(b []byte) (int, error) {
	n, err := c.Socket.Write(b)
	return n, socketError(err)
}

// Close implements Conn. The system goes on to deliver what was written.
func (c *systemConn) Close() error {
	c.carrier.leave(c)
	return socketError(c.Socket.Close())
}

// Abort implements Conn.
func (c *systemConn) Abort() error {
	c.carrier.leave(c)
	resetSocket(c.Socket)
	return nil
}

func resetSocket(s Socket) {
	_ = s.SetLinger(0) // without it the other side sees an end and no reset
	_ = s.Close()
}

// socketError makes one of this package's errors.
func socketError(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ErrReset
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ErrTimeout
	}
	return err
}
