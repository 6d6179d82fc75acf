// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

func TestDialSendsTheReferencesPackets(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		c := h.accept(7)
		if h.theirs < 49152 {
			t.Errorf("dialled from port %d, want an ephemeral one", h.theirs)
		}
		// A repeated SYN-ACK means that our acknowledgment was lost.
		h.sendSYNACK()
		if p := h.expect("ACK", flagACK); p.seq != 0 || p.ack != 0 || p.window != fullWindow || len(p.payload) != 0 {
			t.Errorf("third packet is %v", p)
		}
		if _, err := c.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
		if p := h.expect("data", flagACK); p.seq != 0 || p.window != fullWindow || len(p.payload) != 1 {
			t.Errorf("first data is %v", p)
		}
		if c.RemoteKey() != h.endpoint.Key() || c.RemoteAddr() != (overlay.Addr{Key: h.endpoint.Key(), Port: 7}) {
			t.Errorf("remote end is %v", c.RemoteAddr())
		}
		if c.LocalAddr() != (overlay.Addr{Key: h.node.Key(), Port: h.theirs}) || c.LocalAddr().Network() != "ygg_stream" {
			t.Errorf("local end is %v", c.LocalAddr())
		}
	})
}

func TestListenerSendsTheReferencesPackets(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		h.raw([]byte{0xc0, 0x00, 0x00, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x08, 0, 0})
		h.expectBytes("SYN-ACK", "002ac000000000000000000003080000")
		h.raw([]byte{0xc0, 0x00, 0x00, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x08, 0, 0})
		c := mustAccept(t, l)
		if c.RemoteKey() != h.endpoint.Key() {
			t.Errorf("remote key is %v", c.RemoteKey())
		}
	})
}

func TestDialRepeatsSYNAndGivesUp(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		start := time.Now()
		times := make(chan []time.Duration, 1)
		go func() {
			var at []time.Duration
			for {
				p, ok := h.receive(time.Minute)
				if !ok {
					times <- at
					return
				}
				if p.flags != flagSYN {
					t.Errorf("got %v, want SYN", p)
				}
				at = append(at, time.Since(start))
			}
		}()
		_, err := h.node.Dial(t.Context(), h.endpoint.Key(), 42)
		if took := time.Since(start); !errors.Is(err, overlay.ErrTimeout) || took != 10*time.Second {
			t.Errorf("got %v after %v, want ErrTimeout after 10s", err, took)
		}
		at := <-times
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("SYNs at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Fatalf("SYNs at %v, want %v", at, want)
			}
		}
	})
}

func TestDialErrors(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		to := h.endpoint.Key()
		for _, port := range []uint16{0, 256, 0x1FF, 49151, 65535} {
			if _, err := h.node.Dial(t.Context(), to, port); !errors.Is(err, overlay.ErrBadPort) {
				t.Errorf("port %d: %v, want ErrBadPort", port, err)
			}
		}
		if _, err := h.node.Dial(t.Context(), h.node.Key(), 42); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("own key: %v, want ErrRefused", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.node.Dial(ctx, to, 42); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v, want Canceled", err)
		}
		h.expectSilence(time.Minute)
		if h.node.Stack().Streams() != 0 {
			t.Errorf("%d streams are left", h.node.Stack().Streams())
		}
	})
}

func TestDialIsRefused(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		result := make(chan error, 1)
		go func() {
			_, err := h.node.Dial(t.Context(), h.endpoint.Key(), 42)
			result <- err
		}()
		syn := h.expect("SYN", flagSYN)
		h.ours, h.theirs = 42, syn.theirs
		h.sendACK(0) // means nothing yet
		h.sendData(0, []byte("early"))
		h.expect("second SYN", flagSYN)
		h.sendRST()
		if err := <-result; !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
		h.expectSilence(time.Minute)
	})
}

// A dial that is given up sends nothing; a late answer to it is refused.
func TestDialCancelled(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := h.node.Dial(ctx, h.endpoint.Key(), 42)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		syn := h.expect("SYN", flagSYN)
		h.expectSilence(time.Minute)
		h.ours, h.theirs = 42, syn.theirs
		h.sendSYNACK()
		h.expect("RST", flagRST)
	})
}

func TestSilenceAfterTwoFailures(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		to := h.endpoint.Key()
		for range 2 {
			if _, err := h.node.Dial(t.Context(), to, 42); !errors.Is(err, overlay.ErrTimeout) {
				t.Fatalf("got %v, want ErrTimeout", err)
			}
		}
		h.drain()
		d, err := h.node.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(60 * time.Second)
		var silenced *overlay.SilencedError
		_, err = h.node.Dial(t.Context(), to, 42)
		if !errors.Is(err, overlay.ErrSilenced) || !errors.As(err, &silenced) || silenced.Remaining != 5*time.Second {
			t.Errorf("got %v, want ErrSilenced for 5s", err)
		}
		if err := d.Send(to, 69, nil); !errors.Is(err, overlay.ErrSilenced) {
			t.Errorf("datagram: got %v, want ErrSilenced", err)
		}
		h.expectSilence(4 * time.Second)
		virtual.Sleep(time.Second)
		if err := d.Send(to, 69, nil); err != nil {
			t.Errorf("datagram after the silence: %v", err)
		}
		h.expect("datagram", flagDG)
	})
}

