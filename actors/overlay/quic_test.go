// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// quicNode is a node with the carrier of gen2.
func quicNode(t testing.TB, n *memnet.Net, limits overlay.Limits) (*memnet.Node, overlay.Carrier) {
	t.Helper()
	node := newNode(t, n, limits)
	if err := node.Stack().Enable(overlay.KindQUIC); err != nil {
		t.Fatal(err)
	}
	c, ok := node.Stack().CarrierOf(overlay.KindQUIC)
	if !ok {
		t.Fatal("the carrier does not run")
	}
	return node, c
}

// quicPair connects two nodes. A stream shows only when something was written.
func quicPair(t testing.TB, a, b overlay.Carrier) (dialled, accepted overlay.Conn) {
	t.Helper()
	return quicOpen(t, a, b, mustListen(t, b))
}

func quicOpen(t testing.TB, a, b overlay.Carrier, l overlay.Listener) (dialled, accepted overlay.Conn) {
	t.Helper()
	dialled = mustDial(t, a, b)
	if _, err := dialled.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	accepted = mustAccept(t, l)
	if _, err := io.ReadFull(accepted, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

func TestQUICCarriesBytesBothWays(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	dialled, accepted := quicPair(t, a, b)
	if dialled.RemoteKey() != b.Key() || accepted.RemoteKey() != a.Key() || dialled.RemoteAddr().String() != b.Key().String() {
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

func TestQUICSurvivesLoss(t *testing.T) {
	n := newNet(t, memnet.Options{Seed: 5, Link: memnet.Link{Delay: time.Millisecond, Loss: 0.01}})
	_, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	dialled, accepted := quicPair(t, a, b)
	carryOver(t, dialled, accepted, 256<<10)
}

// Both sides open streams on the one connection, dialled by either.
func TestQUICUsesOneConnectionForBothDirections(t *testing.T) {
	n := newNet(t, memnet.Options{})
	an, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	la := mustListen(t, a)
	quicPair(t, a, b)
	var handshakes sync.Map
	n.Watch(func(p memnet.Packet) {
		if len(p.Payload) > 1 && p.Payload[1]&0xc0 == 0xc0 {
			handshakes.Store(p.From, true)
		}
	})
	back, accepted := quicOpen(t, b, a, la)
	carryOver(t, back, accepted, 1000)
	handshakes.Range(func(any, any) bool {
		t.Error("a second connection was opened")
		return false
	})
	if an.Stack().Dropped() > 0 {
		t.Error("packets were refused")
	}
}

// A side that closes ends its own direction only in the apps; here both end, so that
// streams do not pile up to the hundred that may be open.
func TestQUICStreamsDoNotPileUp(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	l := mustListen(t, b)
	for range 150 {
		dialled, accepted := quicOpen(t, a, b, l)
		if err := accepted.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("error %v", err)
		}
		if err := dialled.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Both dial at once: whatever becomes of the dials, both get a stream.
func TestQUICCrossingDials(t *testing.T) {
	n := newNet(t, memnet.Options{Seed: 3, Link: memnet.Link{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}})
	for range 5 {
		_, a := quicNode(t, n, overlay.Limits{})
		_, b := quicNode(t, n, overlay.Limits{})
		la, lb := mustListen(t, a), mustListen(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ends := make(chan overlay.Conn, 4)
		for _, side := range []struct {
			from, to overlay.Carrier
			listener overlay.Listener
		}{{a, b, la}, {b, a, lb}} {
			go func() {
				c, err := side.from.Dial(ctx, side.to.Key(), port)
				if err == nil {
					_, err = c.Write([]byte("hello"))
				}
				if err != nil {
					t.Errorf("dial: %v", err)
				}
				ends <- c
			}()
			go func() {
				c, err := side.listener.Accept(ctx)
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 5))
				}
				if err != nil {
					t.Errorf("accept: %v", err)
				}
				ends <- c
			}()
		}
		for range cap(ends) {
			<-ends
		}
		cancel()
	}
}

// A node that has lost its connections dials anew, and streams go over the new one.
func TestQUICNewerConnectionReplacesTheOlder(t *testing.T) {
	n := newNet(t, memnet.Options{})
	an, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	l := mustListen(t, b)
	_, old := quicOpen(t, a, b, l)
	key := an.Key()
	an.Endpoint.Fail(overlay.ErrClosed) // as a process that was killed
	if err := an.Close(); err != nil {
		t.Fatal(err)
	}
	for generation := range 3 {
		again := n.NodeAt(key, overlay.Limits{})
		t.Cleanup(func() { _ = again.Close() })
		if err := again.Stack().Enable(overlay.KindQUIC); err != nil {
			t.Fatal(err)
		}
		c, _ := again.Stack().CarrierOf(overlay.KindQUIC)
		dialled, accepted := quicOpen(t, c, b, l)
		carryOver(t, dialled, accepted, 100)
		la := mustListen(t, c)
		back, taken := quicOpen(t, b, c, la)
		carryOver(t, back, taken, 100)
		if generation < 2 {
			again.Endpoint.Fail(overlay.ErrClosed)
		}
	}
	// Two connections per node are kept; the first one has been ended.
	if err := old.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("the first stream: error %v", err)
	}
}

func TestQUICAbortResets(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	dialled, accepted := quicPair(t, a, b)
	abortResets(t, dialled, accepted)
}

func TestQUICKeepsDeadlines(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	dialled, accepted := quicPair(t, a, b)
	keepsDeadlines(t, dialled, accepted)
}

func TestQUIC_DialErrors(t *testing.T) {
	n := newNet(t, memnet.Options{})
	_, a := quicNode(t, n, overlay.Limits{Connections: 2}) // a connection and its stream
	_, b := quicNode(t, n, overlay.Limits{})
	_, c := quicNode(t, n, overlay.Limits{})
	if _, err := a.Dial(t.Context(), a.Key(), port); !errors.Is(err, overlay.ErrRefused) {
		t.Errorf("ourselves: error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Dial(ctx, identity.NodeKey{1}, port); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: error %v", err)
	}
	mustDial(t, a, b)
	if _, err := a.Dial(t.Context(), c.Key(), port); !errors.Is(err, overlay.ErrTooMany) {
		t.Errorf("one too many: error %v", err)
	}
	mustListen(t, a)
	if _, err := a.Listen(port + 1); !errors.Is(err, overlay.ErrPortTaken) {
		t.Errorf("listen twice: error %v", err)
	}
	if _, err := a.ListenDatagrams(port); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("datagrams: error %v", err)
	}
}

func TestQUICCloseEndsEverything(t *testing.T) {
	n := newNet(t, memnet.Options{})
	an, a := quicNode(t, n, overlay.Limits{})
	_, b := quicNode(t, n, overlay.Limits{})
	_, accepted := quicPair(t, a, b)
	l := mustListen(t, a)
	ended := make(chan error, 2)
	go func() {
		_, err := l.Accept(t.Context())
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
		if err := <-ended; !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
	if err := accepted.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("the other side: error %v", err)
	}
}

// While QUIC runs, its reader reads for every carrier, and is the one who sees the
// layer fail. A reader that never gets a packet ends as well.
func TestQUICReadsForAllCarriers(t *testing.T) {
	n := newNet(t, memnet.Options{})
	an, a := quicNode(t, n, overlay.Limits{})
	bn, b := quicNode(t, n, overlay.Limits{})
	alone, _ := quicNode(t, n, overlay.Limits{})
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	dialled, _ := quicPair(t, a, b)
	near, far := mustPair(t, an, bn)
	carryOver(t, near, far, 64<<10)
	broken := errors.New("broken")
	an.Endpoint.Fail(broken)
	select {
	case <-an.Stack().Failed():
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
	if err := an.Stack().Err(); !errors.Is(err, broken) {
		t.Errorf("got %v, want the cause", err)
	}
	if err := dialled.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := dialled.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
}

// Over real nodes, one of which only relays, all three carriers at once.
func TestCarriersOverYggdrasil(t *testing.T) {
	nodes := openChain(t, 3, overlay.Limits{})
	from, to := nodes[0], nodes[2]
	for _, kind := range overlay.Kinds() {
		for _, node := range []*overlay.Network{from, to} {
			if err := node.Enable(kind); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := from.Enable("carrier pigeon"); err == nil {
		t.Error("a carrier that does not exist")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var running sync.WaitGroup
	for _, kind := range overlay.Kinds() {
		a, _ := from.CarrierOf(kind)
		b, _ := to.CarrierOf(kind)
		l := mustListen(t, b)
		running.Go(func() {
			dialled, err := a.Dial(ctx, to.Key(), port)
			for ; err != nil && ctx.Err() == nil; dialled, err = a.Dial(ctx, to.Key(), port) {
				t.Logf("%s: %v", kind, err)
			}
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				return
			}
			go func() { _, _ = dialled.Write(make([]byte, 4<<20)) }() // the reader notices
			accepted, err := l.Accept(ctx)
			if err == nil {
				_, err = io.ReadFull(accepted, make([]byte, 4<<20))
			}
			if err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		})
	}
	running.Wait()
	tcp, _ := to.TCP()
	back, _ := from.TCP()
	l, err := back.Listen(5050)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := tcp.DialAddress(ctx, netip.AddrPortFrom(back.Address(), 5050))
	if err != nil || conn.RemoteKey() != from.Key() {
		t.Errorf("dial an address: %v", err)
	}
}
