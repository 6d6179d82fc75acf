// SPDX-License-Identifier: MPL-2.0

package stream

import (
	"encoding/binary"
	"errors"
)

// Sizes of the format, in bytes.
const (
	// HeaderSize is what precedes the payload.
	HeaderSize = 16
	// MaxPacket is the largest packet the reference reads.
	MaxPacket = 65535
	// MaxPayload is the largest payload that may be sent: the reference keeps
	// 131 bytes of MaxPacket free for the network below.
	MaxPayload = MaxPacket - HeaderSize - 131
	// SegmentSize is the largest payload that a stream's sender puts into one
	// packet. Receivers accept up to MaxPayload.
	SegmentSize = 16384
)

// Window sizes, in bytes.
const (
	// DefaultWindow is the receive window of an empty connection and what a
	// sender assumes of its peer before the first packet.
	DefaultWindow = 512 << 10
	// MaxWindow is the largest window the 24-bit field can tell.
	MaxWindow = 1<<24 - 1
)

// Errors of the codec.
var (
	// ErrShort is returned for bytes that cannot hold a header.
	ErrShort = errors.New("packet is shorter than its header")
	// ErrLong is returned when a payload exceeds MaxPayload.
	ErrLong = errors.New("payload is longer than a packet carries")
)

// Flags say what a packet is for. Unknown bits are kept and mean nothing.
type Flags uint8

// The flags of the format.
const (
	SYN      Flags = 0x01 // asks for a connection
	ACK      Flags = 0x02 // Acknowledgment and Window are meant
	FIN      Flags = 0x04 // the sender has sent its last byte
	RST      Flags = 0x08 // the connection is gone
	Datagram Flags = 0x10 // a datagram, whatever else is set
)

// Has reports whether all flags of f2 are set.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// Header is a packet without its payload.
type Header struct {
	SourcePort      uint16
	DestinationPort uint16
	// Sequence is the offset of the first payload byte in its direction of the
	// stream. Both directions start at 0, a SYN takes no number, a FIN takes one.
	// It is 0 in packets without payload, except FIN.
	Sequence uint32
	// Acknowledgment is the next byte expected; 0 where ACK is not set.
	Acknowledgment uint32
	Flags          Flags
	// Window is how many bytes the sender of this packet can still buffer. Only
	// the low 24 bits are sent.
	Window uint32
}

// Packet is one ygg_stream packet.
type Packet struct {
	Header
	Payload []byte
}

// Parse reads one packet. The payload aliases b and is not checked against
// MaxPayload, because the reference accepts more than it sends.
func Parse(b []byte) (Packet, error) {
	if len(b) < HeaderSize {
		return Packet{}, ErrShort
	}
	control := binary.BigEndian.Uint32(b[12:])
	return Packet{
		Header: Header{
			SourcePort:      binary.BigEndian.Uint16(b[0:]),
			DestinationPort: binary.BigEndian.Uint16(b[2:]),
			Sequence:        binary.BigEndian.Uint32(b[4:]),
			Acknowledgment:  binary.BigEndian.Uint32(b[8:]),
			Flags:           Flags(control >> 24),
			Window:          control & MaxWindow,
		},
		Payload: b[HeaderSize:],
	}, nil
}

// AppendTo appends the 16 header bytes to b.
func (h Header) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.SourcePort)
	b = binary.BigEndian.AppendUint16(b, h.DestinationPort)
	b = binary.BigEndian.AppendUint32(b, h.Sequence)
	b = binary.BigEndian.AppendUint32(b, h.Acknowledgment)
	return binary.BigEndian.AppendUint32(b, uint32(h.Flags)<<24|h.Window&MaxWindow)
}

// AppendTo appends the packet to b, or returns b unchanged and ErrLong.
func (p Packet) AppendTo(b []byte) ([]byte, error) {
	if len(p.Payload) > MaxPayload {
		return b, ErrLong
	}
	return append(p.Header.AppendTo(b), p.Payload...), nil
}

// ControlHeader is a packet that opens a stream or refuses one: SYN, its answer
// SYN|ACK, or RST.
func ControlHeader(from, to uint16, flags Flags) Header {
	return Header{SourcePort: from, DestinationPort: to, Flags: flags, Window: DefaultWindow}
}

// DatagramHeader precedes a datagram. It has no source port: a reply can only
// go to a port that the application's protocol fixes.
func DatagramHeader(to uint16) Header {
	return Header{DestinationPort: to, Flags: Datagram, Window: DefaultWindow}
}