// Silence holds for streams that are open as well.
func TestSilenceStopsOpenStreams(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		virtual.Sleep(time.Second)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			if _, err := h.node.Dial(ctx, h.endpoint.Key(), 42); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
			cancel()
		}
		h.drain()
		mustWrite(t, c, []byte("hello"))
		h.expectSilence(60 * time.Second)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("read: %v, want ErrTimeout", err)
		}
	})
}

// A node that says anything is not to be left alone.
func TestSilenceEndsWithAPacket(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		for range 2 {
			if _, err := h.node.Dial(t.Context(), h.endpoint.Key(), 42); !errors.Is(err, overlay.ErrTimeout) {
				t.Fatalf("got %v, want ErrTimeout", err)
			}
		}
		h.drain()
		h.open(l, 49152)
		h.accept(42)
	})
}

// Attempts that are cut short count as well, unless the node has answered.
func TestSilenceCountsShortAttempts(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		try := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_, err := h.node.Dial(ctx, h.endpoint.Key(), 42)
			return err
		}
		for range 5 { // one SYN each says nothing
			if err := try(900 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := try(2 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if err := try(2 * time.Second); !errors.Is(err, overlay.ErrSilenced) {
			t.Errorf("got %v, want ErrSilenced", err)
		}
	})
}

// A node that nothing can reach is not to be left alone: on a network that has
// just come up the paths are missing, not the answers.
func TestNoSilenceWithoutPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
		mustListen(t, b)
		n.Cut(a.Key(), b.Key())
		for range 5 {
			if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrTimeout) {
				t.Fatalf("got %v, want ErrTimeout", err)
			}
		}
		n.Heal(a.Key(), b.Key())
		mustDial(t, a, b)
	})
}

func TestPortsAreNotReused(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
		seen := make(map[uint16]bool)
		for range 300 {
			c := h.accept(42)
			if seen[h.theirs] {
				t.Fatalf("port %d was used before", h.theirs)
			}
			seen[h.theirs] = true
			if err := c.Abort(); err != nil {
				t.Fatal(err)
			}
			h.expect("RST", flagRST)
			virtual.Sleep(100 * time.Millisecond) // not to exceed a stranger's allowance
		}
	})
}

// The acceptor's half of the table in section 6 of the protocol.
func TestAcceptorOpening(t *testing.T) {
	cases := map[string]func(t *testing.T, h *handPeer, l overlay.Listener){
		"repeated SYN": func(_ *testing.T, h *handPeer, _ overlay.Listener) {
			h.sendSYN()
			h.expect("SYN-ACK", flagSYN|flagACK)
		},
		"SYN-ACK": func(_ *testing.T, h *handPeer, _ overlay.Listener) {
			h.sendSYNACK()
			h.expect("SYN-ACK", flagSYN|flagACK)
		},
		"data without ACK": func(_ *testing.T, h *handPeer, _ overlay.Listener) {
			h.send(0, 0, 0, fullWindow, []byte("x"))
			h.expect("SYN-ACK", flagSYN|flagACK)
		},
		"FIN without ACK": func(_ *testing.T, h *handPeer, _ overlay.Listener) {
			h.sendBareFIN(0)
			h.expect("SYN-ACK", flagSYN|flagACK)
		},
		"data instead of the third packet": func(t *testing.T, h *handPeer, l overlay.Listener) {
			h.sendData(0, []byte("hello"))
			c := mustAccept(t, l)
			if err := readExactly(c, "hello"); err != nil {
				t.Error(err)
			}
			h.expect("ACK", flagACK)
		},
		"RST": func(t *testing.T, h *handPeer, _ overlay.Listener) {
			h.sendRST()
			h.expectSilence(30 * time.Second)
			if n := h.node.Stack().Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		},
		"nothing": func(t *testing.T, h *handPeer, _ overlay.Listener) {
			start := time.Now()
			for range 3 {
				h.expect("repeated SYN-ACK", flagSYN|flagACK)
			}
			h.expect("RST", flagRST)
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("RST after %v, want 10s", took)
			}
			synctest.Wait() // the stream goes after its last packet
			if n := h.node.Stack().Streams(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		},
		"closed listener": func(t *testing.T, h *handPeer, l overlay.Listener) {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			h.sendACK(0)
			h.expect("RST", flagRST)
		},
	}
	for name, check := range cases {
		t.Run(name, func(t *testing.T) {
			withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
				h.ours, h.theirs = 49152, 42
				h.sendSYN()
				h.expect("SYN-ACK", flagSYN|flagACK)
				check(t, h, l)
			})
		})
	}
}

func readExactly(c net.Conn, want string) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return errors.New("read " + string(got) + ", want " + want)
	}
	return nil
}

