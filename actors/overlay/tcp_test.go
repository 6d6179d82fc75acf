// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// tcpNode is a node with the carrier of gen1.
func tcpNode(t testing.TB, n *memnet.Net, limits overlay.Limits) (*memnet.Node, overlay.AddressCarrier) {
	t.Helper()
	node := newNode(t, n, limits)
	if err := node.Stack().Enable(overlay.KindTCP); err != nil {
		t.Fatal(err)
	}
	c, ok := node.Stack().TCP()
	if !ok {
		t.Fatal("the carrier does not run")
	}
	return node, c
}

func TestTCPCarriesBytesBothWays(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	dialled, accepted := mustPair(t, a, b)
	if dialled.RemoteKey() != b.Key() || accepted.RemoteKey() != a.Key() {
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
	carryOver(t, accepted, dialled, 1000) // the other direction goes on
	if err := accepted.Close(); err != nil {
		t.Error(err)
	}
	if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("error %v at the end", err)
	}
	if _, err := accepted.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v of a closed stream", err)
	}
}

func TestTCPSurvivesLoss(t *testing.T) {
	n := newNet(t, memnet.Options{Seed: 5, Link: memnet.Link{Delay: time.Millisecond, Loss: 0.01}})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	dialled, accepted := mustPair(t, a, b)
	carryOver(t, dialled, accepted, 256<<10)
}

func TestTCPDialsAddresses(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	l, err := b.Listen(5050)
	if err != nil {
		t.Fatal(err)
	}
	if !overlay.IsYggdrasil(b.Address()) || b.Address() != overlay.AddressOf(b.Key()) {
		t.Fatalf("address %v", b.Address())
	}
	// Only the address is known, and the network has to be asked for the key.
	conn, err := a.DialAddress(t.Context(), netip.AddrPortFrom(b.Address(), 5050))
	if err != nil {
		t.Fatal(err)
	}
	if conn.RemoteKey() != b.Key() {
		t.Error("another node")
	}
	carryOver(t, conn, mustAccept(t, l), 100)
}

func TestTCPRefusesOtherAddresses(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	for _, to := range []string{"[::1]:5050", "127.0.0.1:5050", "[2001:db8::1]:5050", "[fe80::1%eth0]:5050", "[400::1]:5050", "[::ffff:2.0.0.1]:5050", "[200::1%2]:5050"} {
		if _, err := a.DialAddress(t.Context(), netip.MustParseAddrPort(to)); !errors.Is(err, overlay.ErrBadAddress) {
			t.Errorf("%s: error %v", to, err)
		}
	}
	p, err := a.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []net.Addr{&net.UDPAddr{IP: net.IPv6loopback, Port: 1}, &net.UDPAddr{IP: net.IPv4(2, 2, 2, 2), Port: 1}, &net.TCPAddr{}} {
		if _, err := p.WriteTo([]byte("x"), to); !errors.Is(err, overlay.ErrBadAddress) {
			t.Errorf("%v: error %v", to, err)
		}
	}
}

func TestTCP_DialErrors(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	if _, err := a.Dial(t.Context(), b.Key(), 5050); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("nobody listens: error %v", err)
	}
	if _, err := a.Dial(t.Context(), a.Key(), 5050); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("ourselves: error %v", err)
	}
	if _, err := a.Dial(t.Context(), b.Key(), 0); !errors.Is(err, overlay.ErrBadPort) {
		t.Errorf("no port: error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(ctx, identity.NodeKey{1}, 5050); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: error %v", err)
	}
	if _, err := a.DialAddress(ctx, netip.MustParseAddrPort("[201::1]:5050")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no such address: error %v", err)
	}
}

func TestTCPAbortResets(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	dialled, accepted := mustPair(t, a, b)
	abortResets(t, dialled, accepted)
}

func TestTCPKeepsDeadlines(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	dialled, accepted := mustPair(t, a, b)
	keepsDeadlines(t, dialled, accepted)
}

func TestTCPHoldsItsLimits(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{ConnectionsPerKey: 2})
	l := mustListen(t, b)
	var dialled []overlay.Conn
	for range 2 {
		dialled = append(dialled, mustDial(t, a, b))
		mustAccept(t, l)
	}
	third := mustDial(t, a, b)
	accepted := make(chan overlay.Conn, 1)
	go func() {
		if c, err := l.Accept(t.Context()); err == nil {
			accepted <- c
		}
	}()
	if err := third.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("one too many: error %v", err)
	}
	// A place that is given back can be used again.
	if err := dialled[0].Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Listen(port); !errors.Is(err, overlay.ErrPortTaken) {
		t.Errorf("listen twice: error %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, overlay.ErrClosed) {
		t.Errorf("accept of a closed listener: error %v", err)
	}
}

