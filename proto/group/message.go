// SPDX-License-Identifier: MPL-2.0

package group

import (
	"bufio"
	"bytes"
	"encoding/binary"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// AppendMessage appends the plaintext of a message, to be sealed: a whole MESSAGE frame
// of the peer protocol. Its header says 16 and the length of the payload, as the
// Android app writes it; readers ignore that.
func AppendMessage(b []byte, m peer.Message) []byte {
	start := len(b)
	b = m.AppendTo(b)
	binary.BigEndian.PutUint64(b[start+8:], uint64(16+len(m.Payload)))
	return b
}

// ParseMessage parses the plaintext of a message with a payload of at most limit
// bytes. The guid is not 0: apps drop a message without one. Author and time of
// sending are the mediator's and the author's word. Errors are violations.
func ParseMessage(text []byte, limit int) (peer.Message, error) {
	src := bufio.NewReader(bytes.NewReader(text))
	frame, err := peer.ReadFrame(src, peer.Limits{Payload: limit, Skip: len(text)})
	if err != nil {
		if wire.ViolationCode(err) != "" {
			return peer.Message{}, err
		}
		return peer.Message{}, wire.NewViolation(wire.CodeTruncated, "group message ends early, after %d bytes", len(text))
	}
	m, ok := frame.(peer.Message)
	switch {
	case !ok:
		return peer.Message{}, wire.NewViolation(wire.CodeFrameType, "frame %d inside of a group message", frame.FrameType())
	case m.GUID == 0:
		return peer.Message{}, wire.NewViolation(wire.CodeMissing, "guid: absent")
	}
	return m, nil
}
