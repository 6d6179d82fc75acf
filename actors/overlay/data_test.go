// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

func mustWrite(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// pattern is n bytes that differ from their neighbours.
func pattern(n int) []byte { return randomBytes(rand.New(rand.NewPCG(uint64(n), 3)), n) }

// segments takes the packets that carry the next n bytes from seq on.
func (h *handPeer) segments(seq uint32, n int) []handPacket {
	h.t.Helper()
	var packets []handPacket
	for end := seq + uint32(n); seq < end; {
		p := h.expect("data", flagACK)
		if p.seq != seq || len(p.payload) == 0 {
			h.t.Fatalf("got %v, want data at %d", p, seq)
		}
		seq += uint32(len(p.payload))
		packets = append(packets, p)
	}
	return packets
}

func TestRepetitionsKeepBoundaries(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		var first []handPacket
		seq := uint32(0)
		for _, n := range []int{1, 100, 3000, 7, 4096} {
			mustWrite(t, c, pattern(n))
			first = append(first, h.segments(seq, n)...)
			seq += uint32(n)
		}
		repeated := 0
		for start := time.Now(); time.Since(start) < 20*time.Second; {
			p := h.expect("repetition", flagACK)
			same := func(q handPacket) bool { return q.seq == p.seq && bytes.Equal(q.payload, p.payload) }
			if !slices.ContainsFunc(first, same) {
				t.Fatalf("%v was not sent before", p)
			}
			repeated++
		}
		if repeated < 5 {
			t.Errorf("%d repetitions in 20 s", repeated)
		}
	})
}

// One lost packet costs one timeout, not longer ones for ever after.
func TestTimeoutRecovers(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := uint32(0)
		for range 5 {
			mustWrite(t, c, []byte("lost"))
			h.segments(seq, 4)
			start := time.Now()
			for range 4 {
				h.segments(seq, 4) // again, and again
			}
			if took := time.Since(start); took < time.Second || took > 10*time.Second {
				t.Errorf("four repetitions took %v", took)
			}
			seq += 4
			h.sendACK(seq)
			synctest.Wait()
			mustWrite(t, c, []byte("kept"))
			h.segments(seq, 4)
			seq += 4
			h.sendACK(seq)
			synctest.Wait()
		}
	})
}

// After a timeout everything is sent again, so repeated acknowledgments of
// what is repeated in vain prove no loss.
func TestNoFastRetransmitAfterTimeout(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := growFlight(t, h, c)
		for range 6 {
			mustWrite(t, c, pattern(1000))
		}
		h.segments(seq, 6000)
		h.segments(seq, 6000) // again, after the timeout
		for range 5 {
			h.sendACK(seq)
		}
		h.expectSilence(150 * time.Millisecond)
	})
}

// Writes of several callers are not mixed.
func TestConcurrentWritesStayWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{Link: memnet.Link{Delay: time.Millisecond}})
		c, d := mustPair(t, newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{}))
		const writers, size = 5, 300_000
		for i := range writers {
			go func() {
				if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
					t.Error(err)
				}
			}()
		}
		buf := make([]byte, size)
		for range writers {
			if _, err := io.ReadFull(d, buf); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(buf, bytes.Repeat(buf[:1], size)) {
				t.Fatal("writes are mixed")
			}
		}
	})
}

// A node that stops answering costs a stream after the reference's 30 s.
func TestStallEndsStream(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		start := time.Now()
		mustWrite(t, c, []byte("anybody there?"))
		for {
			p, ok := h.receive(time.Minute)
			if !ok {
				t.Fatal("no RST")
			}
			if p.flags == flagRST {
				break
			}
		}
		if took := time.Since(start); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("ended after %v", took)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("read: %v, want ErrTimeout", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("write: %v, want ErrTimeout", err)
		}
	})
}

// growFlight writes and acknowledges until many segments may be under way, and
// returns the next sequence number.
func growFlight(t *testing.T, h *handPeer, c net.Conn) uint32 {
	t.Helper()
	seq := uint32(0)
	for range 20 {
		mustWrite(t, c, pattern(16<<10))
		for range h.segments(seq, 16<<10) {
			virtual.Sleep(time.Millisecond)
		}
		seq += 16 << 10
		h.sendACK(seq)
	}
	synctest.Wait()
	return seq
}

