// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

// The hand peer speaks ygg_stream packet by packet, as the test says. It is
// written from the protocol's description and shares no code with the carrier
// or its codec, so it can behave as the reference does, and worse.

const (
	flagSYN = 0x01
	flagACK = 0x02
	flagFIN = 0x04
	flagRST = 0x08
	flagDG  = 0x10
)

// handPacket is a packet with the other side's port in theirs, ours in ours.
type handPacket struct {
	ours, theirs uint16
	seq, ack     uint32
	flags        byte
	window       uint32
	payload      []byte
}

func (p handPacket) String() string {
	return fmt.Sprintf("flags %02x seq %d ack %d window %d payload %d", p.flags, p.seq, p.ack, p.window, len(p.payload))
}

type handPeer struct {
	t        *testing.T
	endpoint *memnet.Endpoint
	node     *memnet.Node
	packets  chan []byte
	// ours and theirs are the ports of the stream at hand.
	ours, theirs uint16
}

// newHandPeer adds a hand peer that talks to node.
func newHandPeer(t *testing.T, n *memnet.Net, node *memnet.Node) *handPeer {
	t.Helper()
	h := &handPeer{t: t, endpoint: n.NewEndpoint(), node: node, packets: make(chan []byte, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := h.endpoint.ReadPacket(buf)
			if err != nil {
				return
			}
			h.packets <- bytes.Clone(buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = h.endpoint.Close()
		<-done
	})
	return h
}

func (h *handPeer) raw(b []byte) {
	h.t.Helper()
	if err := h.endpoint.WritePacket(b, h.node.Key()); err != nil {
		h.t.Fatal(err)
	}
}

// send sends a packet of the stream at hand.
func (h *handPeer) send(flags byte, seq, ack, window uint32, payload []byte) {
	h.t.Helper()
	b := binary.BigEndian.AppendUint16(nil, h.ours)
	b = binary.BigEndian.AppendUint16(b, h.theirs)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, flags, byte(window>>16), byte(window>>8), byte(window))
	h.raw(append(b, payload...))
}

const fullWindow = 0x080000

func (h *handPeer) sendACK(ack uint32)               { h.send(flagACK, 0, ack, fullWindow, nil) }
func (h *handPeer) sendData(seq uint32, data []byte) { h.send(flagACK, seq, 0, fullWindow, data) }
func (h *handPeer) sendBareFIN(seq uint32)           { h.send(flagFIN, seq, 0, 0, nil) }
func (h *handPeer) sendRST()                         { h.send(flagRST, 0, 0, fullWindow, nil) }
func (h *handPeer) sendSYN()                         { h.send(flagSYN, 0, 0, fullWindow, nil) }
func (h *handPeer) sendSYNACK()                      { h.send(flagSYN|flagACK, 0, 0, fullWindow, nil) }

// receive returns the next packet within d.
func (h *handPeer) receive(d time.Duration) (handPacket, bool) {
	h.t.Helper()
	select {
	case b := <-h.packets:
		if len(b) < 16 {
			h.t.Fatalf("packet of %d bytes: %x", len(b), b)
		}
		return handPacket{
			theirs: binary.BigEndian.Uint16(b), ours: binary.BigEndian.Uint16(b[2:]),
			seq: binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]), flags: b[12],
			window: uint32(b[13])<<16 | uint32(b[14])<<8 | uint32(b[15]), payload: b[16:],
		}, true
	case <-time.After(d):
		return handPacket{}, false
	}
}

// expect returns the next packet and fails when there is none within a minute
// of virtual time.
func (h *handPeer) expect(what string, flags byte) handPacket {
	h.t.Helper()
	p, ok := h.receive(time.Minute)
	if !ok {
		h.t.Fatalf("no packet, want %s", what)
	}
	if p.flags != flags {
		h.t.Fatalf("got %v, want %s", p, what)
	}
	return p
}

// expectBytes fails unless the next packet is exactly this one.
func (h *handPeer) expectBytes(what, want string) {
	h.t.Helper()
	select {
	case b := <-h.packets:
		if got := hex.EncodeToString(b); got != want {
			h.t.Fatalf("%s is %s, want %s", what, got, want)
		}
	case <-time.After(time.Minute):
		h.t.Fatalf("no packet, want %s", what)
	}
}

// expectSilence fails when a packet comes within d.
func (h *handPeer) expectSilence(d time.Duration) {
	h.t.Helper()
	if p, ok := h.receive(d); ok {
		h.t.Fatalf("got %v, want nothing for %v", p, d)
	}
}

// drain forgets packets that have come.
func (h *handPeer) drain() {
	synctest.Wait()
	for len(h.packets) > 0 {
		<-h.packets
	}
}

// open opens a stream to the node's port and returns the node's end of it.
func (h *handPeer) open(l overlay.Listener, port uint16) overlay.Conn {
	h.t.Helper()
	h.ours, h.theirs = port, l.Port()
	h.sendSYN()
	h.expect("SYN-ACK", flagSYN|flagACK)
	h.sendACK(0)
	return mustAccept(h.t, l)
}

// accept lets the node open a stream to the peer's port.
func (h *handPeer) accept(port uint16) overlay.Conn {
	h.t.Helper()
	type result struct {
		c   overlay.Conn
		err error
	}
	results := make(chan result, 1)
	go func() {
		c, err := h.node.Dial(h.t.Context(), h.endpoint.Key(), port)
		results <- result{c, err}
	}()
	syn := h.expect("SYN", flagSYN)
	h.ours, h.theirs = port, syn.theirs
	h.sendSYNACK()
	h.expect("handshake ACK", flagACK)
	r := <-results
	if r.err != nil {
		h.t.Fatal(r.err)
	}
	return r.c
}

// withHandPeer runs a test in virtual time with a node that listens on port 42
// and a hand peer.
func withHandPeer(t *testing.T, f func(t *testing.T, h *handPeer, l overlay.Listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{})
		h := newHandPeer(t, n, node)
		f(t, h, mustListen(t, node))
	})
}
