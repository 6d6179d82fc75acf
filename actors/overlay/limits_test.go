// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/stream"
	"github.com/mimird/mimird/test/virtual"
)

// Bar S14
func TestStreamsPerNodeAreLimited(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		var first overlay.Conn
		for i := range 8 {
			c := h.open(l, uint16(49152+i))
			if i == 0 {
				first = c
			}
		}
		h.ours = 50000
		h.sendSYN()
		h.expectSilence(time.Second)
		// A stream that we have closed frees its place.
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		if n := h.node.Stack().Streams(); n != 8 {
			t.Errorf("%d streams, want 8", n)
		}
		// What we dial does not count against the peer.
		h.accept(7)
	})
}

func TestStreamsInTotalAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a, b := newNode(t, n, overlay.Limits{Connections: 3}), newNode(t, n, overlay.Limits{})
		l := mustListen(t, b)
		for range 3 {
			mustDial(t, a, b)
			mustAccept(t, l)
		}
		if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrTooMany) {
			t.Errorf("got %v, want ErrTooMany", err)
		}
		mustListen(t, a)
		if _, err := b.Dial(t.Context(), a.Key(), 42); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout: a full node ignores SYNs", err)
		}
	})
}

// Bar S04: openings that are never completed are evicted for new ones.
func TestHalfOpenStreams_TooMany_OldestEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{HalfOpen: 16})
		l := mustListen(t, node)
		for range 40 {
			h := newHandPeer(t, n, node)
			h.theirs = 42
			for i := range 4 {
				h.ours = uint16(49152 + i)
				h.sendSYN()
				h.expect("SYN-ACK", flagSYN|flagACK)
			}
			if n := node.Stack().Streams(); n > 16 {
				t.Fatalf("%d streams, want at most 16", n)
			}
		}
		newHandPeer(t, n, node).open(l, 49152)
		virtual.Sleep(time.Minute)
		if n := node.Stack().Streams(); n != 1 {
			t.Errorf("%d streams are left, want 1", n)
		}
	})
}

// A full accept queue keeps openings waiting; they succeed later.
func TestAcceptQueueFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a := newNode(t, n, overlay.Limits{})
		b := newNode(t, n, overlay.Limits{Backlog: 2, ConnectionsPerKey: 100})
		l := mustListen(t, b)
		for i := range 5 {
			c := mustDial(t, a, b)
			mustWrite(t, c, fmt.Appendf(nil, "%d", i))
		}
		virtual.Sleep(5 * time.Second)
		got := make(map[string]bool)
		for range 5 {
			c := mustAccept(t, l)
			buf := make([]byte, 1)
			if _, err := io.ReadFull(c, buf); err != nil {
				t.Fatal(err)
			}
			got[string(buf)] = true
		}
		if len(got) != 5 {
			t.Errorf("accepted %v", got)
		}
	})
}

// A stream that was reset before anybody accepted it is not handed out.
func TestDeadStreamIsNotAccepted(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		h.ours, h.theirs = 49152, 42
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		h.sendACK(0)
		h.sendRST()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

// One RST per node in 100 ms, whatever it sends.
func TestResetsAreLimited(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		h.theirs = 43
		for i := range 100 {
			h.ours = uint16(50000 + i)
			h.sendSYN()
		}
		h.expect("RST", flagRST)
		h.expectSilence(time.Minute)
	})
}

// A storm of RSTs for streams that do not exist costs nothing and gets no
// answer; one for a stream ends that stream only.
func TestResetStorm(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		for i := range 1000 {
			h.ours = uint16(50000 + i)
			h.sendRST()
		}
		h.expectSilence(time.Second)
		h.ours = 49152
		h.sendData(0, []byte("alive"))
		if err := readExactly(c, "alive"); err != nil {
			t.Error(err)
		}
	})
}

// A stranger gets 50 packets a second, in bursts of 200.
func TestStrangersAreLimited(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		d, err := h.node.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		h.ours, h.theirs = 0, 69
		for range 1000 {
			h.send(flagDG, 0, 0, 0, nil)
		}
		synctest.Wait()
		// 200 came through, 16 of them found room in the queue.
		if dropped := h.node.Stack().Dropped(); dropped != 984 {
			t.Errorf("%d dropped, want 984", dropped)
		}
		for range 16 {
			if _, _, err := d.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h.send(flagDG, 0, 0, 0, nil)
		virtual.Sleep(time.Second)
		if dropped := h.node.Stack().Dropped(); dropped != 985 {
			t.Errorf("%d dropped, want 985", dropped)
		}
		h.send(flagDG, 0, 0, 0, []byte("again"))
		if _, payload, err := d.Receive(t.Context()); err != nil || string(payload) != "again" {
			t.Errorf("got %q, %v", payload, err)
		}
	})
}