func TestFastRetransmit(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := growFlight(t, h, c)
		mustWrite(t, c, pattern(10*1000))
		flight := h.segments(seq, 10*1000)
		if len(flight) < 1 {
			t.Fatal("no flight")
		}
		for range 9 {
			mustWrite(t, c, pattern(1000))
		}
		flight = append(flight, h.segments(seq+10*1000, 9*1000)...)
		// The first and the third were lost: every later one is answered.
		start := time.Now()
		h.sendACK(seq)
		h.sendACK(seq)
		h.expectSilence(time.Millisecond)
		h.sendACK(seq)
		if p := h.expect("first hole", flagACK); p.seq != flight[0].seq || !bytes.Equal(p.payload, flight[0].payload) {
			t.Fatalf("got %v, want %v", p, flight[0])
		}
		for range 4 {
			h.sendACK(seq) // the rest of the flight arrives; nothing else is lost yet
		}
		h.expectSilence(time.Millisecond)
		h.sendACK(flight[2].seq)
		if p := h.expect("second hole", flagACK); p.seq != flight[2].seq || !bytes.Equal(p.payload, flight[2].payload) {
			t.Fatalf("got %v, want %v", p, flight[2])
		}
		last := flight[len(flight)-1]
		h.sendACK(last.seq + uint32(len(last.payload)))
		h.expectSilence(10 * time.Second)
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("waited for a timeout: %v", took)
		}
	})
}

// What looks like an acknowledgment and proves nothing.
func TestMisleadingAcknowledgments(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := growFlight(t, h, c)
		for range 5 {
			mustWrite(t, c, pattern(1000))
		}
		h.segments(seq, 5*1000)
		for i := range uint32(5) {
			h.send(flagACK, 0, seq, fullWindow-i-1, nil) // updates of the window
		}
		h.sendACK(seq + 100_000) // never sent
		h.sendACK(seq - 1)       // overtaken
		h.expectSilence(100 * time.Millisecond)
		h.expect("repetition after a timeout", flagACK)
	})
}

func TestReceiverAcknowledges(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		want := pattern(200_000)
		seq := uint32(0)
		send := func(n uint32) {
			h.sendData(seq, want[seq:seq+n])
			seq += n
		}
		// Full segments are answered one by one.
		for range 3 {
			send(16384)
			if p := h.expect("ACK", flagACK); p.ack != seq || p.seq != 0 || p.window != fullWindow-seq {
				t.Errorf("got %v, want ack %d", p, seq)
			}
		}
		// A small one waits a little for company.
		send(10)
		h.expectSilence(4 * time.Millisecond)
		if p := h.expect("delayed ACK", flagACK); p.ack != seq {
			t.Errorf("got %v, want ack %d", p, seq)
		}
		send(10)
		send(10)
		if p, ok := h.receive(time.Millisecond); !ok || p.ack != seq {
			t.Errorf("got %v, want ack %d for two segments", p, seq)
		}
		// An old one is answered at once.
		h.sendData(seq-10, want[seq-10:seq])
		if p, ok := h.receive(time.Millisecond); !ok || p.ack != seq {
			t.Errorf("got %v, want ack %d for old data", p, seq)
		}
		// Each one behind a gap is answered by itself.
		gap := seq
		seq += 1000
		for range 5 {
			send(1000)
			if p, ok := h.receive(time.Millisecond); !ok || p.ack != gap || len(p.payload) != 0 {
				t.Errorf("got %v, want ack %d behind a gap", p, gap)
			}
		}
		h.sendData(gap, want[gap:gap+1000])
		if p, ok := h.receive(time.Millisecond); !ok || p.ack != seq {
			t.Errorf("got %v, want ack %d after the gap", p, seq)
		}
		// An answer carries the acknowledgment.
		send(10)
		synctest.Wait()
		mustWrite(t, c, []byte("answer"))
		if p, ok := h.receive(time.Millisecond); !ok || p.ack != seq || string(p.payload) != "answer" {
			t.Errorf("got %v, want ack %d with the answer", p, seq)
		}
		h.sendACK(6)
		h.expectSilence(time.Minute)
		if err := readExactly(c, string(want[:seq])); err != nil {
			t.Error("other bytes than sent")
		}
	})
}

// A segment that overlaps what has come is trimmed, not dropped.
func TestOverlappingSegments(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		want := pattern(1000)
		for _, s := range [][2]int{{0, 300}, {500, 800}, {400, 700}, {650, 900}, {200, 450}, {100, 1000}} {
			h.sendData(uint32(s[0]), want[s[0]:s[1]])
		}
		if err := readExactly(c, string(want)); err != nil {
			t.Error("other bytes than sent")
		}
	})
}

// More out of order than is kept is dropped, acknowledged and sent again.
func TestEarlySegmentsAreBounded(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		want := pattern(101 * 1000)
		for i := 1; i <= 100; i++ {
			h.sendData(uint32(i*1000), want[i*1000:(i+1)*1000])
			if p := h.expect("ACK", flagACK); p.ack != 0 {
				t.Fatalf("got %v, want ack 0", p)
			}
		}
		h.sendData(0, want[:1000])
		if p := h.expect("ACK", flagACK); p.ack != 65*1000 {
			t.Fatalf("got %v, want ack %d: 64 segments are kept", p, 65*1000)
		}
		h.sendData(65*1000, want[65*1000:81*1000])
		h.sendData(81*1000, want[81*1000:97*1000])
		h.sendData(97*1000, want[97*1000:])
		if err := readExactly(c, string(want)); err != nil {
			t.Error("other bytes than sent")
		}
	})
}