func TestTCPCloseEndsEverything(t *testing.T) {
	n := newNet(t, memnet.Options{})
	an, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	_, accepted := mustPair(t, a, b)
	l := mustListen(t, a)
	p, err := a.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 3)
	go func() {
		_, err := l.Accept(t.Context())
		ended <- err
	}()
	go func() {
		_, _, err := p.ReadFrom(make([]byte, 1))
		ended <- err
	}()
	go func() {
		_, err := a.Dial(t.Context(), identity.NodeKey{1}, port)
		ended <- err
	}()
	if err := an.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, overlay.ErrClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
	if err := accepted.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("the other side: error %v", err)
	}
	if err := an.Stack().Enable(overlay.KindTCP); !errors.Is(err, overlay.ErrClosed) {
		t.Errorf("enable after close: error %v", err)
	}
}

func TestUDPAsksAndAnswers(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := tcpNode(t, n, overlay.Limits{})
	_, b := tcpNode(t, n, overlay.Limits{})
	client, err := a.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	server, err := b.ListenPacket(5050)
	if err != nil {
		t.Fatal(err)
	}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Address(), 5050))
	question, buf := []byte("who"), make([]byte, 100)
	// The first ones are lost: the receiver must be found first.
	for asked := 0; ; asked++ {
		if asked == 2000 {
			t.Fatal("no question arrives")
		}
		if _, err := client.WriteTo(question, to); err != nil {
			t.Fatal(err)
		}
		if err := server.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		k, from, err := server.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil || !bytes.Equal(buf[:k], question) {
			t.Fatalf("%q, error %v", buf[:k], err)
		}
		if _, err := server.WriteTo([]byte("me"), from); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := client.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	k, from, err := client.ReadFrom(buf)
	if err != nil || string(buf[:k]) != "me" || from.String() != to.String() {
		t.Errorf("%q from %v, error %v", buf[:k], from, err)
	}
}

// Packets with a forged address, or that are neither TCP nor UDP, never reach the
// network stack, and malformed ones do no harm.
func TestTCPIgnoresForeignPackets(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, b := tcpNode(t, n, overlay.Limits{StrangerPackets: 10000})
	hostile := n.NewEndpoint()
	defer func() { _ = hostile.Close() }()
	answers := make(chan int, 100)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			k, _, err := hostile.ReadPacket(buf)
			if err != nil {
				close(answers)
				return
			}
			answers <- k
		}
	}()
	syn := func(source, destination netip.Addr, protocol byte) []byte {
		p := make([]byte, 1+40+20)
		p[0], p[1], p[6], p[7], p[8] = 0x01, 0x60, 20, protocol, 64
		from, to := source.As16(), destination.As16()
		p[5], p[6] = 0, 20
		copy(p[9:], from[:])
		copy(p[25:], to[:])
		tcp := p[41:]
		copy(tcp, []byte{0xc0, 0, 0x13, 0xba, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff})
		sum := uint32(20) + uint32(protocol)
		for _, part := range [][]byte{from[:], to[:], tcp} {
			for i := 0; i < len(part); i += 2 {
				sum += uint32(part[i])<<8 | uint32(part[i+1])
			}
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		tcp[16], tcp[17] = byte(^sum>>8), byte(^sum)
		return p
	}
	own := overlay.AddressOf(hostile.Key())
	send := func(p []byte) {
		if err := hostile.WritePacket(p, b.Key()); err != nil {
			t.Fatal(err)
		}
	}
	stranger := overlay.AddressOf(identity.NodeKey{9})
	send(syn(stranger, b.Address(), 6))
	send(syn(own, stranger, 6))
	send(syn(own, b.Address(), 58))
	send(syn(own, b.Address(), 17))
	send(syn(own, b.Address(), 0))
	for i := range 61 {
		send(syn(own, b.Address(), 6)[:i])
	}
	send([]byte{0x01, 0x60})
	select {
	case k := <-answers:
		t.Errorf("an answer of %d bytes", k)
	default:
	}
	// The same as it should be is refused by the stack, as nobody listens.
	send(syn(own, b.Address(), 6))
	select {
	case <-answers:
	case <-time.After(patience):
		t.Error("no answer to a proper packet")
	}
}
