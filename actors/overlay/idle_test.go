// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

// The contract of net.Conn, over real Yggdrasil nodes; memnet has its own.
func TestNetworkConn(t *testing.T) {
	nodes := openChain(t, 2, overlay.Limits{ConnectionsPerKey: 100})
	l := mustListen(t, nodes[1].Stream())
	first := dialSettled(t, nodes[0], nodes[1].Key())
	_ = first.Close()            // never fails
	_ = mustAccept(t, l).Close() // never fails
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		dialled, err := nodes[0].Stream().Dial(t.Context(), nodes[1].Key(), 42)
		if err != nil {
			return nil, nil, func() {}, err
		}
		accepted, err := l.Accept(context.Background())
		stop = func() {
			_ = dialled.Abort()  // never fails
			_ = accepted.Abort() // never fails
		}
		return dialled, accepted, stop, err
	})
}

// A stream that rests has no goroutine and at most 4 KiB.
func TestRestingStreamsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 1000
		n := newNet(t, memnet.Options{Link: memnet.Link{Delay: time.Millisecond}})
		a := newNode(t, n, overlay.Limits{})
		b := newNode(t, n, overlay.Limits{ConnectionsPerKey: streams + 1})
		l := mustListen(t, b)
		message := pattern(50_000)
		use := func() (c, d overlay.Conn) {
			c = mustDial(t, a, b)
			d = mustAccept(t, l)
			for _, conns := range [][2]overlay.Conn{{c, d}, {d, c}} {
				mustWrite(t, conns[0], message)
				if err := readExactly(conns[1], string(message)); err != nil {
					t.Fatal(err)
				}
			}
			return c, d
		}
		use()
		var conns []overlay.Conn
		goroutines, before := runtime.NumGoroutine(), heap()
		for range streams {
			c, d := use()
			conns = append(conns, c, d)
		}
		virtual.Sleep(time.Minute)
		if more := runtime.NumGoroutine() - goroutines; more > 0 {
			t.Errorf("%d more goroutines", more)
		}
		if each := (int64(heap()) - int64(before)) / (2 * streams); each > 4<<10 {
			t.Errorf("%d bytes each, want at most 4096", each)
		} else {
			t.Logf("%d bytes each", each)
		}
		runtime.KeepAlive(conns)
	})
}

// heap is what is in use after a collection.
func heap() uint64 {
	var stats runtime.MemStats
	// Twice, because pools keep their content over one collection.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Bar S14: one node that asks for 10,000 streams has 8 at most; a thousand nodes
// that ask for ten each have what the listener's user lets them have; none of
// it costs much, and a friend gets through.
func TestStreamFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{})
		l := mustListen(t, node)
		friends := make(chan overlay.Conn, 1)
		friend := newNode(t, n, overlay.Limits{})
		go func() {
			// As a user does who gives nobody much time to prove who they are.
			var waiting []overlay.Conn
			for {
				c, err := l.Accept(t.Context())
				if err != nil {
					return
				}
				if c.RemoteKey() == friend.Key() {
					friends <- c
				}
				if waiting = append(waiting, c); len(waiting) > 256 {
					_ = waiting[0].Abort() // never fails
					waiting = waiting[1:]
				}
			}
		}()
		before := heap()
		most := 0
		open := func(e *memnet.Endpoint, port uint16) {
			h := &handPeer{t: t, endpoint: e, node: node, ours: port, theirs: 42}
			h.sendSYN()
			synctest.Wait()
			h.sendACK(0)
			synctest.Wait()
			most = max(most, node.Stack().Streams())
		}
		one := n.NewEndpoint()
		for i := range 10_000 {
			open(one, uint16(49152+i))
			virtual.Sleep(100 * time.Millisecond) // within its allowance
		}
		if most > 8 {
			t.Errorf("one node had %d streams", most)
		}
		for range 1000 {
			e := n.NewEndpoint()
			for i := range 10 {
				open(e, uint16(49152+i))
			}
		}
		if most > 300 {
			t.Errorf("all had %d streams", most)
		}
		if grown := int64(heap()) - int64(before); grown > 64<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		start := time.Now()
		mustDial(t, friend, node)
		<-friends
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("a friend got through after %v", took)
		}
	})
}
