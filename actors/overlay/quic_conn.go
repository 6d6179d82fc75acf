// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/mimird/mimird/proto/identity"
)

// quicLink is one QUIC connection.
type quicLink struct {
	carrier *quicCarrier
	conn    *quic.Conn
	key     identity.NodeKey
	peer    *peer
	dialled *place // nil for a connection that the other side has opened

	// The carrier's lock guards these.
	streams int
	linger  *time.Timer // ends a connection without streams
	dropped bool
}

// acceptStreams takes the streams that the other side opens, also on connections
// that we have dialled.
func (l *quicLink) acceptStreams() {
	defer func() {
		l.drop()
		l.carrier.places.leave(l.dialled)
		l.carrier.admission.forget(l.conn)
	}()
	for {
		stream, err := l.conn.AcceptStream(l.carrier.ctx)
		if err != nil {
			return
		}
		c := l.wrap(stream)
		place, evicted, err := l.carrier.places.accept(l.key, func() { _ = c.Abort() })
		evictAll(evicted)
		if err != nil || !c.takePlace(place) {
			_ = c.Abort() // never fails
			continue
		}
		l.carrier.mu.Lock()
		listener := l.carrier.incoming
		l.carrier.mu.Unlock()
		if listener == nil || !listener.deliver(c) {
			_ = c.Abort() // never fails
		}
	}
}

// open opens a stream.
func (l *quicLink) open(ctx context.Context) (*quicConn, error) {
	place, evicted, err := l.carrier.places.dial(l.key, nil)
	evictAll(evicted)
	if err != nil {
		return nil, err
	}
	stream, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		l.carrier.places.leave(place)
		return nil, quicError(err)
	}
	c := l.wrap(stream)
	c.takePlace(place)
	return c, nil
}

func (l *quicLink) wrap(stream *quic.Stream) *quicConn {
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	l.streams++
	if l.linger != nil {
		l.linger.Stop()
	}
	return &quicConn{Stream: stream, link: l}
}

// left is called when a stream has been given up.
func (l *quicLink) left(place *place) {
	l.carrier.places.leave(place)
	l.carrier.mu.Lock()
	defer l.carrier.mu.Unlock()
	if l.streams--; l.streams == 0 {
		l.lingerLocked()
	}
}

// lingerLocked ends the connection if there is no stream for a while.
func (l *quicLink) lingerLocked() {
	if l.linger != nil {
		l.linger.Stop()
	}
	if !l.dropped {
		l.linger = time.AfterFunc(quicLinger, l.endIfUnused)
	}
}

func (l *quicLink) endIfUnused() {
	l.carrier.mu.Lock()
	unused := l.streams == 0 && !l.dropped
	l.carrier.mu.Unlock()
	if unused {
		l.drop()
	}
}

// replace ends the connection as the apps do when a newer one has taken its place.
// The carrier is locked.
func (l *quicLink) replace() {
	l.dropLocked()
	// It waits for quic-go, which may wait for the carrier.
	l.carrier.workers.Go(func() { _ = l.conn.CloseWithError(0, quicReplacedText) })
}

// drop ends the connection and removes it, and no other one.
func (l *quicLink) drop() {
	l.carrier.mu.Lock()
	l.dropLocked()
	l.carrier.mu.Unlock()
	_ = l.conn.CloseWithError(0, "") // never fails
}

func (l *quicLink) dropLocked() {
	if l.dropped {
		return
	}
	l.dropped = true
	if l.linger != nil {
		l.linger.Stop()
	}
	c := l.carrier
	if n := c.nodes[l.key]; n != nil {
		n.links = slices.DeleteFunc(n.links, func(o *quicLink) bool { return o == l })
	}
	c.tidy(l.key)
	c.peers.unpin(l.peer)
}

// quicConn is a stream as a Conn.
type quicConn struct {
	*quic.Stream
	link *quicLink
	// writing guards closing against writing, which quic-go does not allow at once.
	writing sync.Mutex
	ended   atomic.Bool
	place   atomic.Pointer[place]
}

// takePlace gives the stream its place. It returns false when the stream has ended
// already.
func (c *quicConn) takePlace(place *place) bool {
	c.place.Store(place)
	if c.ended.Load() {
		c.link.carrier.places.leave(place)
		return false
	}
	return true
}

// RemoteKey implements Conn.
func (c *quicConn) RemoteKey() identity.NodeKey { return c.link.key }

// LocalAddr and RemoteAddr are the nodes.
func (c *quicConn) LocalAddr() net.Addr  { return c.link.conn.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr { return c.link.conn.RemoteAddr() }

func (c *quicConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	return n, c.error(err)
}

func (c *quicConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.Stream.Write(b)
	return n, c.error(err)
}

// CloseWrite implements Conn.
func (c *quicConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.error(c.Stream.Close())
}

// Close implements Conn. It ends both directions: the apps end only their own, and
// a stream counts until both have ended.
func (c *quicConn) Close() error {
	if c.ended.Swap(true) {
		return net.ErrClosed
	}
	// A write that waits is given up; what it has written is delivered.
	_ = c.SetWriteDeadline(aLongTimeAgo)
	c.CancelRead(quicStreamAborted)
	c.writing.Lock()
	_ = c.Stream.Close() // fails when the other side wants no more
	c.writing.Unlock()
	c.link.left(c.place.Load())
	return nil
}

// Abort implements Conn.
func (c *quicConn) Abort() error {
	if c.ended.Swap(true) {
		return nil
	}
	c.CancelWrite(quicStreamAborted)
	c.CancelRead(quicStreamAborted)
	c.link.left(c.place.Load())
	return nil
}

func (c *quicConn) error(err error) error {
	switch {
	case err == nil:
		return nil
	case c.ended.Load():
		return net.ErrClosed
	}
	return quicError(err)
}

// quicError maps an error of quic-go to one of this package.
func quicError(err error) error {
	var (
		idle      *quic.IdleTimeoutError
		handshake *quic.HandshakeTimeoutError
		stream    *quic.StreamError
		app       *quic.ApplicationError
		reset     *quic.StatelessResetError
		transport *quic.TransportError
	)
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &idle), errors.As(err, &handshake), errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.As(err, &stream), errors.As(err, &app), errors.As(err, &reset):
		return ErrReset
	case errors.As(err, &transport) && transport.ErrorCode == quic.ConnectionRefused:
		return ErrRefused
	}
	return err
}

// quicListener queues streams for Accept.
type quicListener struct {
	carrier *quicCarrier
	port    uint16
	queue   chan *quicConn
	once    sync.Once
	closed  chan struct{}
}

func (l *quicListener) Port() uint16 { return l.port }

// Accept implements Listener.
func (l *quicListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case <-l.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// deliver waits for a place in the queue. Meanwhile no further stream of that
// connection is taken, and the other side can open a hundred.
func (l *quicListener) deliver(c *quicConn) bool {
	select {
	case <-l.closed:
		return false
	default:
	}
	select {
	case l.queue <- c:
		select {
		case <-l.closed:
			l.drain() // nobody else will
		default:
		}
		return true
	case <-l.closed:
		return false
	case <-c.link.conn.Context().Done():
		return false
	}
}

// Close implements Listener.
func (l *quicListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.carrier.mu.Lock()
		l.carrier.incoming = nil
		l.carrier.mu.Unlock()
		l.drain()
	})
	return nil
}

// drain resets streams that were not accepted.
func (l *quicListener) drain() {
	for {
		select {
		case c := <-l.queue:
			_ = c.Abort() // never fails
		default:
			return
		}
	}
}
