// SPDX-License-Identifier: MPL-2.0

package legacy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

func appendMessage(b []byte, m peer.Message) []byte {
	b = wire.AppendInt32(b, 0)
	b = wire.AppendInt32(b, int32(peer.FrameMessage))
	// The size that the apps write: see the package text.
	b = wire.AppendInt64(b, int64(headerSize+storedSize(m)))
	start := len(b)
	b = wire.AppendInt32(b, 0)
	b = appendEnvelope(b, m)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return append(b, m.Payload...)
}

// appendEnvelope writes the JSON header with its keys in the order of the apps.
func appendEnvelope(b []byte, m peer.Message) []byte {
	b = appendMember(append(b, '{'), "guid", int64(m.GUID))
	if m.ReplyTo != 0 {
		b = appendMember(append(b, ','), "replyTo", int64(m.ReplyTo))
	}
	b = appendMember(append(b, ','), "sendTime", m.SendTime)
	if m.EditTime != 0 {
		b = appendMember(append(b, ','), "editTime", m.EditTime)
	}
	b = appendMember(append(b, ','), "type", int64(m.Type))
	if len(m.Payload) > 0 {
		b = appendMember(append(b, ','), "payloadSize", int64(len(m.Payload)))
	}
	return append(b, '}')
}

func appendMember(b []byte, key string, value int64) []byte {
	b = append(append(append(b, '"'), key...), '"', ':')
	return strconv.AppendInt(b, value, 10)
}

// storedSize is the length of what the apps store as the text of a message: the
// payload, or the description of an attachment; -1 for an attachment that is not
// inline.
func storedSize(m peer.Message) int {
	if m.Type != peer.TypeImage && m.Type != peer.TypeFile {
		return len(m.Payload)
	}
	c := wire.NewCursor(m.Payload)
	description := c.Blob("attachment", wire.MaxJSON)
	if c.Err() != nil {
		return -1
	}
	return len(description)
}

// skipMessage reads a message without keeping anything of it.
func skipMessage(src *bufio.Reader, limit int) error {
	r := wire.NewReader(src)
	r.Header(headerSize)
	raw := r.Blob("message header", wire.MaxJSON)
	if err := r.Err(); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	envelope, err := wire.ParseObject(raw)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	r.Skip("payload", max(envelope.Int64("payloadSize"), 0), limit)
	if err := r.Err(); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	return nil
}

func readMessage(src *bufio.Reader, limit int) (peer.Message, error) {
	r := wire.NewReader(src)
	r.Header(headerSize)
	raw := r.Blob("message header", wire.MaxJSON)
	if err := r.Err(); err != nil {
		return peer.Message{}, fmt.Errorf("read message: %w", err)
	}
	envelope, err := wire.ParseObject(raw)
	if err != nil {
		return peer.Message{}, fmt.Errorf("read message: %w", err)
	}
	m := peer.Message{
		GUID:     peer.GUID(envelope.Int64("guid")),
		ReplyTo:  peer.GUID(envelope.Int64("replyTo")),
		SendTime: envelope.Int64("sendTime"),
		EditTime: envelope.Int64("editTime"),
		Type:     peer.MessageType(envelope.Int64("type")),
		// What is below 0 counts as none, as in the apps.
		Payload: r.Bytes("payload", max(envelope.Int64("payloadSize"), 0), limit),
	}
	switch {
	case r.Err() != nil:
		return peer.Message{}, fmt.Errorf("read message: %w", r.Err())
	case m.GUID == 0:
		// Its acknowledgment would be that of the handshake.
		return peer.Message{}, fmt.Errorf("read message: %w", wire.NewViolation(wire.CodeMissing, "message without guid"))
	}
	return m, nil
}

// AppendAttachment appends the payload of a picture or a file that travels inside
// of its message: the description a in the form of the apps, then the bytes of
// the file. Key and server of a are left out.
func AppendAttachment(b []byte, a peer.Attachment, data []byte) []byte {
	start := len(b)
	b = wire.AppendInt32(b, 0)
	b = appendText(append(b, '{'), "name", a.Name)
	b = appendMember(append(b, ','), "size", int64(len(data)))
	b = appendText(append(b, ','), "hash", a.Hash)
	if a.OriginalName != "" {
		b = appendText(append(b, ','), "originalName", a.OriginalName)
	}
	if a.MIMEType != "" {
		b = appendText(append(b, ','), "mimeType", a.MIMEType)
	}
	// Readers of pictures demand it even when it is empty.
	b = append(appendText(append(b, ','), "text", a.Text), '}')
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return append(b, data...)
}

// appendText writes a member that is a text, with slashes escaped as the apps do.
func appendText(b []byte, key, value string) []byte {
	b = append(append(append(b, '"'), key...), '"', ':')
	return append(b, bytes.ReplaceAll(wire.AppendJSONText(nil, value), []byte("/"), []byte(`\/`))...)
}

// OldGUID is the id that apps gave a message before December 2025: a 32-bit hash
// of the stored part above the time in milliseconds. Receivers do not check it,
// and ours need not follow it. For the later rule see [peer.AppGUID].
func OldGUID(stored []byte, sendTime int64) peer.GUID {
	hash := int32(1)
	for _, b := range stored {
		hash = 31*hash + int32(int8(b))
	}
	return peer.GUID(int64(hash)<<32 ^ sendTime)
}
