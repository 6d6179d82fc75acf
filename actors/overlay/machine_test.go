// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/stream"
)

// memoryFor is the part of one stream, of a node that is not a stranger's.
func memoryFor(m *receiveMemory) *streamMemory {
	return newStreamMemory(m, new(atomic.Int64), nil)
}

func always(int) bool { return true }

// openMachine returns a machine whose stream is open.
func openMachine(t testing.TB, m *receiveMemory) *machine {
	t.Helper()
	d := newDialer(49152, 42, memoryFor(m), 0)
	buf := make([]byte, stream.HeaderSize+stream.SegmentSize)
	if d.next(buf, 0, false, always) != stream.HeaderSize {
		t.Fatal("no SYN")
	}
	d.receive(stream.Packet{Header: stream.ControlHeader(42, 49152, stream.SYN|stream.ACK)}, false, 0)
	if d.next(buf, 0, false, always) != stream.HeaderSize || d.state != stateOpen {
		t.Fatal("not open")
	}
	return d
}

// A stream ends its sending before the reference's numbers overflow.
func TestMachineCarriesFourBillionBytes(t *testing.T) {
	m := openMachine(t, newReceiveMemory(1<<20))
	s := &m.sender
	s.written = maxBytes - 10
	s.una, s.next, s.highest = maxBytes-10, maxBytes-10, maxBytes-10
	if n := s.write(make([]byte, 100)); n != 10 {
		t.Fatalf("took %d bytes, want 10", n)
	}
	buf := make([]byte, stream.HeaderSize+stream.SegmentSize)
	n := m.next(buf, 0, false, always)
	p, err := stream.Parse(buf[:n])
	if err != nil || p.Sequence != maxBytes-10 || len(p.Payload) != 10 {
		t.Fatalf("sent %+v, %v", p.Header, err)
	}
	s.acknowledge(maxBytes, stream.DefaultWindow, true, 1)
	if !s.idle() || s.write([]byte{1}) != 0 {
		t.Error("more than the limit was taken")
	}
	m.end()
	n = m.next(buf, 1, false, always)
	if p, err := stream.Parse(buf[:n]); err != nil || p.Flags != stream.FIN|stream.ACK || p.Sequence != maxBytes {
		t.Errorf("sent %+v, %v; want the FIN", p.Header, err)
	}
}

// A peer that goes on gets an RST before its numbers overflow.
func TestMachineRefusesOverflow(t *testing.T) {
	m := openMachine(t, newReceiveMemory(1<<20))
	m.receiver.next = 1<<32 - 100
	m.receiver.edge = 1<<32 + 1<<19
	h := stream.Header{SourcePort: 42, DestinationPort: 49152, Sequence: 1<<32 - 100, Flags: stream.ACK}
	m.receive(stream.Packet{Header: h, Payload: make([]byte, 98)}, false, 1)
	if m.state != stateOpen || m.receiver.next != 1<<32-2 {
		t.Fatalf("next is %d", m.receiver.next)
	}
	h.Sequence = 1<<32 - 2
	m.receive(stream.Packet{Header: h, Payload: make([]byte, 1)}, false, 1)
	if m.state != stateDead || !errors.Is(m.err, ErrExhausted) {
		t.Fatalf("state %d, %v", m.state, m.err)
	}
	buf := make([]byte, stream.HeaderSize+stream.SegmentSize)
	if n := m.next(buf, 1, false, always); n != stream.HeaderSize || buf[12] != byte(stream.RST) {
		t.Errorf("sent %x, want an RST", buf[:n])
	}
}

