// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// systemCheck is how often the address of the system is looked at, systemRetry
	// the pause after it could not be listened on. Both as in the apps.
	systemCheck = 60 * time.Second
	systemRetry = 10 * time.Second
)

// systemListener listens on one port of the system's address, whatever that is: it
// may come later, and change.
type systemListener struct {
	carrier *systemCarrier
	port    uint16
	came    chan *systemConn // as many as may wait for Accept
	places  chan struct{}    // taken by streams until somebody has accepted them
	ctx     context.Context
	cancel  context.CancelFunc
}

// Listen implements Carrier.
func (c *systemCarrier) Listen(port uint16) (Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch {
	case port == 0:
		err = ErrBadPort
	case c.closed:
		err = ErrClosed
	case c.listeners[port] != nil:
		err = ErrPortTaken
	}
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	l := &systemListener{
		carrier: c, port: port,
		came: make(chan *systemConn, c.limits.Backlog), places: make(chan struct{}, c.limits.Backlog),
	}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	c.listeners[port] = l
	c.workers.Go(l.run)
	return l, nil
}

func (l *systemListener) Port() uint16 { return l.port }

// Accept implements Listener.
func (l *systemListener) Accept(ctx context.Context) (Conn, error) {
	if l.ctx.Err() != nil {
		return nil, ErrClosed
	}
	select {
	case conn := <-l.came:
		<-l.places
		return conn, nil
	case <-l.ctx.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close implements Listener. It resets what nobody has accepted.
func (l *systemListener) Close() error {
	l.cancel()
	l.carrier.mu.Lock()
	if l.carrier.listeners[l.port] == l {
		delete(l.carrier.listeners, l.port)
	}
	l.carrier.mu.Unlock()
	return nil
}

// run listens on the system's address until the listener is closed.
func (l *systemListener) run() {
	defer l.dropWaiting()
	told := ""
	for l.ctx.Err() == nil {
		err := l.listen()
		if l.ctx.Err() != nil {
			return
		}
		if err != nil {
			if err.Error() != told {
				told = err.Error()
				l.carrier.logger.Warn("listening over the system's Yggdrasil failed, retrying", "port", l.port, "err", err)
			}
			l.pause(systemRetry)
			continue
		}
		told = ""
	}
}

// dropWaiting resets streams that were not accepted. No more come: run has waited for
// the goroutines that bring them.
func (l *systemListener) dropWaiting() {
	for {
		select {
		case conn := <-l.came:
			_ = conn.Abort()
		default:
			return
		}
	}
}

func (l *systemListener) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// listen listens on the address that the system has now, until it has another one.
func (l *systemListener) listen() error {
	own, err := addressOn(l.carrier.system)
	if err != nil {
		return err
	}
	sockets, err := l.carrier.system.Listen(l.ctx, netip.AddrPortFrom(own, l.port))
	if err != nil {
		return err
	}
	l.carrier.logger.Info("listening over the system's Yggdrasil", "address", own, "port", l.port)
	failed := make(chan error, 1)
	var accepting sync.WaitGroup
	accepting.Go(func() { failed <- l.accept(&accepting, sockets) })
	defer accepting.Wait()
	defer func() { _ = sockets.Close() }()
	check := time.NewTicker(systemCheck)
	defer check.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-check.C:
			if now, err := addressOn(l.carrier.system); err != nil || now != own {
				return err
			}
		}
	}
}

// accept accepts sockets until the listener ends. Each has a goroutine of its own, as
// looking up a key takes a while.
func (l *systemListener) accept(bringing *sync.WaitGroup, sockets net.Listener) error {
	for {
		conn, err := sockets.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		socket, ok := conn.(Socket)
		if !ok {
			_ = conn.Close()
			continue
		}
		remote, ok := ipOf(socket.RemoteAddr())
		if !ok {
			resetSocket(socket)
			continue
		}
		select {
		case l.places <- struct{}{}:
		default:
			resetSocket(socket) // too many wait
			continue
		}
		stream, err := l.carrier.enter(socket, remote, true)
		if err != nil {
			<-l.places
			if !errors.Is(err, ErrClosed) {
				l.carrier.logger.Debug("ignoring a TCP connection", "address", remote, "err", err)
			}
			continue
		}
		bringing.Go(func() {
			stream.key = l.carrier.keyOf(l.ctx, remote)
			l.carrier.places.identify(stream.place, stream.key)
			l.came <- stream // there is a place
		})
	}
}

// ipOf returns the address of a socket's other end, when it is one of Yggdrasil's.
func ipOf(a net.Addr) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(a.String())
	return at.Addr(), err == nil && IsYggdrasil(at.Addr())
}

// systemPort is an open UDP port of the system.
type systemPort struct {
	net.PacketConn
	carrier *systemCarrier
}

// ListenPacket implements AddressCarrier.
func (c *systemCarrier) ListenPacket(port uint16) (net.PacketConn, error) {
	own, err := addressOn(c.system)
	if err != nil {
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, err)
	}
	conn, err := c.system.ListenPacket(c.ctx, netip.AddrPortFrom(own, port))
	if err != nil {
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, err)
	}
	p := &systemPort{PacketConn: conn, carrier: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, ErrClosed
	}
	c.ports[p] = struct{}{}
	return p, nil
}

// ReadFrom implements net.PacketConn. Packets from other addresses are dropped.
func (p *systemPort) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, socketError(err)
		}
		if _, ok := ipOf(from); ok {
			return n, from, nil
		}
	}
}

// WriteTo implements net.PacketConn.
func (p *systemPort) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, ErrBadAddress
	}
	if _, ok := ipOf(udp); !ok {
		return 0, ErrBadAddress
	}
	n, err := p.PacketConn.WriteTo(b, to)
	return n, socketError(err)
}

// Close implements net.PacketConn.
func (p *systemPort) Close() error {
	p.carrier.mu.Lock()
	delete(p.carrier.ports, p)
	p.carrier.mu.Unlock()
	return socketError(p.PacketConn.Close())
}
