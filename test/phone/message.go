// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// GUID is the sender's id of a message, never 0.
type GUID int64

// MessageType says what a message's payload is.
type MessageType int32

// The types of messages.
const (
	Text         MessageType = 0
	Image        MessageType = 1
	File         MessageType = 3
	Reaction     MessageType = 10
	FileResponse MessageType = 4001
)

// maxControl is the largest payload that goes over the control stream; larger
// ones take the data stream.
const maxControl = 65536

// Message is what people send each other.
type Message struct {
	GUID GUID
	Type MessageType
	// SendTime and EditTime are milliseconds since 1970.
	SendTime, EditTime int64
	ReplyTo            GUID
	Payload            []byte
}

// headerStyle is how a sender writes the JSON of a message.
type headerStyle struct {
	android     bool // the order of keys of the Android app, not the core's
	unknownKeys bool
	noGUID      bool
}

// frame is the message as a frame of the control stream.
func (m Message) frame(style headerStyle) Frame {
	return Frame{Type: TypeMessage, Fields: Fields{"header": m.header(style), "payload": m.Payload}}
}

// Data is the message as bytes for a data stream, for tests that write them.
func (m Message) Data() []byte { return m.dataFrame().AppendTo(nil) }

// dataFrame is the message as a frame of a data stream.
func (m Message) dataFrame() Frame {
	return Frame{Type: typeData, Fields: Fields{
		"guid": m.GUID, "replyTo": m.ReplyTo, "sendTime": m.SendTime, "editTime": m.EditTime,
		"type": m.Type, "data": m.Payload,
	}}
}

// header writes the JSON before a message's payload.
func (m Message) header(style headerStyle) string {
	order := []string{"editTime", "guid", "payloadSize", "replyTo", "sendTime", "type"} // sorted, as the core
	if style.android {
		order = []string{"guid", "replyTo", "sendTime", "editTime", "type", "payloadSize"}
	}
	values := map[string]int64{
		"guid": int64(m.GUID), "sendTime": m.SendTime, "type": int64(m.Type),
		"replyTo": int64(m.ReplyTo), "editTime": m.EditTime, "payloadSize": int64(len(m.Payload)),
	}
	var parts []string
	if style.unknownKeys {
		parts = append(parts, `"app":"mimir\/3.1.2"`, `"extra":{"guid":1,"list":[1,2.5,null,{"payloadSize":-1}]}`)
	}
	for _, key := range order {
		always := key == "sendTime" || key == "type" || key == "guid" && !style.noGUID
		if always || values[key] != 0 && key != "guid" {
			parts = append(parts, strconv.Quote(key)+":"+strconv.FormatInt(values[key], 10))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// messageOf is the message in a MESSAGE frame or a frame of a data stream.
func messageOf(f Frame) (Message, error) {
	if f.Type == typeData {
		return Message{
			GUID: GUID(f.Int("guid")), Type: MessageType(f.Int("type")), SendTime: f.Int("sendTime"),
			EditTime: f.Int("editTime"), ReplyTo: GUID(f.Int("replyTo")), Payload: f.Bytes("data"),
		}, nil
	}
	h, err := parseHeader(f.Bytes("header"))
	h.Payload = f.Bytes("payload")
	return h.Message, err
}

type header struct {
	Message
	payloadSize int64
}

// parseHeader reads the JSON of a message. What is not an integer of 64 bits reads as
// 0, and so does what is missing.
func parseHeader(b []byte) (header, error) {
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return header{}, fmt.Errorf("%w: JSON of a message: %w", errProtocol, err)
	}
	if d.More() {
		return header{}, fmt.Errorf("%w: something after the JSON of a message", errProtocol)
	}
	integer := func(key string) int64 {
		n, _ := all[key].(json.Number)
		i, err := strconv.ParseInt(n.String(), 10, 64)
		if err != nil {
			return 0
		}
		return i
	}
	return header{
		Message: Message{
			GUID: GUID(integer("guid")), Type: MessageType(integer("type")), SendTime: integer("sendTime"),
			EditTime: integer("editTime"), ReplyTo: GUID(integer("replyTo")),
		},
		payloadSize: integer("payloadSize"),
	}, nil
}

// react makes the payload of a reaction.
func react(emoji string, to GUID) []byte {
	return fmt.Appendf(nil, `{"emoji":%s,"replyTo":%d}`, strconv.Quote(emoji), to)
}
