// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

// expectNoStreams waits until the node has none.
func (h *handPeer) expectNoStreams() {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for h.node.Stack().Streams() > 0 {
		if time.Now().After(deadline) {
			h.t.Fatalf("%d streams are left", h.node.Stack().Streams())
		}
		virtual.Sleep(100 * time.Millisecond)
	}
}

func TestPeerEndsStream(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		h.sendData(0, []byte("last words"))
		h.sendBareFIN(10)
		if p := h.expect("ACK", flagACK); p.ack != 11 {
			t.Errorf("got %v, want the FIN counted", p)
		}
		if err := readExactly(c, "last words"); err != nil {
			t.Error(err)
		}
		for range 2 {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("got %v, want EOF", err)
			}
		}
		h.sendBareFIN(10) // a repetition gets an answer
		if p := h.expect("ACK", flagACK); p.ack != 11 {
			t.Errorf("got %v, want the FIN counted", p)
		}
		// Half closed: our direction still works.
		mustWrite(t, c, []byte("answer"))
		if p := h.segments(0, 6)[0]; p.ack != 11 {
			t.Errorf("got %v", p)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		h.expectSilence(100 * time.Millisecond) // no FIN before all is acknowledged
		h.sendACK(6)
		if p := h.expect("FIN", flagFIN|flagACK); p.seq != 6 || p.ack != 11 || len(p.payload) != 0 {
			t.Errorf("FIN is %v", p)
		}
		h.sendACK(7)
		h.expectNoStreams()
		h.expectSilence(time.Minute)
	})
}

// The reference would lose what is missing when a FIN arrives.
func TestFINWaitsForMissingBytes(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		h.sendData(5, []byte("world"))
		if p := h.expect("ACK", flagACK); p.ack != 0 {
			t.Errorf("got %v, want ack 0", p)
		}
		h.sendBareFIN(10)
		if p := h.expect("ACK", flagACK); p.ack != 0 {
			t.Errorf("got %v to the FIN, want ack 0", p)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v before the gap is filled", err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		h.sendData(0, []byte("hello"))
		if p := h.expect("ACK", flagACK); p.ack != 11 {
			t.Errorf("got %v, want all and the FIN", p)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != "helloworld" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// The reference acknowledges a FIN with its own number, once.
func TestStream_UnansweredFIN(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if p := h.expect("FIN", flagFIN|flagACK); p.seq != 0 {
			t.Errorf("FIN is %v", p)
		}
		h.sendACK(0)
		repeated := 0
		for {
			p, ok := h.receive(time.Minute)
			if !ok {
				break
			}
			if p.flags != flagFIN|flagACK {
				t.Fatalf("got %v, want FIN", p)
			}
			repeated++
		}
		if repeated != 5 {
			t.Errorf("%d repetitions, want 5", repeated)
		}
		h.expectNoStreams()
	})
}

// Its own FIN, which it sends without the ACK flag, makes that answer count.
func TestStream_ReferenceFIN(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendACK(0)
		h.sendBareFIN(0)
		if p := h.expect("ACK", flagACK); p.ack != 1 {
			t.Errorf("got %v, want the FIN counted", p)
		}
		h.expectSilence(time.Minute)
		h.expectNoStreams()
	})
}

// A stream that we have closed takes what comes until the peer ends it too,
// for a while.
func TestClosedStreamDiscards(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendACK(1)
		h.sendData(0, make([]byte, 16384))
		if p := h.expect("ACK", flagACK); p.ack != 16384 || p.window != fullWindow {
			t.Errorf("got %v, want the data gone", p)
		}
		virtual.Sleep(11 * time.Second)
		h.expectNoStreams()
		h.sendData(16384, make([]byte, 16384))
		h.expect("RST", flagRST)
	})
}

func TestSimultaneousClose(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendBareFIN(0)
		if p := h.expect("ACK", flagACK); p.ack != 1 {
			t.Errorf("got %v, want the FIN counted", p)
		}
		h.sendACK(1)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
		h.expectNoStreams()
	})
}

