// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"

	"github.com/mimird/mimird/proto/wire"
)

// FileMeta precedes the bytes of a file in a message of [TypeFileResponse]. Take
// such a message only for a pending request with that guid, put the file where
// the request says, and compare its hash: all of this is the sender's word.
type FileMeta struct {
	// Name is as sent; never make a path of it.
	Name string
	// Hash is the SHA-256 of the file in hex, if the sender is honest.
	Hash string
	// Size is the sender's word too; the number of bytes that follow is what
	// [ReadFileMeta] returns beside it.
	Size int64
}

// AppendTo appends length and JSON. The bytes of the file follow them.
func (m FileMeta) AppendTo(b []byte) []byte {
	start := len(b)
	b = wire.AppendInt32(b, 0)
	b = append(b, `{"hash":`...)
	b = wire.AppendJSONText(b, m.Hash)
	b = append(b, `,"name":`...)
	b = wire.AppendJSONText(b, m.Name)
	b = append(b, ',')
	b = append(appendMember(b, "size", m.Size), '}')
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// ReadFileMeta reads the description at the start of dataSize bytes of data and
// returns how many bytes of the file follow. A description that does not fit
// into the data is a violation.
func ReadFileMeta(src *bufio.Reader, dataSize int64) (meta FileMeta, fileSize int64, err error) {
	if dataSize < 4 {
		return FileMeta{}, 0, wire.NewViolation(wire.CodeTruncated, "file response of %d bytes", dataSize)
	}
	r := wire.NewReader(src)
	raw := r.Blob("file meta", int(min(wire.MaxJSON, dataSize-4)))
	if err := r.Err(); err != nil {
		return FileMeta{}, 0, frameError("file meta", err)
	}
	if meta, err = parseFileMeta(raw); err != nil {
		return FileMeta{}, 0, fmt.Errorf("read file meta: %w", err)
	}
	return meta, dataSize - 4 - int64(len(raw)), nil
}

func parseFileMeta(raw []byte) (FileMeta, error) {
	o, err := wire.ParseObject(raw)
	if err != nil {
		return FileMeta{}, err
	}
	m := FileMeta{Size: o.Int64("size")}
	if m.Name, err = o.Text("name", wire.MaxFileName); err != nil {
		return FileMeta{}, err
	}
	if m.Hash, err = o.Text("hash", wire.MaxHashText); err != nil {
		return FileMeta{}, err
	}
	return m, nil
}