// Bar S19
func TestStrayPackets(t *testing.T) {
	cases := map[string]struct {
		packet  func(h *handPeer)
		refused bool
	}{
		"SYN to a closed port": {func(h *handPeer) { h.theirs = 43; h.sendSYN() }, true},
		"data":                 {func(h *handPeer) { h.sendData(0, []byte("x")) }, true},
		"ACK":                  {func(h *handPeer) { h.sendACK(7) }, true},
		"SYN-ACK":              {func(h *handPeer) { h.sendSYNACK() }, true},
		"FIN":                  {func(h *handPeer) { h.sendBareFIN(0) }, true},
		"RST":                  {func(h *handPeer) { h.sendRST() }, false},
		"no flags":             {func(h *handPeer) { h.send(0, 0, 0, 0, nil) }, true},
		"short":                {func(h *handPeer) { h.raw(make([]byte, 15)) }, false},
		"empty":                {func(h *handPeer) { h.raw(nil) }, false},
		"odd source port":      {func(h *handPeer) { h.ours = 0x4500; h.sendSYN() }, false},
		"Yggdrasil traffic":    {func(h *handPeer) { h.ours = 0x0160; h.sendSYN() }, false},
		"Yggdrasil protocol":   {func(h *handPeer) { h.ours = 0x0201; h.sendSYN() }, false},
		"datagram":             {func(h *handPeer) { h.send(flagDG|flagSYN, 0, 0, 0, []byte("x")) }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withHandPeer(t, func(t *testing.T, h *handPeer, _ overlay.Listener) {
				h.ours, h.theirs = 49152, 42
				c.packet(h)
				if c.refused {
					p := h.expect("RST", flagRST)
					if p.ours != h.ours || p.theirs != h.theirs || p.seq != 0 || p.ack != 0 || p.window != fullWindow {
						t.Errorf("RST is %v from %d to %d", p, p.theirs, p.ours)
					}
				}
				h.expectSilence(time.Minute)
				if n := h.node.Stack().Streams(); n != 0 {
					t.Errorf("%d streams are left", n)
				}
			})
		})
	}
}

// A peer that has restarted uses the ports of its first run again.
func TestPeerRestarts(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		old := h.open(l, 49152)
		h.sendData(0, []byte("first life"))
		h.expect("ACK", flagACK)
		virtual.Sleep(14 * time.Second)
		h.sendSYN()
		h.expectSilence(time.Second) // a late copy, for all we know
		if err := readExactly(old, "first life"); err != nil {
			t.Fatal(err)
		}
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		h.sendACK(0)
		c := mustAccept(t, l)
		if _, err := old.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
			t.Errorf("old stream: %v, want ErrReset", err)
		}
		h.sendData(0, []byte("second life"))
		if err := readExactly(c, "second life"); err != nil {
			t.Error(err)
		}
	})
}

// A stream on which nothing has flowed can serve the peer's next life.
func TestPeerRestartsBeforeAnyData(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		h.sendACK(0)
		h.sendData(0, []byte("hello"))
		if err := readExactly(c, "hello"); err != nil {
			t.Error(err)
		}
	})
}

// A stream that we have closed frees its place at once.
func TestPeerReusesPortOfClosedStream(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		old := h.open(l, 49152)
		h.sendData(0, []byte("x"))
		h.expect("ACK", flagACK)
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		h.sendACK(0)
		mustAccept(t, l)
	})
}

func TestListenErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newNode(t, newNet(t, memnet.Options{}), overlay.Limits{})
		for _, port := range []uint16{0, 256, 49152, 65535} {
			if _, err := node.Listen(port); !errors.Is(err, overlay.ErrBadPort) {
				t.Errorf("port %d: %v, want ErrBadPort", port, err)
			}
		}
		l := mustListen(t, node)
		if l.Port() != 42 {
			t.Errorf("port is %d", l.Port())
		}
		if _, err := node.Listen(42); !errors.Is(err, overlay.ErrPortTaken) {
			t.Errorf("second listener: %v, want ErrPortTaken", err)
		}
		if _, err := node.ListenDatagrams(42); err != nil {
			t.Errorf("datagrams on the same number: %v", err)
		}
		if _, err := node.ListenDatagrams(42); !errors.Is(err, overlay.ErrPortTaken) {
			t.Errorf("second datagram port: %v, want ErrPortTaken", err)
		}
		if _, err := node.ListenDatagrams(0); !errors.Is(err, overlay.ErrBadPort) {
			t.Errorf("datagram port 0: %v, want ErrBadPort", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("accept: %v, want DeadlineExceeded", err)
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := l.Accept(t.Context()); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("accept: %v, want ErrClosed", err)
		}
		mustListen(t, node)
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := node.Listen(43); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("listen: %v, want ErrClosed", err)
		}
		if _, err := node.ListenDatagrams(43); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("listen for datagrams: %v, want ErrClosed", err)
		}
		if _, err := node.Dial(t.Context(), [32]byte{1}, 42); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("dial: %v, want ErrClosed", err)
		}
	})
}
