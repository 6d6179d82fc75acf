// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/binary"
	"strings"
	"unicode"
)

const (
	serverHeaderSize = 7
	// maxRefusal is what is kept of a refusal's text, in bytes. Ours.
	maxRefusal = 256
)

// ServerFrame takes a frame of the protocols of file servers and mediators: first
// is the command of a request or the status of an answer. A payload above limit is
// a violation.
func (r *Reader) ServerFrame(field string, limit int) (first byte, id uint16, payload []byte) {
	header := r.Header(serverHeaderSize)
	if r.Err() != nil {
		return 0, 0, nil
	}
	first, id = header[0], binary.BigEndian.Uint16(header[1:])
	payload = r.Bytes(field, int64(binary.BigEndian.Uint32(header[3:])), limit)
	return first, id, payload
}

// AppendServerFrame appends the header of a frame for [Reader.ServerFrame]. The
// payload follows it, and then FinishServerFrame with start fills the length in.
func AppendServerFrame(b []byte, first byte, id uint16) (_ []byte, start int) {
	b = binary.BigEndian.AppendUint16(append(b, first), id)
	b = AppendUint32(b, 0)
	return b, len(b)
}

// FinishServerFrame ends the frame that AppendServerFrame has begun.
func FinishServerFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	return b
}

// Refusal returns the text in the payload of a refusal, which [AppendShortText]
// writes: cut, and on one line, without characters that steer a terminal or turn
// the direction of writing, because it ends up in logs and rooms. A malformed
// payload gives what is readable of it.
func Refusal(payload []byte) string {
	if len(payload) < 2 {
		return ""
	}
	rest := payload[2:]
	text := string(rest[:min(int(binary.BigEndian.Uint16(payload)), len(rest), maxRefusal)])
	return strings.Map(func(c rune) rune {
		if unicode.In(c, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, ""))
}
