// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/mimird/mimird/proto/wire"
)

// Port is the ygg_stream port on which peers listen, and which they dial.
const Port uint16 = 42

// Role is the first byte of every stream between peers.
type Role byte

// The roles. A stream with any other is dropped.
const (
	RoleControl Role = 0x00
	RoleData    Role = 0x01
)

// ReadRole reads the first byte of a stream. Any other role is a violation.
func ReadRole(src *bufio.Reader) (Role, error) {
	b, err := src.ReadByte()
	if err != nil {
		return 0, err
	}
	if role := Role(b); role == RoleControl || role == RoleData {
		return role, nil
	}
	return 0, wire.NewViolation(wire.CodeCommand, "stream role %d", b)
}

// FrameType is the type field of a control frame.
type FrameType int32

// The frame types.
const (
	FrameHello            FrameType = 1
	FrameChallenge        FrameType = 2
	FrameChallengeAnswer  FrameType = 3
	FrameChallenge2       FrameType = 4
	FrameChallengeAnswer2 FrameType = 5
	FrameInfoRequest      FrameType = 6
	FrameInfoResponse     FrameType = 7
	FramePing             FrameType = 8
	FramePong             FrameType = 9
	FrameMessage          FrameType = 1000
	FrameCallOffer        FrameType = 2000
	FrameCallAnswer       FrameType = 2001
	FrameCallHang         FrameType = 2002
	FrameCallPacket       FrameType = 2003
	FrameContactRequest   FrameType = 3000
	FrameContactResponse  FrameType = 3001
	FrameFileRequest      FrameType = 4000
	FrameOK               FrameType = 32767
)

// String returns the name of a type, "UNKNOWN" for all others: a fixed set, fit
// for a metric label.
func (t FrameType) String() string {
	switch t {
	case FrameHello:
		return "HELLO"
	case FrameChallenge:
		return "CHALLENGE"
	case FrameChallengeAnswer:
		return "CHALLENGE_ANSWER"
	case FrameChallenge2:
		return "CHALLENGE2"
	case FrameChallengeAnswer2:
		return "CHALLENGE_ANSWER2"
	case FrameInfoRequest:
		return "INFO_REQUEST"
	case FrameInfoResponse:
		return "INFO_RESPONSE"
	case FramePing:
		return "PING"
	case FramePong:
		return "PONG"
	case FrameMessage:
		return "MESSAGE"
	case FrameCallOffer:
		return "CALL_OFFER"
	case FrameCallAnswer:
		return "CALL_ANSWER"
	case FrameCallHang:
		return "CALL_HANG"
	case FrameCallPacket:
		return "CALL_PACKET"
	case FrameContactRequest:
		return "CONTACT_REQUEST"
	case FrameContactResponse:
		return "CONTACT_RESPONSE"
	case FrameFileRequest:
		return "FILE_REQUEST"
	case FrameOK:
		return "OK"
	}
	return "UNKNOWN"
}

// Frame is one control frame. Frames are plain values; slices in them belong to
// its owner.
type Frame interface {
	// FrameType returns the type that the frame has on the wire.
	FrameType() FrameType
	// AppendTo appends the whole frame, header and body.
	AppendTo(b []byte) []byte
}

// Unknown stands for a frame of a type nobody knows. Its body has been skipped.
type Unknown struct {
	Type FrameType
	// Size is the size field as sent.
	Size int64
}

// FrameType returns the type as sent.
func (f Unknown) FrameType() FrameType { return f.Type }

// AppendTo appends a frame of that type without a body, as the body is gone.
func (f Unknown) AppendTo(b []byte) []byte { return appendHeader(b, f.Type, 0) }

// Limits are what a caller grants to the frames it reads. The zero value stands
// for the limits of proto/wire.
type Limits struct {
	// Payload is the largest payload of a MESSAGE, 0 for wire.MaxControlPayload.
	Payload int
	// Skip is the largest body of an unknown frame, 0 for wire.MaxSkip.
	Skip int
	// SkipPayload passes over the payload of a MESSAGE, which is then returned as
	// [Unknown]: what a stranger writes takes no memory.
	SkipPayload bool
}

