// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

// These tests use sockets on loopback in place of a system's Yggdrasil: no test has a
// TUN device.

// systemNode is a node whose carrier of gen1 goes over a system with the
// address of another node.
func systemNode(t *testing.T, n *memnet.Net, all *memnet.Systems, limits overlay.Limits) (overlay.AddressCarrier, *memnet.Node) {
	t.Helper()
	daemon, node := newNode(t, n, overlay.Limits{}), newNode(t, n, limits)
	address := overlay.AddressOf(daemon.Stack().Stream().Key())
	system := all.System(func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), address}
	})
	if err := node.Stack().EnableSystem(system); err != nil {
		t.Fatal(err)
	}
	c, ok := node.Stack().TCP()
	if !ok || c.Address() != address {
		t.Fatalf("the carrier runs: %v, with address %v", ok, c.Address())
	}
	return c, daemon
}

// dialSystem dials until the listener of the other side is up, which takes a moment.
func dialSystem(t *testing.T, c overlay.AddressCarrier, to netip.AddrPort) overlay.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		conn, err := c.DialAddress(ctx, to)
		if errors.Is(err, overlay.ErrRefused) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

func TestSystemTCPCarriesBytesBothWays(t *testing.T) {
	n, all := newNet(t, memnet.Options{}), &memnet.Systems{}
	a, daemonA := systemNode(t, n, all, overlay.Limits{})
	b, daemonB := systemNode(t, n, all, overlay.Limits{})
	l := mustListen(t, b)
	if _, err := b.Listen(l.Port()); !errors.Is(err, overlay.ErrPortTaken) {
		t.Errorf("a second listener: error %v", err)
	}
	dialled := dialSystem(t, a, netip.AddrPortFrom(b.Address(), l.Port()))
	accepted := mustAccept(t, l)
	// The keys are those of the nodes that have the addresses.
	if dialled.RemoteKey() != daemonB.Stack().Stream().Key() || accepted.RemoteKey() != daemonA.Stack().Stream().Key() {
		t.Error("wrong keys")
	}
	carryOver(t, dialled, accepted, 1<<20)
	carryOver(t, accepted, dialled, 1<<20)
	if err := dialled.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("error %v at the end", err)
	}
	if err := accepted.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("error %v after a reset", err)
	}
	if _, err := accepted.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v of a closed stream", err)
	}
	// By key the node is dialled that has the address.
	byKey, err := a.Dial(t.Context(), daemonB.Stack().Stream().Key(), l.Port())
	if err != nil {
		t.Fatal(err)
	}
	carryOver(t, byKey, mustAccept(t, l), 100)
}

func TestSystemTCPRefusesOtherAddresses(t *testing.T) {
	n, all := newNet(t, memnet.Options{}), &memnet.Systems{}
	a, _ := systemNode(t, n, all, overlay.Limits{})
	for _, to := range []string{"[::1]:5050", "127.0.0.1:5050", "[2001:db8::1]:5050", "[fe80::1%eth0]:5050", "[400::1]:5050", "[1ff::1]:5050", "[::ffff:2.0.0.1]:5050", "[200::1%2]:5050"} {
		if _, err := a.DialAddress(t.Context(), netip.MustParseAddrPort(to)); !errors.Is(err, overlay.ErrBadAddress) {
			t.Errorf("%s: error %v", to, err)
		}
	}
	for _, to := range []string{"[200::1]:5050", "[3ff::1]:5050"} { // in range, and nobody there
		if _, err := a.DialAddress(t.Context(), netip.MustParseAddrPort(to)); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("%s: error %v", to, err)
		}
	}
	if _, err := a.DialAddress(t.Context(), netip.AddrPortFrom(a.Address(), 5050)); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("itself: error %v", err)
	}
	p, err := a.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for _, to := range []net.Addr{&net.UDPAddr{IP: net.IPv6loopback, Port: 1}, &net.UDPAddr{IP: net.IPv4(2, 2, 2, 2), Port: 1}, &net.TCPAddr{}} {
		if _, err := p.WriteTo([]byte("x"), to); !errors.Is(err, overlay.ErrBadAddress) {
			t.Errorf("%v: error %v", to, err)
		}
	}
}

// A connection from an address that is not Yggdrasil's is reset, and so is one
// too many.
func TestSystemTCP_OtherSenders_Rejected(t *testing.T) {
	n, all := newNet(t, memnet.Options{}), &memnet.Systems{}
	a, _ := systemNode(t, n, all, overlay.Limits{})
	b, _ := systemNode(t, n, all, overlay.Limits{ConnectionsPerKey: 1})
	l := mustListen(t, b)
	to := netip.AddrPortFrom(b.Address(), l.Port())
	first := dialSystem(t, a, to)
	accepted := mustAccept(t, l)
	second := dialSystem(t, a, to)
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a stream beyond the limit is open")
	}
	outside := all.System(func() []netip.Addr { return nil })
	stranger, err := outside.Dial(t.Context(), netip.MustParseAddr("2001:db8::7"), to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("a stream from elsewhere is open")
	}
	carryOver(t, first, accepted, 100)
}

// While the system has no address the node works on, and says why this does not.
func TestSystemTCPWithoutAddress(t *testing.T) {
	n, all := newNet(t, memnet.Options{}), &memnet.Systems{}
	var have atomic.Bool
	node := newNode(t, n, overlay.Limits{})
	own := overlay.AddressOf(node.Stack().Stream().Key())
	err := node.Stack().EnableSystem(all.System(func() []netip.Addr {
		if !have.Load() {
			return nil
		}
		return []netip.Addr{own}
	}))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := node.Stack().TCP()
	if c.Address().IsValid() {
		t.Errorf("address %v", c.Address())
	}
	l, err := c.Listen(5050)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DialAddress(t.Context(), netip.MustParseAddrPort("[200::1]:5050")); !errors.Is(err, overlay.ErrNoSystem) {
		t.Errorf("dial: error %v", err)
	}
	if _, err := c.ListenPacket(5050); !errors.Is(err, overlay.ErrNoSystem) {
		t.Errorf("UDP: error %v", err)
	}
	have.Store(true)
	if c.Address() != own {
		t.Errorf("address %v, want %v", c.Address(), own)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, overlay.ErrClosed) {
		t.Errorf("accept of a closed listener: error %v", err)
	}
}
