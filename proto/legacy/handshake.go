// SPDX-License-Identifier: MPL-2.0

package legacy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// maxPings is how many pings are answered during a handshake, which lasts less
// than one interval between two of them. Ours.
const maxPings = 4

// helloSize is the body of a HELLO without address.
const helloSize = 80

// Handshake is [peer.Handshake] in the framing of a generation. The machine is
// the same; only [Handshake.Drive] is not.
//
// The apps take any frame in any state, so anybody can write as anybody there.
// Here nothing but the handshake is read before both sides are authenticated, and
// one signature is given per role and connection.
type Handshake struct {
	*peer.Handshake
	generation Generation
	address    netip.Addr
	own        netip.Addr
	asked      *peer.InfoRequest
	pings      int
}

// NewHandshake drives a machine that has not been started.
func (g Generation) NewHandshake(machine *peer.Handshake) *Handshake {
	return &Handshake{Handshake: machine, generation: g}
}

// Address is the IPv6 address in a HELLO of gen1: its sender sits behind
// a router, in its subnet. It is invalid when there was none. Nothing proves it;
// see [InSubnetOf].
func (h *Handshake) Address() netip.Addr { return h.address }

// ClaimAddress makes an initiator of gen1 say that others reach it at an
// address behind a router, from whose address it comes. Any other address is not said.
func (h *Handshake) ClaimAddress(own netip.Addr) {
	if h.generation == Gen1 && own.Is6() && own.As16()[0] == 0x03 {
		h.own = own
	}
}

// Asked is the INFO_REQUEST that an acceptor of gen1 sends before we know
// who it is, nil without one. It is to be answered after the handshake.
func (h *Handshake) Asked() *peer.InfoRequest { return h.asked }

// Drive sends what p says, then reads, steps and sends until the next event. It
// is peer.Handshake.Drive in the framing of the generation.
func (h *Handshake) Drive(src *bufio.Reader, dst io.Writer, p peer.Progress) (peer.Event, error) {
	for {
		if err := h.send(dst, p.Send); err != nil {
			return peer.EventNone, err
		}
		if p.Event != peer.EventNone {
			return p.Event, nil
		}
		f, err := h.read(src, dst)
		if err == nil {
			p, err = h.Step(f)
		}
		if err != nil {
			return peer.EventNone, err
		}
	}
}

func (h *Handshake) send(dst io.Writer, frames []peer.Frame) error {
	var b []byte
	for _, f := range frames {
		if hello, ok := f.(peer.Hello); ok && h.own.IsValid() {
			b = appendHello(b, hello, h.own)
			continue
		}
		b = f.AppendTo(b)
	}
	if len(b) == 0 {
		return nil
	}
	if _, err := dst.Write(b); err != nil {
		return fmt.Errorf("write handshake: %w", err)
	}
	return nil
}

// read returns the next frame of the handshake, and deals with what else a
// generation may say meanwhile.
func (h *Handshake) read(src *bufio.Reader, dst io.Writer) (peer.Frame, error) {
	for {
		t, size, err := peekHeader(src)
		switch {
		case err != nil:
			return nil, err
		case t == peer.FrameHello && h.generation == Gen1 && size > helloSize:
			return h.readHello(src)
		case t == peer.FrameInfoRequest && h.generation == Gen1 && h.IsInitiator() && h.asked == nil:
			if err := h.readAsked(src); err != nil {
				return nil, err
			}
		case (t == peer.FramePing || t == peer.FramePong) && h.generation == Gen2 && h.pings < maxPings:
			h.pings++
			if err := answerPing(src, dst); err != nil {
				return nil, err
			}
		default:
			return peer.ReadHandshakeFrame(src)
		}
	}
}

// appendHello writes a HELLO of gen1 with an address.
func appendHello(b []byte, f peer.Hello, own netip.Addr) []byte {
	start := len(b)
	b = f.AppendTo(b)
	address := own.As16()
	b = wire.AppendBlob(b, address[:])
	binary.BigEndian.PutUint64(b[start+8:], uint64(len(b)-start-headerSize))
	return b
}

// readHello reads a HELLO of gen1 with an address.
func (h *Handshake) readHello(src *bufio.Reader) (peer.Frame, error) {
	var f peer.Hello
	var address [16]byte
	r := wire.NewReader(src)
	r.Header(headerSize)
	f.Version = r.Int32()
	r.FixedBlob("sender", f.Sender[:])
	r.FixedBlob("receiver", f.Receiver[:])
	f.ClientID = r.Uint32()
	r.FixedBlob("address", address[:])
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", peer.FrameHello, err)
	}
	h.address = netip.AddrFrom16(address)
	return f, nil
}

func (h *Handshake) readAsked(src *bufio.Reader) error {
	f, err := peer.ReadFrame(src, peer.Limits{})
	if err != nil {
		return err
	}
	asked := f.(peer.InfoRequest) // the header said so
	h.asked = &asked
	return nil
}

func answerPing(src *bufio.Reader, dst io.Writer) error {
	f, err := peer.ReadFrame(src, peer.Limits{})
	if err != nil {
		return err
	}
	if f.FrameType() != peer.FramePing {
		return nil
	}
	if _, err := dst.Write(peer.Pong{}.AppendTo(nil)); err != nil {
		return fmt.Errorf("write pong: %w", err)
	}
	return nil
}

// InSubnetOf reports whether an address that a HELLO claims lies in the subnet that
// the Yggdrasil node at source routes: an address of 300::/8 whose next seven
// bytes are those of the node's.
func InSubnetOf(claimed, source netip.Addr) bool {
	if !claimed.Is6() || !source.Is6() {
		return false
	}
	c, s := claimed.As16(), source.As16()
	return c[0] == 0x03 && s[0] == 0x02 && [7]byte(c[1:8]) == [7]byte(s[1:8])
}