func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
		from, err := a.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		to, err := b.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		for _, payload := range [][]byte{nil, []byte("x"), pattern(stream.MaxPayload)} {
			if err := from.Send(b.Key(), 69, payload); err != nil {
				t.Fatal(err)
			}
			key, got, err := to.Receive(t.Context())
			if err != nil || key != a.Key() || string(got) != string(payload) {
				t.Errorf("got %d bytes from %v, %v", len(got), key, err)
			}
		}
		if err := from.Send(b.Key(), 69, make([]byte, stream.MaxPayload+1)); !errors.Is(err, overlay.ErrTooLarge) {
			t.Errorf("got %v, want ErrTooLarge", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := from.Send(b.Key(), 70, nil); err != nil {
			t.Error(err)
		}
		if _, _, err := to.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v: nothing was sent to this port", err)
		}
		for range 2 {
			if err := to.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, _, err := to.Receive(t.Context()); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if _, err := b.ListenDatagrams(69); err != nil {
			t.Errorf("the port is not free: %v", err)
		}
	})
}

// The queue of a port is shared fairly: one node cannot fill it.
func TestDatagramQueueOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{})
		d, err := node.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			h := newHandPeer(t, n, node)
			h.theirs = 69
			for range 30 {
				h.send(flagDG, 0, 0, 0, nil)
			}
		}
		synctest.Wait()
		got := make(map[[32]byte]int)
		for range 64 {
			key, _, err := d.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got[key]++
		}
		if len(got) != 4 {
			t.Errorf("datagrams of %d nodes, want 16 each of 4", len(got))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := d.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v: more than the queue holds", err)
		}
	})
}

// When all streams together hold too much, arriving bytes are dropped and come
// again; every stream still makes progress.
func TestReceiveMemoryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a := newNode(t, n, overlay.Limits{})
		b := newNode(t, n, overlay.Limits{ReceiveMemory: 200_000, ConnectionsPerKey: 100})
		l := mustListen(t, b)
		want := pattern(300_000)
		var accepted []overlay.Conn
		results := make(chan error)
		for range 4 {
			c := mustDial(t, a, b)
			go func() { results <- sendAll(c, want, len(want)) }()
			accepted = append(accepted, mustAccept(t, l))
		}
		virtual.Sleep(10 * time.Second) // nobody reads
		for _, c := range accepted {
			go func() { results <- receiveAll(c, want, 1000) }()
		}
		for range 8 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// A stream that nobody reads cannot starve one that is read.
func TestHoarderDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a := newNode(t, n, overlay.Limits{})
		b := newNode(t, n, overlay.Limits{ReceiveMemory: 100_000})
		l := mustListen(t, b)
		hoarder := mustDial(t, a, b)
		mustAccept(t, l) // and never read
		go func() { _, _ = hoarder.Write(pattern(1 << 20)) }()
		virtual.Sleep(10 * time.Second)
		c := mustDial(t, a, b)
		d := mustAccept(t, l)
		want := pattern(200_000)
		results := make(chan error)
		go func() { results <- sendAll(c, want, len(want)) }()
		go func() { results <- receiveAll(d, want, 1000) }()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// All streams of a node share its first queue: together they hardly ever have more
// under way than fits there, and each gets its turn. A packet may be lost all the
// same, for what nobody acknowledges is let go with time, and some of it is still
// there; if each stream looked at itself alone, more than a hundred would be.
func TestBurstsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 20_000_000
		n := newNet(t, memnet.Options{Link: memnet.Link{Delay: 5 * time.Millisecond, Rate: rate, Queue: 131_070}})
		a := newNode(t, n, overlay.Limits{})
		b := newNode(t, n, overlay.Limits{ConnectionsPerKey: 100})
		l := mustListen(t, b)
		var dialled, accepted []overlay.Conn
		for range 20 {
			dialled = append(dialled, mustDial(t, a, b))
			accepted = append(accepted, mustAccept(t, l))
		}
		lost := 0
		n.Watch(func(p memnet.Packet) {
			if p.Lost {
				lost++
			}
		})
		want := pattern(200_000)
		results := make(chan error)
		for i := range dialled {
			go func() { results <- sendAll(dialled[i], want, len(want)) }()
			go func() { results <- receiveAll(accepted[i], want, 10_000) }()
		}
		for range 2 * len(dialled) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if lost > 3 {
			t.Errorf("%d packets were lost in the first queue", lost)
		}
	})
}
