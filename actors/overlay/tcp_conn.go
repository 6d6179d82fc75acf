// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/mimird/mimird/proto/identity"
)

// tcpConn is a TCP connection as a Conn.
type tcpConn struct {
	*gonet.TCPConn
	carrier *tcpCarrier
	key     identity.NodeKey
	peer    *peer
	place   *place

	// starting guards the beginning of the use of endpoint against Abort.
	starting sync.Mutex
	endpoint tcpip.Endpoint
	ended    atomic.Bool
}

// start begins to use a connected endpoint.
func (c *tcpConn) start(queue *waiter.Queue, ep tcpip.Endpoint) {
	setTCPOptions(ep)
	c.starting.Lock()
	defer c.starting.Unlock()
	c.TCPConn = gonet.NewTCPConn(queue, ep)
	c.endpoint = ep
	if c.ended.Load() { // its place was evicted meanwhile
		ep.Abort()
		c.wake()
	}
}

// RemoteKey implements Conn: the key of the node that has the other address, or
// that routes it.
func (c *tcpConn) RemoteKey() identity.NodeKey { return c.key }

func (c *tcpConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, c.error(err)
}

func (c *tcpConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, c.error(err)
}

// CloseWrite implements Conn.
func (c *tcpConn) CloseWrite() error { return c.error(c.TCPConn.CloseWrite()) }

// Close implements Conn. The network stack goes on to deliver what was written.
func (c *tcpConn) Close() error {
	if c.ended.Swap(true) {
		return net.ErrClosed
	}
	err := c.TCPConn.Close()
	c.wake()
	c.carrier.leave(c)
	return err
}

// Abort implements Conn.
func (c *tcpConn) Abort() error {
	c.starting.Lock()
	defer c.starting.Unlock()
	if c.ended.Swap(true) {
		return nil
	}
	if c.endpoint != nil { // else it is being opened, and that fails
		c.endpoint.Abort()
		c.wake()
	}
	c.carrier.leave(c)
	return nil
}

// wake ends calls that wait.
func (c *tcpConn) wake() { _ = c.SetDeadline(aLongTimeAgo) }

// error maps an error of the network stack, which has only texts, to one of
// this package.
func (c *tcpConn) error(err error) error {
	var timeout net.Error
	var op *net.OpError
	switch {
	case err == nil, errors.Is(err, io.EOF) && !c.ended.Load():
		return err
	case c.ended.Load():
		return net.ErrClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		return os.ErrDeadlineExceeded
	case errors.As(err, &op):
		return textError(op.Err.Error())
	}
	return err
}

// ipError makes one of this package's errors.
func ipError(problem tcpip.Error) error { return textError(problem.String()) }

func textError(text string) error {
	for _, known := range []struct {
		problem tcpip.Error
		err     error
	}{
		{&tcpip.ErrConnectionReset{}, ErrReset},
		{&tcpip.ErrConnectionAborted{}, ErrReset},
		{&tcpip.ErrConnectionRefused{}, ErrRefused},
		{&tcpip.ErrTimeout{}, ErrTimeout},
		{&tcpip.ErrHostUnreachable{}, ErrTimeout},
		{&tcpip.ErrNetworkUnreachable{}, ErrTimeout},
		{&tcpip.ErrClosedForSend{}, ErrReset},
		{&tcpip.ErrPortInUse{}, ErrPortTaken},
	} {
		if text == known.problem.String() {
			return known.err
		}
	}
	return errors.New(text)
}

// tcpListener accepts the connections of one port.
type tcpListener struct {
	carrier *tcpCarrier
	port    uint16
	queue   waiter.Queue
	entry   waiter.Entry
	ready   chan struct{} // has an item when there may be a connection
	ep      tcpip.Endpoint

	closeOnce sync.Once
	closed    chan struct{}
}

// Listen implements Carrier.
func (c *tcpCarrier) Listen(port uint16) (Listener, error) {
	l, err := c.listen(port)
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return l, nil
}

func (c *tcpCarrier) listen(port uint16) (*tcpListener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case port == 0:
		return nil, ErrBadPort
	case c.closed:
		return nil, ErrClosed
	case c.listeners[port] != nil:
		return nil, ErrPortTaken
	}
	l := &tcpListener{carrier: c, port: port, closed: make(chan struct{})}
	ep, problem := c.ip.stack.NewEndpoint(tcp.ProtocolNumber, ipv6.ProtocolNumber, &l.queue)
	if problem != nil {
		return nil, ipError(problem)
	}
	l.ep = ep
	l.entry, l.ready = waiter.NewChannelEntry(waiter.ReadableEvents)
	l.queue.EventRegister(&l.entry)
	if problem = ep.Bind(tcpip.FullAddress{Addr: tcpip.AddrFrom16(c.own.As16()), Port: port}); problem == nil {
		problem = ep.Listen(c.limits.Backlog)
	}
	if problem != nil {
		ep.Close()
		return nil, ipError(problem)
	}
	c.listeners[port] = l
	return l, nil
}

func (l *tcpListener) Port() uint16 { return l.port }

// Accept implements Listener.
func (l *tcpListener) Accept(ctx context.Context) (Conn, error) {
	for {
		select {
		case <-l.closed:
			return nil, ErrClosed
		default:
		}
		var from tcpip.FullAddress
		ep, queue, problem := l.ep.Accept(&from)
		if problem == nil {
			if conn := l.carrier.take(ep, queue, from); conn != nil {
				return conn, nil
			}
			continue
		}
		if _, wait := problem.(*tcpip.ErrWouldBlock); !wait {
			return nil, ErrClosed
		}
		select {
		case <-l.ready:
		case <-l.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take makes a Conn of an accepted connection, or refuses it when there are too
// many.
func (c *tcpCarrier) take(ep tcpip.Endpoint, queue *waiter.Queue, from tcpip.FullAddress) *tcpConn {
	key, ok := c.book.key(addressOf(from.Addr))
	if !ok {
		ep.Abort()
		return nil
	}
	conn, err := c.enter(key, true)
	if err != nil {
		c.logger.Debug("ignoring a TCP connection", "node", key.Short(), "err", err)
		ep.Abort()
		return nil
	}
	if c.places.contacts.stranger(key) {
		ep.SocketOptions().SetReceiveBufferSize(tcpStrangerBuffer, true)
	}
	conn.start(queue, ep)
	c.peers.established(conn.peer)
	return conn
}

// Close implements Listener.
func (l *tcpListener) Close() error {
	l.closeOnce.Do(func() {
		close(l.closed)
		l.queue.EventUnregister(&l.entry)
		l.ep.Close() // resets what nobody has accepted
		l.carrier.mu.Lock()
		delete(l.carrier.listeners, l.port)
		l.carrier.mu.Unlock()
	})
	return nil
}
