// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
	"github.com/mimird/mimird/test/virtual"
)

func TestRing(t *testing.T) {
	var r ring[int]
	next, want := 0, 0
	for round := range 100 {
		for range round % 7 {
			r.push(next)
			next++
		}
		for range round % 5 {
			if r.len() > 0 {
				if got := r.pop(); got != want {
					t.Fatalf("got %d, want %d", got, want)
				}
				want++
			}
		}
		if r.len() != next-want {
			t.Fatalf("length %d, want %d", r.len(), next-want)
		}
		if r.len() > 0 && (*r.front() != want || *r.back() != next-1) {
			t.Fatalf("from %d to %d, want %d to %d", *r.front(), *r.back(), want, next-1)
		}
	}
	for r.len() > 0 {
		r.pop()
	}
	r.trim()
	if r.items != nil {
		t.Errorf("%d items are kept", len(r.items))
	}
}

func TestBuffersComeBackWhole(t *testing.T) {
	for _, n := range []int{0, 1, smallBuffer, smallBuffer + 1, segmentBuffer, segmentBuffer + 1, packetBuffer} {
		b := getBuffer(n)
		if len(b) != n {
			t.Errorf("length %d, want %d", len(b), n)
		}
		putBuffer(b[:0])
		if again := getBuffer(n); len(again) != n {
			t.Errorf("length %d, want %d", len(again), n)
		}
	}
}

// Every port once per destination, then again in the same order; other
// destinations do not matter, and taken ports are passed over.
func TestPortChooser(t *testing.T) {
	p := newPortChooser(ephemeralPorts - 3)
	free := func(uint16) bool { return false }
	node := identity.NodeKey{1}
	seen := make(map[uint16]bool)
	first, _ := p.choose(node, 42, free)
	seen[first] = true
	for range ephemeralPorts - 1 {
		port, ok := p.choose(node, 42, free)
		if !ok || port < stream.MinEphemeralPort || seen[port] {
			t.Fatalf("port %d, %v", port, ok)
		}
		seen[port] = true
		if _, ok := p.choose(identity.NodeKey{2}, 42, free); !ok {
			t.Fatal("no port")
		}
	}
	if port, _ := p.choose(node, 42, func(port uint16) bool { return port == first }); port == first || !seen[port] {
		t.Errorf("port %d after all others", port)
	}
	if _, ok := p.choose(node, 42, func(uint16) bool { return true }); ok {
		t.Error("a port although all are taken")
	}
}

func TestPortChooserForgets(t *testing.T) {
	p := newPortChooser(0)
	free := func(uint16) bool { return false }
	for i := range 2 * maxDestinations {
		p.choose(identity.NodeKey{byte(i), byte(i >> 8)}, 42, free)
	}
	if p.next.Len() != maxDestinations {
		t.Errorf("%d destinations are remembered", p.next.Len())
	}
}

func TestPeerTableForgetsStrangers(t *testing.T) {
	table := newPeerTable(time.Now(), Limits{}.withDefaults())
	friend := identity.NodeKey{0xff, 0xff, 1}
	pinned := table.pin(friend)
	for i := range 2 * maxStrangers {
		table.admit(identity.NodeKey{byte(i), byte(i >> 8)})
	}
	if len(table.pinned) != 1 || table.strangers.Len() != maxStrangers {
		t.Errorf("%d peers, %d strangers are remembered", len(table.pinned), table.strangers.Len())
	}
	if table.pinned[friend] != pinned {
		t.Error("a peer with streams was forgotten")
	}
	table.unpin(pinned)
	table.admit(identity.NodeKey{0xee, 0xee, 1})
	if len(table.pinned)+table.strangers.Len() > maxStrangers+1 {
		t.Errorf("%d peers are remembered", len(table.pinned)+table.strangers.Len())
	}
}

func TestSchedulerRunsOncePerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(3)
		var mu sync.Mutex
		running, most, runs := 0, 0, 0
		block := make(chan struct{})
		var tk task
		tk.run = func() {
			mu.Lock()
			running++
			most = max(most, running)
			runs++
			mu.Unlock()
			<-block
			mu.Lock()
			running--
			mu.Unlock()
		}
		for range 10 {
			s.schedule(&tk)
		}
		synctest.Wait()
		for range 10 {
			s.schedule(&tk) // while it runs: once more
		}
		close(block)
		synctest.Wait()
		if runs != 2 || most != 1 {
			t.Errorf("ran %d times, %d at once; want 2 and 1", runs, most)
		}
		s.stop()
		s.schedule(&tk)
		synctest.Wait()
		if runs != 2 {
			t.Error("ran after stop")
		}
	})
}

// Streams that wait for the first queue send one segment each, in order; who
// has just sent waits behind them.
func TestBurstServesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &burst{start: time.Now()}
		defer b.stop()
		var woken []int
		turns := make([]turn, 4)
		for i := range turns {
			turns[i].wake = func() { woken = append(woken, i) }
		}
		take := func(i int) bool { return b.take(&turns[i], stream.SegmentSize) }
		for range burstLimit / stream.SegmentSize {
			if !take(0) {
				t.Fatal("refused before the limit")
			}
		}
		for range 2 {
			for i := range turns {
				if take(i) {
					t.Fatalf("stream %d sends beyond the limit", i)
				}
			}
		}
		if !b.take(&turns[3], 100) || b.take(&turns[3], smallPacket+1) {
			t.Error("only a small packet passes beyond the limit")
		}
		for _, want := range []int{0, 1, 2, 3, 0, 1} {
			b.give(stream.SegmentSize + 100)
			if len(woken) != 1 || woken[0] != want {
				t.Fatalf("woke %v, want %d", woken, want)
			}
			woken = nil
			if take((want + 1) % 4) {
				t.Fatal("a stream sends out of turn")
			}
			if !take(want) || take(want) {
				t.Fatalf("stream %d must send one segment", want)
			}
		}
	})
}

// Room comes back also when nothing is acknowledged, at any pace and after any
// pause.
func TestBurstDrains(t *testing.T) {
	for _, pause := range []time.Duration{time.Second, 3 * time.Hour, 100 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := &burst{start: time.Now()}
			defer b.stop()
			woken := make(chan struct{}, 1)
			var tn turn
			tn.wake = func() { woken <- struct{}{} }
			for range 2 {
				segments := 0
				for b.take(&tn, stream.SegmentSize) {
					segments++
				}
				if segments != burstLimit/stream.SegmentSize {
					t.Fatalf("%d segments after %v", segments, pause)
				}
				start := time.Now()
				<-woken
				if took := time.Since(start); took > 2*drainTick {
					t.Errorf("woken after %v", took)
				}
				virtual.Sleep(pause)
			}
		})
	}
}

func TestWindowedMaximum(t *testing.T) {
	var w windowed
	if w.best() != 0 {
		t.Error("a value from nothing")
	}
	w.update(5, time.Second)
	w.update(3, 2*time.Second)
	if w.best() != 5 {
		t.Errorf("got %d, want 5", w.best())
	}
	w.update(2, 12*time.Second)
	if w.best() != 5 {
		t.Errorf("got %d, want 5: it is from the span before", w.best())
	}
	w.update(1, 23*time.Second)
	if w.best() != 2 {
		t.Errorf("got %d, want 2", w.best())
	}
	w.update(1, 100*time.Second)
	if w.best() != 1 {
		t.Errorf("got %d, want 1", w.best())
	}
}