// Unread crumbs cost memory in proportion to their bytes.
func TestReceiverPacksSmallSegments(t *testing.T) {
	shared := newReceiveMemory(1 << 30)
	m := openMachine(t, shared)
	for i := range 100_000 {
		h := stream.Header{Sequence: uint32(i), Flags: stream.ACK}
		m.receive(stream.Packet{Header: h, Payload: copyBuffer([]byte{byte(i)})}, false, 1)
	}
	if m.receiver.buffered != 100_000 {
		t.Fatalf("%d bytes are there", m.receiver.buffered)
	}
	if n := m.receiver.chunks.len(); n > 100_000/packBlock+3 {
		t.Errorf("%d chunks for 100,000 bytes", n)
	}
	if used := shared.total.used.Load(); used > 110_000 {
		t.Errorf("%d bytes are reserved for 100,000", used)
	}
	buf := make([]byte, 100_000)
	if n, _ := m.read(buf, 1); n != len(buf) {
		t.Fatalf("read %d bytes", n)
	}
	for i := range buf {
		if buf[i] != byte(i) {
			t.Fatalf("byte %d is %d", i, buf[i])
		}
	}
	if used := shared.total.used.Load(); used != 0 {
		t.Errorf("%d bytes are reserved for nothing", used)
	}
}

// Large segments out of order are bounded by their memory, and what is kept of
// them is freed when the stream ends, from either side.
func TestReceiverBoundsEarlyBytes(t *testing.T) {
	for _, end := range []stream.Flags{stream.RST, 0} {
		shared := newReceiveMemory(1 << 30)
		m := openMachine(t, shared)
		for i := range uint32(70) {
			// The smallest that take a large buffer, so that they fit into the window.
			h := stream.Header{Sequence: 1 + i*(smallBuffer+1), Flags: stream.ACK}
			m.receive(stream.Packet{Header: h, Payload: getBuffer(smallBuffer + 1)}, false, 1)
		}
		if used := shared.total.used.Load(); used > maxEarlyBytes || used < maxEarlyBytes/2 {
			t.Errorf("%d bytes are reserved, want at most %d", used, maxEarlyBytes)
		}
		if end != 0 {
			m.receive(stream.Packet{Header: stream.Header{Flags: end}}, false, 1)
		} else {
			m.abort(net.ErrClosed)
		}
		if used := shared.total.used.Load(); used != 0 {
			t.Errorf("%d bytes are still reserved", used)
		}
	}
}

// machineDriver turns bytes into events for a machine.
type machineDriver struct {
	input  []byte
	m      *machine
	memory *receiveMemory
	now    time.Duration
	buf    [stream.HeaderSize + stream.SegmentSize]byte
}

func (d *machineDriver) byte() byte {
	if len(d.input) == 0 {
		return 0
	}
	b := d.input[0]
	d.input = d.input[1:]
	return b
}

func (d *machineDriver) number() uint32 {
	var b [4]byte
	n := copy(b[:], d.input)
	d.input = d.input[n:]
	return binary.BigEndian.Uint32(b[:])
}

// near is a number close to base, or any.
func (d *machineDriver) near(base uint32) uint32 {
	if offset := d.byte(); offset < 250 {
		return base + uint32(offset) - 100
	}
	return d.number()
}

// step does one event.
func (d *machineDriver) step() {
	m := d.m
	switch op := d.byte() % 12; op {
	case 0, 1, 2, 3: // a packet, likely plausible
		h := stream.Header{
			SourcePort: 42, DestinationPort: 49152,
			Flags: stream.Flags(d.byte()), Sequence: d.near(uint32(m.receiver.next)),
			Acknowledgment: d.near(m.sender.highest), Window: d.number() & stream.MaxWindow,
		}
		if op < 3 {
			h.Flags = stream.ACK | h.Flags&stream.FIN
		}
		size := int(d.byte()) * int(d.byte())
		m.receive(stream.Packet{Header: h, Payload: copyBuffer(make([]byte, size))}, d.byte()%4 != 0, d.now)
	case 4, 5:
		d.now += time.Duration(d.byte()) * 40 * time.Millisecond
		m.expire(d.now)
	case 6:
		if m.writable() {
			m.sender.write(make([]byte, int(d.byte())*int(d.byte())))
		}
	case 7:
		m.read(make([]byte, int(d.byte())*int(d.byte())), d.now)
	case 8:
		refuse := d.byte()
		for range 8 {
			if m.next(d.buf[:], d.now, refuse&1 != 0, func(int) bool { return refuse&2 == 0 }) == 0 {
				break
			}
		}
	case 9:
		if at := m.deadline(d.now); at != 0 {
			d.now = max(d.now, at)
			m.expire(d.now)
		}
	case 10:
		switch d.byte() % 32 {
		case 0:
			m.close(d.now)
		case 1:
			m.abort(net.ErrClosed)
		case 2, 3, 4:
			m.end()
		}
	case 11:
		m.trim()
	}
}

