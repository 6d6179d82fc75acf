// SPDX-License-Identifier: MPL-2.0

package memnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/mimird/mimird/actors/overlay"
)

// Systems stands in for the Yggdrasil of operating systems: real sockets on loopback,
// which say that they have the addresses of nodes. The zero value has none yet.
type Systems struct {
	mu sync.Mutex
	// at is where the listener of an address really is, from which address a socket
	// really comes.
	at, from map[netip.AddrPort]netip.AddrPort
}

// System returns one that has these addresses, also later when they are changed.
func (s *Systems) System(addresses func() []netip.Addr) overlay.System {
	return &system{all: s, addresses: addresses}
}

type system struct {
	all       *Systems
	addresses func() []netip.Addr
}

func (s *system) Addresses() ([]netip.Addr, error) { return s.addresses(), nil }

// Dial implements overlay.System.
func (s *system) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (overlay.Socket, error) {
	s.all.mu.Lock()
	at, ok := s.all.at[to]
	s.all.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	var dialer net.Dialer
	// The other side accepts at once, maybe before we have said from where we come.
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	conn, err := dialer.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if s.all.from == nil {
		s.all.from = make(map[netip.AddrPort]netip.AddrPort)
	}
	s.all.from[local] = netip.AddrPortFrom(from, local.Port())
	return &socket{TCPConn: conn.(*net.TCPConn), local: s.all.from[local], remote: to}, nil
}

// Listen implements overlay.System.
func (s *system) Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.all.at == nil {
		s.all.at = make(map[netip.AddrPort]netip.AddrPort)
	}
	s.all.at[at] = l.Addr().(*net.TCPAddr).AddrPort()
	return &listener{Listener: l, all: s.all, at: at}, nil
}

// ListenPacket implements overlay.System: sockets on loopback, as they are.
func (s *system) ListenPacket(ctx context.Context, _ netip.AddrPort) (net.PacketConn, error) {
	var config net.ListenConfig
	return config.ListenPacket(ctx, "udp", "127.0.0.1:0")
}

type listener struct {
	net.Listener
	all *Systems
	at  netip.AddrPort
}

// Accept returns sockets with the addresses they stand for; one that nobody here has
// dialled keeps its own.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if from, ok := l.all.from[remote]; ok {
		delete(l.all.from, remote)
		remote = from
	}
	return &socket{TCPConn: conn.(*net.TCPConn), local: l.at, remote: remote}, nil
}

func (l *listener) Close() error {
	l.all.mu.Lock()
	delete(l.all.at, l.at)
	l.all.mu.Unlock()
	return l.Listener.Close()
}

type socket struct {
	*net.TCPConn
	local, remote netip.AddrPort
}

func (s *socket) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *socket) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }
