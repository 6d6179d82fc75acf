// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"encoding/binary"
	"strconv"

	"github.com/mimird/mimird/proto/wire"
)

// MessageType says what the payload of a message is.
type MessageType int32

// The message types. Apps store any other and show it as text.
const (
	// TypeText is UTF-8 text. The app's input takes 5000 characters.
	TypeText MessageType = 0
	// TypeImage is an [Attachment].
	TypeImage MessageType = 1
	// TypeCall is a record of a call. Current apps keep it to themselves.
	TypeCall MessageType = 2
	// TypeFile is an [Attachment]: a file, audio or a voice message.
	TypeFile MessageType = 3
	// TypeReaction is a [Reaction].
	TypeReaction MessageType = 10
	// TypeSystem comes from a mediator, inside group chats only.
	TypeSystem MessageType = 1000
	// TypeFileResponse is the answer to a FileRequest: [FileMeta], then the file.
	TypeFileResponse MessageType = 4001
)

// Message is a message with its payload. Receivers take any size on either
// stream; senders put at most wire.DataStreamThreshold bytes into this frame and
// larger payloads on the data stream.
type Message struct {
	GUID GUID
	// ReplyTo is the message that this one quotes or reacts to, 0 for none.
	ReplyTo GUID
	// SendTime is in Unix milliseconds of the sender's clock; see
	// [NormalizeSendTime].
	SendTime int64
	// EditTime is in Unix milliseconds. No app sets or heeds it.
	EditTime int64
	Type     MessageType
	Payload  []byte
}

// FrameType returns FrameMessage.
func (Message) FrameType() FrameType { return FrameMessage }

// AppendTo appends the frame.
func (f Message) AppendTo(b []byte) []byte {
	start := len(b)
	b = appendHeader(b, FrameMessage, 0)
	b = wire.AppendInt32(b, 0)
	envelope := len(b)
	b = f.appendEnvelope(b)
	// Both sizes are known only now.
	binary.BigEndian.PutUint32(b[envelope-4:], uint32(len(b)-envelope))
	binary.BigEndian.PutUint64(b[start+8:], uint64(len(b)-start-headerSize+len(f.Payload)))
	return append(b, f.Payload...)
}

// appendEnvelope writes the JSON header, compact and with sorted keys.
func (f Message) appendEnvelope(b []byte) []byte {
	b = append(b, '{')
	if f.EditTime != 0 {
		b = append(appendMember(b, "editTime", f.EditTime), ',')
	}
	b = append(appendMember(b, "guid", int64(f.GUID)), ',')
	if len(f.Payload) > 0 {
		b = append(appendMember(b, "payloadSize", int64(len(f.Payload))), ',')
	}
	if f.ReplyTo != 0 {
		b = append(appendMember(b, "replyTo", int64(f.ReplyTo)), ',')
	}
	b = append(appendMember(b, "sendTime", f.SendTime), ',')
	b = appendMember(b, "type", int64(f.Type))
	return append(b, '}')
}

// appendMember writes "key":value for a key that needs no escaping.
func appendMember(b []byte, key string, value int64) []byte {
	b = append(b, '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	return strconv.AppendInt(b, value, 10)
}

func readMessage(r *wire.Reader, limit int) Message {
	raw := r.Blob("message header", wire.MaxJSON)
	if r.Err() != nil {
		return Message{}
	}
	envelope, err := wire.ParseObject(raw)
	if err != nil {
		r.Fail(err)
		return Message{}
	}
	return Message{
		GUID:     GUID(envelope.Int64("guid")),
		ReplyTo:  GUID(envelope.Int64("replyTo")),
		SendTime: envelope.Int64("sendTime"),
		EditTime: envelope.Int64("editTime"),
		Type:     MessageType(envelope.Int64("type")),
		Payload:  r.Bytes("payload", envelope.Int64("payloadSize"), limit),
	}
}

// skipMessage reads a message without keeping anything of it.
func skipMessage(r *wire.Reader, h header, limit int) Frame {
	raw := r.Blob("message header", wire.MaxJSON)
	if r.Err() != nil {
		return Unknown{}
	}
	envelope, err := wire.ParseObject(raw)
	if err != nil {
		r.Fail(err)
		return Unknown{}
	}
	r.Skip("payload", envelope.Int64("payloadSize"), limit)
	return Unknown{Type: h.frameType, Size: h.size}
}

// NormalizeSendTime returns a send time in milliseconds. The app transmits some
// reactions with seconds: values below 10^11 (March 1973 in milliseconds) are
// taken for those.
func NormalizeSendTime(t int64) int64 {
	if t > 0 && t < 1e11 {
		return t * 1000
	}
	return t
}
