// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"bufio"
	"encoding/binary"

	"github.com/mimird/mimird/proto/wire"
)

// Head is the beginning of a request. A mediator looks at it before it takes memory for
// the payload, which follows: [Head.Call] or [Head.Skip] reads that.
type Head struct {
	Command Command
	ID      uint16
	// Size is the length of the payload in bytes.
	Size int
}

// ReadHead reads the beginning of a request. An error ends the connection: that of the
// stream, or a violation when the payload is longer than wire.MaxMediatorRequest.
func ReadHead(src *bufio.Reader) (Head, error) {
	r := wire.NewReader(src)
	b := r.Header(7)
	if r.Err() != nil {
		return Head{}, r.Err()
	}
	size := binary.BigEndian.Uint32(b[3:])
	if size > wire.MaxMediatorRequest {
		return Head{}, wire.NewViolation(wire.CodeLength, "request: %d bytes, at most %d", size, wire.MaxMediatorRequest)
	}
	return Head{Command: Command(b[0]), ID: binary.BigEndian.Uint16(b[1:]), Size: int(size)}, nil
}

// Call reads the payload. Memory follows the bytes that arrive.
func (h Head) Call(src *bufio.Reader) (Call, error) {
	r := wire.NewReader(src)
	payload := r.Bytes("request", int64(h.Size), wire.MaxMediatorRequest)
	return Call{Command: h.Command, ID: h.ID, payload: payload}, r.Err()
}

// Skip reads over the payload.
func (h Head) Skip(src *bufio.Reader) error {
	r := wire.NewReader(src)
	r.Skip("request", int64(h.Size), wire.MaxMediatorRequest)
	return r.Err()
}
