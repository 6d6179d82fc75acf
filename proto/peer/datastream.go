// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"bufio"

	"github.com/mimird/mimird/proto/wire"
)

// DataHeaderSize is the length of a [DataHeader] on the wire.
const DataHeaderSize = 44

// DataHeader begins a frame on a data stream. Size bytes follow, which the caller
// reads or copies itself, in as small pieces as it likes; a file never has to be
// in memory. After each whole frame the receiver sends OK on the control stream.
type DataHeader struct {
	GUID     GUID
	ReplyTo  GUID
	SendTime int64
	EditTime int64
	Type     MessageType
	// Size is how many bytes of data follow.
	Size int64
}

// AppendTo appends the header. The data follows it.
func (h DataHeader) AppendTo(b []byte) []byte {
	b = wire.AppendInt64(b, int64(h.GUID))
	b = wire.AppendInt64(b, int64(h.ReplyTo))
	b = wire.AppendInt64(b, h.SendTime)
	b = wire.AppendInt64(b, h.EditTime)
	b = wire.AppendInt32(b, int32(h.Type))
	return wire.AppendInt64(b, h.Size)
}

// ReadDataHeader reads the header of the next frame on a data stream. A size that
// is negative, above limit or above wire.MaxDataSize is a violation: the stream
// is of no more use, as the reference drops it too. Errors are those of
// [ReadFrame].
func ReadDataHeader(src *bufio.Reader, limit int64) (DataHeader, error) {
	var raw [DataHeaderSize]byte
	r := wire.NewReader(src)
	r.Fixed(raw[:])
	if err := r.Err(); err != nil {
		return DataHeader{}, frameError("data header", err)
	}
	c := wire.NewCursor(raw[:])
	h := DataHeader{
		GUID:     GUID(c.Int64("guid")),
		ReplyTo:  GUID(c.Int64("reply to")),
		SendTime: c.Int64("send time"),
		EditTime: c.Int64("edit time"),
		Type:     MessageType(c.Int32("type")),
		Size:     c.Int64("size"),
	}
	if limit = min(limit, wire.MaxDataSize); h.Size < 0 || h.Size > limit {
		return DataHeader{}, wire.NewViolation(wire.CodeLength, "data size %d, allowed 0 to %d", h.Size, limit)
	}
	return h, nil
}

// Message returns the message that a header announces, for data that is small
// enough to be held in memory.
func (h DataHeader) Message(data []byte) Message {
	return Message{
		GUID: h.GUID, ReplyTo: h.ReplyTo, SendTime: h.SendTime, EditTime: h.EditTime, Type: h.Type, Payload: data,
	}
}

// DataHeader returns the header under which a message travels on a data stream.
func (f Message) DataHeader() DataHeader {
	return DataHeader{
		GUID: f.GUID, ReplyTo: f.ReplyTo, SendTime: f.SendTime, EditTime: f.EditTime, Type: f.Type,
		Size: int64(len(f.Payload)),
	}
}