// What exceeds the window told by more than a segment is dropped and answered.
func TestWindowIsEnforced(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := uint32(0)
		var last handPacket
		for seq < fullWindow {
			h.sendData(seq, make([]byte, 16384))
			seq += 16384
			virtual.Sleep(10 * time.Millisecond)
			synctest.Wait()
			for len(h.packets) > 0 {
				last = h.expect("ACK", flagACK)
			}
		}
		if last.ack != fullWindow || last.window != 0 {
			t.Fatalf("got %v, want a closed window", last)
		}
		for range 20 {
			h.sendData(seq, make([]byte, 16384))
			seq += 16384
			if p := h.expect("ACK", flagACK); p.ack > fullWindow+65388 {
				t.Fatalf("got %v: more was taken than the window and a segment", p)
			}
		}
		if _, err := io.ReadFull(c, make([]byte, fullWindow)); err != nil {
			t.Fatal(err)
		}
	})
}

// An opened window is told again until data comes: the reference would wait
// for ever for a lost one.
func TestOpenedWindowIsRepeated(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		for seq := uint32(0); seq < fullWindow; seq += 16384 {
			h.sendData(seq, make([]byte, 16384))
			virtual.Sleep(time.Millisecond)
		}
		h.drain()
		h.expectSilence(10 * time.Second)
		if _, err := io.ReadFull(c, make([]byte, fullWindow)); err != nil {
			t.Fatal(err)
		}
		if p, ok := h.receive(time.Millisecond); !ok || p.flags != flagACK || p.window < fullWindow/2 {
			t.Fatalf("got %v, want the opened window", p)
		}
		start := time.Now()
		for i := range 12 {
			if p := h.expect("repeated window", flagACK); p.window != fullWindow || p.ack != fullWindow {
				t.Fatalf("got %v", p)
			}
			if took := time.Since(start); i < 9 && took != time.Duration(i+1)*time.Second {
				t.Errorf("repetition %d after %v", i, took)
			}
		}
		if took := time.Since(start); took < 20*time.Second {
			t.Errorf("12 repetitions in %v: the pauses must grow", took)
		}
		h.sendData(fullWindow, []byte("x"))
		h.expect("ACK", flagACK)
		h.expectSilence(time.Minute)
	})
}

// A closed window is probed with a byte that has been acknowledged, which the
// reference answers with its window; it does not end the stream.
func TestClosedWindowIsProbed(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		mustWrite(t, c, []byte("abc"))
		h.segments(0, 3)
		h.send(flagACK, 0, 3, 0, nil)
		synctest.Wait()
		mustWrite(t, c, []byte("def"))
		for range 30 {
			p := h.expect("probe", flagACK)
			if p.seq != 2 || string(p.payload) != "c" {
				t.Fatalf("got %v, want the last byte", p)
			}
			h.send(flagACK, 0, 3, 0, nil)
		}
		h.expect("probe", flagACK)
		h.send(flagACK, 0, 3, fullWindow, nil)
		if p := h.segments(3, 3)[0]; string(p.payload) != "def" {
			t.Errorf("got %q", p.payload)
		}
	})
}

func TestProbesWithoutAnswerEndStream(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		mustWrite(t, c, []byte("abc"))
		h.segments(0, 3)
		h.send(flagACK, 0, 3, 0, nil)
		synctest.Wait()
		mustWrite(t, c, []byte("def"))
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// Before any byte has been acknowledged the first segment is the probe.
func TestWindowClosedFromTheStart(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		h.ours, h.theirs = 49152, 42
		h.sendSYN()
		h.expect("SYN-ACK", flagSYN|flagACK)
		h.send(flagACK, 0, 0, 0, nil)
		c := mustAccept(t, l)
		mustWrite(t, c, []byte("hello"))
		h.expectSilence(100 * time.Millisecond)
		if p := h.segments(0, 5)[0]; string(p.payload) != "hello" {
			t.Errorf("got %q", p.payload)
		}
	})
}

// After a pause the network may keep only the newest of several packets, so
// one goes first.
func TestRestedStreamSendsOnePacketFirst(t *testing.T) {
	withHandPeer(t, func(t *testing.T, h *handPeer, l overlay.Listener) {
		c := h.open(l, 49152)
		seq := growFlight(t, h, c)
		virtual.Sleep(51 * time.Second)
		mustWrite(t, c, pattern(60_000))
		p := h.expect("first segment", flagACK)
		h.expectSilence(50 * time.Millisecond)
		h.sendACK(seq + uint32(len(p.payload)))
		h.expect("second segment", flagACK)
		if _, ok := h.receive(time.Millisecond); !ok {
			t.Error("only one segment under way after the answer")
		}
	})
}
