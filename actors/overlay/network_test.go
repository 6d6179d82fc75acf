// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// Tests over real Yggdrasil nodes, linked over loopback.

func newKey(t testing.TB) identity.NodePrivateKey {
	t.Helper()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// openNetwork opens a node that ends with the test. opts needs no key.
func openNetwork(t testing.TB, opts overlay.Options) *overlay.Network {
	t.Helper()
	if opts.Key.IsZero() {
		opts.Key = newKey(t)
	}
	n, err := overlay.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close network: %v", err)
		}
	})
	return n
}

// openChain opens nodes, each linked to the one before.
func openChain(t testing.TB, length int, limits overlay.Limits) []*overlay.Network {
	t.Helper()
	nodes := make([]*overlay.Network, 0, length)
	for i := range length {
		opts := overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}, Limits: limits}
		if i > 0 {
			opts.Peers = nodes[i-1].ListenAddrs()
		}
		nodes = append(nodes, openNetwork(t, opts))
	}
	return nodes
}

// dialSettled dials until the network has settled.
func dialSettled(t testing.TB, from *overlay.Network, to identity.NodeKey) overlay.Conn {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := from.Stream().Dial(t.Context(), to, 42)
		if err == nil {
			return c
		}
		if !errors.Is(err, overlay.ErrTimeout) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// waitFor waits for a condition.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// pour writes n bytes and returns their hash.
func pour(c overlay.Conn, n int) ([32]byte, error) {
	hash := sha256.New()
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	for left := n; left > 0; {
		piece := buf[:min(left, len(buf))]
		piece[0] = byte(left)
		hash.Write(piece)
		if _, err := c.Write(piece); err != nil {
			return [32]byte{}, fmt.Errorf("with %d bytes left: %w", left, err)
		}
		left -= len(piece)
	}
	return [32]byte(hash.Sum(nil)), c.CloseWrite()
}

// swallow reads to the end and returns the hash of n bytes.
func swallow(c overlay.Conn, n int) ([32]byte, error) {
	hash := sha256.New()
	got, err := io.Copy(hash, struct{ io.Reader }{c})
	if err == nil && got != int64(n) {
		err = fmt.Errorf("%d bytes came, want %d", got, n)
	}
	return [32]byte(hash.Sum(nil)), err
}

// exchange sends n bytes both ways at once and compares hashes.
func exchange(t testing.TB, c, d overlay.Conn, n int) {
	t.Helper()
	var sent, received [2][32]byte
	var errs [4]error
	var all sync.WaitGroup
	for i, conn := range []overlay.Conn{c, d} {
		all.Go(func() { sent[i], errs[i] = pour(conn, n) })
		all.Go(func() { received[1-i], errs[2+i] = swallow(conn, n) })
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if sent != received {
		t.Error("other bytes came than were sent")
	}
}

func TestNetworkTransfers(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	for length := 2; length <= 3; length++ {
		t.Run(fmt.Sprintf("chain of %d", length), func(t *testing.T) {
			nodes := openChain(t, length, overlay.Limits{})
			last := nodes[length-1]
			l := mustListen(t, last.Stream())
			c := dialSettled(t, nodes[0], last.Key())
			d := mustAccept(t, l)
			if d.RemoteKey() != nodes[0].Key() {
				t.Errorf("remote key is %v", d.RemoteKey())
			}
			exchange(t, c, d, size)
		})
	}
}

func TestNetworkManyStreams(t *testing.T) {
	nodes := openChain(t, 2, overlay.Limits{ConnectionsPerKey: 1000})
	l := mustListen(t, nodes[1].Stream())
	first := dialSettled(t, nodes[0], nodes[1].Key())
	mustAccept(t, l)
	const streams = 200
	var all sync.WaitGroup
	var failed atomic.Int32
	for range streams {
		d := make(chan overlay.Conn, 1)
		all.Go(func() {
			c, err := nodes[0].Stream().Dial(t.Context(), nodes[1].Key(), 42)
			if err == nil {
				_, err = c.Write([]byte("hello"))
			}
			if err == nil {
				err = readExactly(c, "hello")
			}
			if err != nil {
				failed.Add(1)
				t.Error(err)
			}
		})
		all.Go(func() {
			c, err := l.Accept(t.Context())
			if err == nil {
				_, err = io.CopyN(c, c, 5)
			}
			if err != nil {
				t.Error(err)
			}
			d <- c
		})
	}
	all.Wait()
	if n := nodes[1].Status().Streams; n != streams+1 {
		t.Errorf("%d streams, want %d", n, streams+1)
	}
	mustWrite(t, first, []byte("still here"))
}

// proxy is a link between two Yggdrasil nodes that can be cut.
type proxy struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: make(map[net.Conn]bool)}
	p.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.done.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.setCut(true)
		p.done.Wait()
	})
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	d, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer d.Close()
	if !p.keep(c, d) {
		return
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{c, d}, {d, c}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		})
	}
	both.Wait()
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.cut
}