// RFC 6298 with the reference's bounds.
func TestRoundTrip(t *testing.T) {
	var r roundTrip
	if r.timeout() != initialTimeout || r.min() != 0 {
		t.Errorf("%v, %v before any sample", r.timeout(), r.min())
	}
	r.sample(400*time.Millisecond, 1)
	if r.timeout() != 1200*time.Millisecond {
		t.Errorf("timeout %v after the first sample, want 1.2s", r.timeout())
	}
	for i := range 100 {
		r.sample(10*time.Millisecond, time.Duration(i))
	}
	if r.timeout() != minTimeout || r.min() != 10*time.Millisecond {
		t.Errorf("%v, %v on a fast path", r.timeout(), r.min())
	}
	for i := range 100 {
		r.sample(time.Minute, time.Duration(i))
	}
	if r.timeout() != maxTimeout {
		t.Errorf("timeout %v on a dead path", r.timeout())
	}
}

// Segments fit the path: a slow one gets small ones, but a peer that paces its
// acknowledgments to 100 a second still gets full ones.
func TestSegmentsFitThePath(t *testing.T) {
	for rate, want := range map[int64]int{
		0: firstSegment, 8_000: minSegment, 100_000: 5000, 1 << 30: stream.SegmentSize,
		100 * firstSegment: stream.SegmentSize,
	} {
		var c congestion
		if rate > 0 {
			c.rate.update(rate, 1)
		}
		if got := c.segment(); got != want {
			t.Errorf("%d bytes a second give segments of %d, want %d", rate, got, want)
		}
	}
}

// What waits for a stream, or has none, is bounded whatever arrives.
func TestArrivingPacketsAreBounded(t *testing.T) {
	limits := Limits{}.withDefaults()
	start := time.Now()
	s := newStreamCarrier(silentLayer{}, newPeerTable(start, limits), newPlaces(new(contactIndex), limits), newReceiveMemory(limits.ReceiveMemory), limits, nil, start)
	s.scheduler.stop() // nothing is handled any more
	p := s.peers.pin(identity.NodeKey{1})
	c, _, err := s.addDialled(p, 42)
	if err != nil {
		t.Fatal(err)
	}
	packet := stream.Header{SourcePort: 42, DestinationPort: c.key.local, Flags: stream.ACK}.AppendTo(nil)
	packet = append(packet, make([]byte, 1000)...)
	for range 1000 {
		s.receive(p.key, packet)
	}
	if n := c.arriving.packets.len(); n != maxArriving {
		t.Errorf("%d packets wait for the stream, want %d", n, maxArriving)
	}
	if n := s.arriving.used.Load(); n != maxArriving*1000 {
		t.Errorf("%d bytes are reserved", n)
	}
	packet[3]++ // another port
	for range 1000 {
		s.receive(p.key, packet)
	}
	if n := s.strays.len(); n != maxStrays {
		t.Errorf("%d strays wait, want %d", n, maxStrays)
	}
	c.shutdown(false)
}

// silentLayer is a packet layer that does nothing.
type silentLayer struct{}

func (silentLayer) Key() identity.NodeKey { return identity.NodeKey{} }
func (silentLayer) ReadPacket([]byte) (int, identity.NodeKey, error) {
	return 0, identity.NodeKey{}, ErrClosed
}
func (silentLayer) WritePacket([]byte, identity.NodeKey) error { return nil }
func (silentLayer) Lookup(identity.NodeKey)                    {}
func (silentLayer) NotifyPaths(func(identity.NodeKey))         {}
func (silentLayer) HasPath(identity.NodeKey) bool              { return true }
func (silentLayer) Close() error                               { return nil }

// Yggdrasil's own longest pause between attempts is 68 minutes.
func TestPeersGetBackoff(t *testing.T) {
	for uri, want := range map[string]string{
		"tcp://127.0.0.1:1":                       "1m0s",
		"tls://[::1]:1?key=" + string64("ab"):     "1m0s",
		"quic://127.0.0.1:1?maxbackoff=5m":        "5m",
		"ws://host/path?maxbackoff=5s&priority=3": "5s",
	} {
		u, err := parsePeer(uri)
		if err != nil || u.Query().Get("maxbackoff") != want {
			t.Errorf("%s became %v, %v; want maxbackoff %s", uri, u, err, want)
		}
	}
}

func string64(s string) string {
	for len(s) < 64 {
		s += s
	}
	return s[:64]
}
