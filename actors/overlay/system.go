// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// System is the Yggdrasil node of the operating system, as programs see it: an
// interface with an address in Yggdrasil's ranges, and sockets.
type System interface {
	// Addresses are those of all interfaces that are up, loopback excepted.
	Addresses() ([]netip.Addr, error)
	// Dial opens a TCP connection from an address.
	Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (Socket, error)
	// Listen takes TCP connections that are Sockets.
	Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error)
	ListenPacket(ctx context.Context, at netip.AddrPort) (net.PacketConn, error)
}

// Socket is a TCP connection of the operating system, as *net.TCPConn.
type Socket interface {
	net.Conn
	CloseWrite() error
	// SetLinger(0) makes Close a reset.
	SetLinger(seconds int) error
}

// ErrNoSystem says that the operating system has no address in Yggdrasil's ranges.
var ErrNoSystem = errors.New("the system has no Yggdrasil address: is its Yggdrasil running?")

// addressOn returns the first address of a system in Yggdrasil's ranges, as the apps
// of gen1 look for it.
func addressOn(s System) (netip.Addr, error) {
	all, err := s.Addresses()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the system's addresses: %w", err)
	}
	for _, a := range all {
		if IsYggdrasil(a) {
			return a, nil
		}
	}
	return netip.Addr{}, ErrNoSystem
}

// operatingSystem is the one that the program runs on.
type operatingSystem struct{}

func (operatingSystem) Addresses() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, prefix.Addr())
			}
		}
	}
	return all, nil
}

func (operatingSystem) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (Socket, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := dialer.DialContext(ctx, "tcp6", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (operatingSystem) Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp6", at.String())
}

func (operatingSystem) ListenPacket(ctx context.Context, at netip.AddrPort) (net.PacketConn, error) {
	var config net.ListenConfig
	return config.ListenPacket(ctx, "udp6", at.String())
}
