// SPDX-License-Identifier: MPL-2.0

package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		return pair(t, memnet.Options{})
	})
}

// pair connects two nodes of a new network.
func pair(t *testing.T, opts memnet.Options) (c1, c2 overlay.Conn, stop func(), err error) {
	t.Helper()
	n := memnet.New(opts)
	a, b := n.Node(overlay.Limits{}), n.Node(overlay.Limits{})
	stop = func() {
		for _, c := range []io.Closer{a, b} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		n.Close()
	}
	l, err := b.Listen(42)
	if err != nil {
		return nil, nil, stop, err
	}
	if c1, err = a.Dial(context.Background(), b.Key(), 42); err != nil {
		return nil, nil, stop, err
	}
	c2, err = l.Accept(context.Background())
	return c1, c2, stop, err
}

// watched counts packets and those lost from now on.
func watched(n *memnet.Net) (all, lost *int) {
	all, lost = new(int), new(int)
	n.Watch(func(p memnet.Packet) {
		*all++
		if p.Lost {
			*lost++
		}
	})
	return all, lost
}

// arrivals sends packets from a to b and returns when and in which order they
// arrived.
func arrivals(t *testing.T, opts memnet.Options, count int) (order []byte, times []time.Duration) {
	t.Helper()
	n := memnet.New(opts)
	defer n.Close()
	a, b := n.NewEndpoint(), n.NewEndpoint()
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			_, from, err := b.ReadPacket(buf)
			if err != nil {
				return
			}
			if from != a.Key() {
				t.Errorf("packet from %v", from)
			}
			order, times = append(order, buf[0]), append(times, time.Since(start))
		}
	}()
	for i := range count {
		packet := make([]byte, 1000)
		packet[0] = byte(i)
		if err := a.WritePacket(packet, b.Key()); err != nil {
			t.Error(err)
		}
	}
	virtual.Sleep(time.Minute)
	for _, e := range []*memnet.Endpoint{a, b} {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	<-done
	if err := a.WritePacket(nil, b.Key()); !errors.Is(err, overlay.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	return order, times
}

func inOrder(count int) []byte {
	order := make([]byte, count)
	for i := range order {
		order[i] = byte(i)
	}
	return order
}

func TestLinks(t *testing.T) {
	cases := map[string]struct {
		opts  memnet.Options
		check func(t *testing.T, order []byte, times []time.Duration)
	}{
		"perfect": {memnet.Options{}, func(t *testing.T, order []byte, times []time.Duration) {
			if !bytes.Equal(order, inOrder(100)) || times[99] != 0 {
				t.Errorf("%v until %v", order, times[99])
			}
		}},
		"delay": {memnet.Options{Link: memnet.Link{Delay: time.Second}}, func(t *testing.T, order []byte, times []time.Duration) {
			if !bytes.Equal(order, inOrder(100)) || times[0] != time.Second || times[99] != time.Second {
				t.Errorf("%v from %v until %v", order, times[0], times[99])
			}
		}},
		"jitter": {memnet.Options{Link: memnet.Link{Jitter: time.Second}}, func(t *testing.T, order []byte, times []time.Duration) {
			if len(order) != 100 || bytes.Equal(order, inOrder(100)) || times[99] > time.Second {
				t.Errorf("%v until %v", order, times[99])
			}
		}},
		"loss": {memnet.Options{Link: memnet.Link{Loss: 0.5}}, func(t *testing.T, order []byte, _ []time.Duration) {
			if len(order) < 20 || len(order) > 80 {
				t.Errorf("%d of 100 arrived", len(order))
			}
		}},
		"duplicates": {memnet.Options{Link: memnet.Link{Duplicate: 0.5}}, func(t *testing.T, order []byte, _ []time.Duration) {
			if len(order) < 120 || len(order) > 180 {
				t.Errorf("%d arrived for 100", len(order))
			}
		}},
		"rate": {memnet.Options{Link: memnet.Link{Rate: 10_000}}, func(t *testing.T, order []byte, times []time.Duration) {
			if !bytes.Equal(order, inOrder(100)) || times[99] != 10*time.Second {
				t.Errorf("%v until %v", order, times[99])
			}
		}},
		"queue": {memnet.Options{Link: memnet.Link{Rate: 10_000, Queue: 20_000}}, func(t *testing.T, order []byte, _ []time.Duration) {
			if !bytes.Equal(order, inOrder(len(order))) || len(order) != 21 {
				t.Errorf("%v arrived", order)
			}
		}},
		"cut": {memnet.Options{Link: memnet.Link{Cut: true}}, func(t *testing.T, order []byte, _ []time.Duration) {
			if len(order) != 0 {
				t.Errorf("%v arrived", order)
			}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				order, times := arrivals(t, c.opts, 100)
				c.check(t, order, times)
				again, _ := arrivals(t, c.opts, 100)
				if !bytes.Equal(order, again) {
					t.Error("the same seed gave another result")
				}
				c.opts.Seed = 1
				if other, _ := arrivals(t, c.opts, 100); c.opts.Link.Loss > 0 && bytes.Equal(order, other) {
					t.Error("another seed gave the same result")
				}
			})
		})
	}
}

// A node that is not read loses the oldest packets.
func TestReadQueueOverflows(t *testing.T) {
	n := memnet.New(memnet.Options{Queue: 3000})
	defer n.Close()
	a, b := n.NewEndpoint(), n.NewEndpoint()
	for i := range 10 {
		if err := a.WritePacket(append(make([]byte, 999), byte(i)), b.Key()); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1<<16)
	for i := 7; i < 10; i++ {
		if _, _, err := b.ReadPacket(buf); err != nil || buf[999] != byte(i) {
			t.Errorf("packet %d, %v; want %d", buf[999], err, i)
		}
	}
}

func TestCutAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		defer n.Close()
		a, b := n.Node(overlay.Limits{}), n.Node(overlay.Limits{})
		defer func() { _, _ = a.Close(), b.Close() }() // never fail
		if !a.Endpoint.HasPath(b.Key()) {
			t.Error("no path")
		}
		n.Cut(a.Key(), b.Key())
		if a.Endpoint.HasPath(b.Key()) || b.Endpoint.HasPath(a.Key()) {
			t.Error("a path although it is cut")
		}
		all, lost := watched(n)
		if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if *all == 0 || *lost != *all {
			t.Errorf("%d of %d packets were lost", *lost, *all)
		}
		n.Heal(a.Key(), b.Key())
		if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
		n.SetLink(a.Key(), b.Key(), memnet.Link{Delay: time.Second})
		start := time.Now()
		if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrRefused) || time.Since(start) != 2*time.Second {
			t.Errorf("got %v after %v, want ErrRefused after 2s", err, time.Since(start))
		}
	})
}

// A node comes back with its key, and knows nothing of its streams.
func TestNodeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		defer n.Close()
		a, b := n.Node(overlay.Limits{}), n.Node(overlay.Limits{})
		l, err := b.Listen(42)
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Dial(t.Context(), b.Key(), 42)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := n.NodeAt(b.Key(), overlay.Limits{})
		if again.Key() != b.Key() || again.Stack().Streams() != 0 {
			t.Errorf("%d streams of %v", again.Stack().Streams(), again.Key())
		}
		if _, err := c.Write([]byte("are you there?")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
			t.Errorf("got %v, want ErrReset", err)
		}
		for _, node := range []*memnet.Node{a, b, again} {
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