func (l Limits) withDefaults() Limits {
	if l.Payload == 0 {
		l.Payload = wire.MaxControlPayload
	}
	if l.Skip == 0 {
		l.Skip = wire.MaxSkip
	}
	return l
}

// headerSize is the length of every control frame's header.
const headerSize = 16

type header struct {
	frameType FrameType
	size      int64
}

func appendHeader(b []byte, t FrameType, size int) []byte {
	b = wire.AppendInt32(b, 0)
	b = wire.AppendInt32(b, int32(t))
	return wire.AppendInt64(b, int64(size))
}

func readHeader(r *wire.Reader) (header, error) {
	raw := r.Header(headerSize)
	if err := r.Err(); err != nil {
		return header{}, err
	}
	c := wire.NewCursor(raw)
	c.Uint32("stream")
	return header{frameType: FrameType(c.Int32("type")), size: c.Int64("size")}, nil
}

// ReadFrame reads one frame of a session, that is after the handshake. Types
// nobody knows, and those of the handshake, are skipped and returned as
// [Unknown].
//
// The error is a *[wire.Violation] when the frame breaks the protocol, io.EOF
// when the stream ended before the frame, io.ErrUnexpectedEOF inside of it, or
// another error of the stream. After any error the stream is of no more use.
func ReadFrame(src *bufio.Reader, limits Limits) (Frame, error) {
	limits = limits.withDefaults()
	r := wire.NewReader(src)
	h, err := readHeader(r)
	if err != nil {
		return nil, frameError("header", err)
	}
	f := readBody(r, h, limits)
	if err := r.Err(); err != nil {
		return nil, frameError(h.frameType.String(), err)
	}
	return f, nil
}

func readBody(r *wire.Reader, h header, limits Limits) Frame {
	switch h.frameType {
	case FramePing:
		return Ping{}
	case FramePong:
		return Pong{}
	case FrameOK:
		return readOK(r)
	case FrameInfoRequest:
		return readInfoRequest(r)
	case FrameInfoResponse:
		return readInfoResponse(r)
	case FrameMessage:
		if limits.SkipPayload {
			return skipMessage(r, h, limits.Payload)
		}
		return readMessage(r, limits.Payload)
	case FrameCallOffer:
		return readCallOffer(r)
	case FrameCallAnswer:
		return readCallAnswer(r)
	case FrameCallHang:
		return CallHang{}
	case FrameCallPacket:
		return readCallPacket(r)
	case FrameContactRequest:
		return readContactRequest(r)
	case FrameContactResponse:
		return readContactResponse(r)
	case FrameFileRequest:
		return readFileRequest(r)
	}
	if h.size > 0 {
		r.Skip("unknown frame", h.size, limits.Skip)
	}
	return Unknown{Type: h.frameType, Size: h.size}
}

// ReadHandshakeFrame reads one frame of a handshake. It skips nothing: a type
// that has no place in a handshake is a violation, and its body stays unread.
// Errors are those of [ReadFrame].
func ReadHandshakeFrame(src *bufio.Reader) (Frame, error) {
	r := wire.NewReader(src)
	h, err := readHeader(r)
	if err != nil {
		return nil, frameError("header", err)
	}
	f := readHandshakeBody(r, h)
	if err := r.Err(); err != nil {
		return nil, frameError(h.frameType.String(), err)
	}
	return f, nil
}

func readHandshakeBody(r *wire.Reader, h header) Frame {
	switch h.frameType {
	case FrameHello:
		return readHello(r, h.size)
	case FrameChallenge:
		return Challenge{Challenge: readChallenge(r)}
	case FrameChallengeAnswer:
		return ChallengeAnswer{Signature: readAnswer(r)}
	case FrameChallenge2:
		return Challenge2{Challenge: readChallenge(r)}
	case FrameChallengeAnswer2:
		return ChallengeAnswer2{Signature: readAnswer(r)}
	case FrameOK:
		return readOK(r)
	}
	r.Fail(wire.NewViolation(wire.CodeFrameType, "type %d in a handshake", h.frameType))
	return nil
}

// frameError leaves io.EOF bare: it is the ordinary end of a session.
func frameError(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("read %s: %w", what, err)
}