func TestReset(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		h.sendData(0, []byte("read me first"))
		h.sendRST()
		h.expectNoStreams()
		if err := readExactly(c, "read me first"); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
			t.Errorf("read: %v, want ErrReset", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, overlay.ErrReset) {
			t.Errorf("write: %v, want ErrReset", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v, want net.ErrClosed", err)
		}
	})
}

// The newest reference answers our last repetition with an RST.
func TestResetAfterBothEnds(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		h.sendBareFIN(0)
		h.expect("ACK", flagACK)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		h.expect("FIN", flagFIN|flagACK)
		h.sendRST()
		h.expectNoStreams()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	})
}

func TestAbort(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		mustWrite(t, c, []byte("lost"))
		h.segments(0, 4)
		if err := c.Abort(); err != nil {
			t.Fatal(err)
		}
		h.expect("RST", flagRST)
		h.expectSilence(time.Minute)
		h.expectNoStreams()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v, want net.ErrClosed", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v, want net.ErrClosed", err)
		}
		if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("set deadline: %v, want net.ErrClosed", err)
		}
		if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("close write: %v, want net.ErrClosed", err)
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := c.Abort(); err != nil {
				t.Errorf("abort: %v", err)
			}
		}
	})
}

// A closed stream with a peer that lives but takes nothing ends as well.
func TestClosedStreamDoesNotLingerForEver(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		mustWrite(t, c, []byte("abc"))
		h.segments(0, 3)
		h.send(flagACK, 0, 3, 0, nil)
		synctest.Wait()
		mustWrite(t, c, []byte("def"))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for {
			p, ok := h.receive(time.Minute)
			if !ok {
				t.Fatal("no RST")
			}
			if p.flags == flagRST {
				break
			}
			h.send(flagACK, 0, 3, 0, nil)
		}
		if took := time.Since(start); took < 59*time.Second || took > 70*time.Second {
			t.Errorf("ended after %v, want about a minute", took)
		}
	})
}

func TestCloseWakesCalls(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		results := make(chan error, 2)
		go func() {
			_, err := c.Read(make([]byte, 1))
			results <- err
		}()
		go func() {
			_, err := c.Write(make([]byte, 10<<20))
			results <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-results; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v, want net.ErrClosed", err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("calls return %v after Close", took)
		}
	})
}

// A node that closes resets its streams, so that the others need not wait.
func TestNodeCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
		l := mustListen(t, b)
		c := mustDial(t, a, b)
		d := mustAccept(t, l)
		waiting := mustDial(t, a, b) // stays in the listener's queue
		datagrams, err := b.ListenDatagrams(69)
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 3)
		go func() { _, err := d.Read(make([]byte, 1)); results <- err }()
		go func() {
			for {
				if _, err := l.Accept(t.Context()); err != nil {
					results <- err
					return
				}
			}
		}()
		go func() { _, _, err := datagrams.Receive(t.Context()); results <- err }()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-results; !errors.Is(err, overlay.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		for _, conn := range []overlay.Conn{c, waiting} {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
				t.Errorf("got %v, want ErrReset", err)
			}
		}
		if _, err := d.Write([]byte("x")); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("write: %v, want ErrClosed", err)
		}
		if err := datagrams.Send(a.Key(), 69, nil); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("send: %v, want ErrClosed", err)
		}
	})
}

// A node whose packet layer dies says so and ends everything.
func TestLayerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
		c, _ := mustPair(t, a, b)
		if err := a.Stack().Err(); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		a.Endpoint.Fail(broken)
		<-a.Stack().Failed()
		if err := a.Stack().Err(); !errors.Is(err, broken) {
			t.Errorf("got %v, want the cause", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("read: %v, want ErrClosed", err)
		}
		if _, err := a.Dial(t.Context(), b.Key(), 42); !errors.Is(err, overlay.ErrClosed) {
			t.Errorf("dial: %v, want ErrClosed", err)
		}
	})
}