// check fails when a bound or an invariant is broken.
func (d *machineDriver) check(t *testing.T) {
	t.Helper()
	s, r := &d.m.sender, &d.m.receiver
	switch {
	case s.una > s.next || s.next > s.highest && s.segments.len() > 0 && s.again < s.segments.len():
		t.Fatalf("una %d next %d highest %d", s.una, s.next, s.highest)
	case s.pendingBytes > maxPending || s.unacked() > maxFlight+stream.SegmentSize:
		t.Fatalf("%d bytes pending, %d under way", s.pendingBytes, s.unacked())
	case s.again > s.segments.len():
		t.Fatalf("again %d of %d", s.again, s.segments.len())
	case len(r.early) > maxEarly || r.earlyBytes > maxEarlyBytes:
		t.Fatalf("%d segments, %d bytes out of order", len(r.early), r.earlyBytes)
	case r.buffered > stream.DefaultWindow+stream.MaxPayload:
		t.Fatalf("%d bytes unread", r.buffered)
	case d.memory.total.used.Load() < 0 || d.memory.total.used.Load() > 4*(stream.DefaultWindow+stream.MaxPayload)+maxEarlyBytes:
		t.Fatalf("%d bytes reserved", d.memory.total.used.Load())
	}
	unread := 0
	for i := range r.chunks.len() {
		c := r.chunks.at(i)
		unread += len(c.data) - c.off
	}
	if unread != r.buffered {
		t.Fatalf("%d bytes unread, counted %d", unread, r.buffered)
	}
	under := 0
	for i := range s.segments.len() {
		under += len(s.segments.at(i).data)
	}
	if under < s.unacked() {
		t.Fatalf("%d bytes in segments, %d under way", under, s.unacked())
	}
}

// Bytes drive a machine: no panic, every bound kept, no memory left behind.
//
// Bar S01
func FuzzStreamConn(f *testing.F) {
	f.Add([]byte("\x00\x06\xff\xff\x08\x00\x00\x10\x64\x64\x00\x00\x08\x00\x00\x10\x10"))
	f.Add([]byte("\x01\x06\xff\x80\x08\x00\x05\xff\x09\x09\x09\x09\x08\x00\x0a\x02\x08\x00\x09\x08\x00"))
	f.Add([]byte("\x01\x00\x04\x64\x64\x00\x08\x00\x00\xff\xff\x01\x00\x02\xc8\x64\x00\x00\x00\x00\x40\x40\x01\x07\xff\xff"))
	f.Add([]byte("\x02\x00\x02\x64\x64\x00\x08\x00\x00\x00\x00\x01\x06\x20\x20\x08\x00\x04\xff\x0a\x00\x08\x00\x09\x09\x08\x00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		d := &machineDriver{input: input, memory: newReceiveMemory(3 << 20)}
		switch d.byte() % 3 {
		case 0:
			d.m = openMachine(t, d.memory)
		case 1:
			d.m = newDialer(49152, 42, memoryFor(d.memory), 0)
		case 2:
			d.m = newAcceptor(stream.ControlHeader(42, 49152, stream.SYN), memoryFor(d.memory), 0)
		}
		for len(d.input) > 0 {
			d.step()
			d.check(t)
		}
		d.m.close(d.now)
		// Left alone, the machine ends by itself.
		for i := 0; d.m.state != stateDead; i++ {
			for d.m.next(d.buf[:], d.now, false, always) > 0 {
				d.check(t)
			}
			at := d.m.deadline(d.now)
			if at == 0 || i > 1000 {
				t.Fatalf("the machine does not end: state %d, deadline %v, round %d", d.m.state, at, i)
			}
			d.now = max(d.now, at)
			d.m.expire(d.now)
		}
		if used := d.memory.total.used.Load(); used != 0 {
			t.Fatalf("%d bytes are still reserved", used)
		}
	})
}