func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func linked(n *overlay.Network) bool { return n.Links() > 0 }

// Bar R09
func TestNetworkLinkFlaps(t *testing.T) {
	a := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}})
	p := newProxy(t, a.ListenAddrs()[0][len("tcp://"):])
	b := openNetwork(t, overlay.Options{Peers: []string{"tcp://" + p.listener.Addr().String()}})
	l := mustListen(t, b.Stream())
	c := dialSettled(t, a, b.Key())
	d := mustAccept(t, l)
	stop := make(chan struct{})
	var flapping sync.WaitGroup
	flapping.Go(func() {
		for range 4 {
			p.setCut(true)
			waitFor(t, "the link to go down", func() bool { return !linked(b) })
			p.setCut(false)
			b.RetryPeersNow()
			waitFor(t, "the link to come up", func() bool { return linked(b) })
			select {
			case <-time.After(300 * time.Millisecond): // let some bytes through
			case <-stop:
				return
			}
		}
	})
	exchange(t, c, d, 16<<20)
	close(stop)
	flapping.Wait()
}

// floodLayer gives access to the packets below the carriers.
type floodLayer struct {
	overlay.PacketLayer
	read atomic.Int64
}

func (l *floodLayer) ReadPacket(buf []byte) (int, identity.NodeKey, error) {
	n, from, err := l.PacketLayer.ReadPacket(buf)
	l.read.Add(1)
	return n, from, err
}

// A Yggdrasil node whose reader ever waits for its writer stops for ever after
// a few hundred packets of an ordinary flood. Ours answers this one, floods
// back, and serves another node all the while.
func TestNetworkSurvivesFloodWhileWriting(t *testing.T) {
	var layers [3]*floodLayer
	var nodes [3]*overlay.Network // victim, friend, flooder
	for i := range nodes {
		opts := overlay.Options{LayerForTest: func(l overlay.PacketLayer) overlay.PacketLayer {
			layers[i] = &floodLayer{PacketLayer: l}
			return layers[i]
		}}
		if i == 0 {
			opts.Listen = []string{"tcp://127.0.0.1:0"}
			opts.Limits = overlay.Limits{StrangerPackets: 1 << 20}
		} else {
			opts.Peers = nodes[0].ListenAddrs()
		}
		nodes[i] = openNetwork(t, opts)
	}
	l := mustListen(t, nodes[0].Stream())
	c := dialSettled(t, nodes[1], nodes[0].Key())
	d := mustAccept(t, l)
	_ = dialSettled(t, nodes[2], nodes[0].Key()).Abort() // never fails

	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for _, direction := range [][2]int{{2, 0}, {2, 0}, {0, 2}, {0, 2}} {
		layer, to := layers[direction[0]], nodes[direction[1]].Key()
		flood.Go(func() {
			// Data for streams that do not exist: it asks for RSTs.
			packet := make([]byte, 1200)
			packet[0], packet[3], packet[12] = 0xc0, 43, flagACK
			for n := 0; ctx.Err() == nil; n++ {
				packet[1] = byte(n)
				if layer.WritePacket(packet, to) != nil {
					return
				}
			}
		})
	}
	more := func(i int) {
		t.Helper()
		seen := layers[i].read.Load()
		waitFor(t, "more of the flood", func() bool { return layers[i].read.Load() > seen+500 })
	}
	more(0)
	more(2)
	exchange(t, c, d, 64<<10)
	more(0)
	more(2)
	stop()
	flood.Wait()
	for i, n := range nodes {
		if err := n.Err(); err != nil || !linked(n) {
			t.Errorf("node %d: link %v, error %v", i, linked(n), err)
		}
	}
}
