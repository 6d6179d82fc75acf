// SPDX-License-Identifier: MPL-2.0

package legacy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Port is the TCP port of gen1, of peers and, as UDP, of trackers.
const Port uint16 = 5050

// ErrUnreadable says that a frame cannot be read by the apps of a generation and
// must not be sent to them.
var ErrUnreadable = errors.New("the generation cannot read this frame")

// Generation is one of the two generations that this package knows.
type Generation uint8

// The generations.
const (
	// Gen1 is TCP over Yggdrasil's IPv6.
	Gen1 Generation = 1
	// Gen2 is QUIC over Yggdrasil's packets.
	Gen2 Generation = 2
)

// String returns "gen1" or "gen2".
func (g Generation) String() string { return fmt.Sprintf("generation %d", uint8(g)) }

// headerSize is the length of every frame's header.
const headerSize = 16

// MaxPayload is the payload of a MESSAGE. Ours: attachments travel inside of it,
// and the apps send files of up to 10 MiB.
const MaxPayload = 16 << 20

// knows reports whether frames of that type may be sent to, and come from, apps
// of the generation.
func (g Generation) knows(t peer.FrameType) bool {
	switch t {
	case peer.FrameHello, peer.FrameChallenge, peer.FrameChallengeAnswer, peer.FrameChallenge2, peer.FrameChallengeAnswer2,
		peer.FrameInfoRequest, peer.FrameInfoResponse, peer.FrameMessage, peer.FrameOK:
		return true
	case peer.FramePing, peer.FramePong, peer.FrameCallOffer, peer.FrameCallAnswer, peer.FrameCallHang, peer.FrameCallPacket:
		return g == Gen2
	}
	return false
}

// Reads reports whether apps of the generation can read a frame. A message of a
// type they do not know is shown as text there, so it counts as unreadable, and
// so does an attachment that is not inline.
func (g Generation) Reads(f peer.Frame) bool {
	if _, unknown := f.(peer.Unknown); unknown {
		return false
	}
	m, ok := f.(peer.Message)
	if !ok {
		return g.knows(f.FrameType())
	}
	switch m.Type {
	case peer.TypeText:
		return true
	case peer.TypeImage:
		return storedSize(m) >= 0
	case peer.TypeFile:
		return g == Gen2 && storedSize(m) >= 0
	case peer.TypeReaction:
		return g == Gen2
	}
	return false
}

// Append appends a frame as the generation writes it, header and body, to be
// written at once: apps of gen2 hang when a header comes in pieces. It
// returns [ErrUnreadable] for what the generation cannot read.
func (g Generation) Append(b []byte, f peer.Frame) ([]byte, error) {
	if !g.Reads(f) {
		return b, fmt.Errorf("%s to %v: %w", f.FrameType(), g, ErrUnreadable)
	}
	start := len(b)
	switch f := f.(type) {
	case peer.Message:
		return appendMessage(b, f), nil
	case peer.InfoResponse:
		b = f.AppendTo(b)
		size := b[start+8 : start+headerSize]
		binary.BigEndian.PutUint64(size, binary.BigEndian.Uint64(size)+8)
		return b, nil
	default:
		return f.AppendTo(b), nil
	}
}

// ReadFrame reads one frame of a session, that is after the handshake. A type
// that has no place there is a violation: nobody can tell where it ends. Errors
// are those of [peer.ReadFrame]. limits.Skip is not used.
func (g Generation) ReadFrame(src *bufio.Reader, limits peer.Limits) (peer.Frame, error) {
	if limits.Payload == 0 {
		limits.Payload = MaxPayload
	}
	t, size, err := peekHeader(src)
	switch {
	case err != nil:
		return nil, err
	case !g.knows(t) || isHandshake(t):
		return nil, wire.NewViolation(wire.CodeFrameType, "type %d in a session of generation %d", t, g)
	case t == peer.FrameMessage && limits.SkipPayload:
		return peer.Unknown{Type: t, Size: size}, skipMessage(src, limits.Payload)
	case t == peer.FrameMessage:
		return readMessage(src, limits.Payload)
	}
	return peer.ReadFrame(src, limits)
}

// isHandshake reports whether a type belongs to the handshake only.
func isHandshake(t peer.FrameType) bool {
	return t >= peer.FrameHello && t <= peer.FrameChallengeAnswer2
}

// peekHeader returns type and size of the next frame and leaves the header where
// it is. Errors are those of [peer.ReadFrame].
func peekHeader(src *bufio.Reader) (t peer.FrameType, size int64, err error) {
	raw, err := src.Peek(headerSize)
	if err != nil {
		switch {
		case !errors.Is(err, io.EOF):
			err = fmt.Errorf("read header: %w", err)
		case len(raw) > 0:
			err = fmt.Errorf("read header: %w", io.ErrUnexpectedEOF)
		}
		return 0, 0, err
	}
	c := wire.NewCursor(raw)
	c.Uint32("stream")
	return peer.FrameType(c.Int32("type")), c.Int64("size"), nil
}
