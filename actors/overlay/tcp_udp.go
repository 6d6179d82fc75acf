// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// udpPort is an open UDP port. It is for requests to trackers and their answers:
// packets may be lost, also because the path to their receiver is not known yet.
type udpPort struct {
	*gonet.UDPConn
	carrier *tcpCarrier
	port    uint16
	once    sync.Once
	closed  chan struct{}
}

// ListenPacket implements AddressCarrier.
func (c *tcpCarrier) ListenPacket(port uint16) (net.PacketConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	local := tcpip.FullAddress{Addr: tcpip.AddrFrom16(c.own.As16()), Port: port}
	conn, err := gonet.DialUDP(c.ip.stack, &local, nil, ipv6.ProtocolNumber)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = textError(op.Err.Error())
		}
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, err)
	}
	port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	p := &udpPort{UDPConn: conn, carrier: c, port: port, closed: make(chan struct{})}
	c.udp[port] = p
	return p, nil
}

// ReadFrom implements net.PacketConn.
func (p *udpPort) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.UDPConn.ReadFrom(b)
	return n, from, p.error(err)
}

// WriteTo implements net.PacketConn. The network is asked for a receiver that is
// not known yet, and the packet is lost.
func (p *udpPort) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, ErrBadAddress
	}
	address, ok := netip.AddrFromSlice(udp.IP)
	if !ok || !IsYggdrasil(address) {
		return 0, ErrBadAddress
	}
	if _, known := p.carrier.book.key(address); !known {
		p.carrier.book.ask(address)
		return len(b), nil
	}
	n, err := p.UDPConn.WriteTo(b, to)
	return n, p.error(err)
}

func (p *udpPort) error(err error) error {
	var timeout net.Error
	select {
	case <-p.closed:
		if err != nil {
			return net.ErrClosed
		}
	default:
	}
	if errors.As(err, &timeout) && timeout.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Close implements net.PacketConn. It ends calls that wait.
func (p *udpPort) Close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		_ = p.SetDeadline(aLongTimeAgo)
		err = p.UDPConn.Close()
		p.carrier.mu.Lock()
		defer p.carrier.mu.Unlock()
		delete(p.carrier.udp, p.port)
	})
	return err
}
