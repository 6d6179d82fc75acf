// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Port is the stream port of the peer protocol on every node.
const Port = 42

// The first byte of a stream says what it is for.
const (
	RoleControl byte = 0
	RoleData    byte = 1
)

// Type is the type of a frame.
type Type int32

// The types of frames on a control stream.
const (
	TypeHello            Type = 1
	TypeChallenge        Type = 2
	TypeChallengeAnswer  Type = 3
	TypeChallenge2       Type = 4
	TypeChallengeAnswer2 Type = 5
	TypeInfoRequest      Type = 6
	TypeInfoResponse     Type = 7
	TypePing             Type = 8
	TypePong             Type = 9
	TypeMessage          Type = 1000
	TypeCallOffer        Type = 2000
	TypeCallAnswer       Type = 2001
	TypeCallHang         Type = 2002
	TypeCallPacket       Type = 2003
	TypeContactRequest   Type = 3000
	TypeContactResponse  Type = 3001
	TypeFileRequest      Type = 4000
	TypeOK               Type = 32767
)

// typeData stands for the frames of data streams, which have no header and no
// type on the wire.
const typeData Type = -1

// names are Mimir's, as scripts write them.
var names = map[Type]string{
	TypeHello:            "HELLO",
	TypeChallenge:        "CHALLENGE",
	TypeChallengeAnswer:  "CHALLENGE_ANSWER",
	TypeChallenge2:       "CHALLENGE2",
	TypeChallengeAnswer2: "CHALLENGE_ANSWER2",
	TypeInfoRequest:      "INFO_REQUEST",
	TypeInfoResponse:     "INFO_RESPONSE",
	TypePing:             "PING",
	TypePong:             "PONG",
	TypeMessage:          "MESSAGE",
	TypeCallOffer:        "CALL_OFFER",
	TypeCallAnswer:       "CALL_ANSWER",
	TypeCallHang:         "CALL_HANG",
	TypeCallPacket:       "CALL_PACKET",
	TypeContactRequest:   "CONTACT_REQUEST",
	TypeContactResponse:  "CONTACT_RESPONSE",
	TypeFileRequest:      "FILE_REQUEST",
	TypeOK:               "OK",
	typeData:             "DATA",
}

// layouts are the bytes of each frame after its header, in order.
var layouts = map[Type][]field{
	TypeHello:            {i32("version"), blob("own", 32).exactly(), blob("receiver", 32).exactly(), i32("client"), blob("address", 32).exactly().whenSizeExceeds(80)},
	TypeChallenge:        {blob("challenge", 32).exactly()},
	TypeChallengeAnswer:  {blob("answer", 64).exactly()},
	TypeChallenge2:       {blob("challenge", 32).exactly()},
	TypeChallengeAnswer2: {blob("answer", 64).exactly()},
	TypeInfoRequest:      {i64("since")},
	TypeInfoResponse:     {i64("time"), str("nickname"), str("info"), blob("avatar", maxAvatar)},
	TypePing:             {},
	TypePong:             {},
	TypeMessage:          {blob("header", maxText), payload("payload")},
	TypeCallOffer:        {str("mime"), i32("rate"), i32("channels")},
	TypeCallAnswer:       {u8("ok"), str("error")},
	TypeCallHang:         {},
	TypeCallPacket:       {blob("data", maxPayload)},
	TypeContactRequest:   {str("message"), str("nickname"), str("info"), blob("avatar", maxAvatar)},
	TypeContactResponse:  {u8("accepted")},
	TypeFileRequest:      {i64("guid"), str("name"), str("hash")},
	TypeOK:               {i64("id")},
	typeData:             {i64("guid"), i64("replyTo"), i64("sendTime"), i64("editTime"), i32("type"), long("data", maxData)},
}

// What a phone takes. The apps' core takes anything.
const (
	maxText    = 64 << 10
	maxAvatar  = 1 << 20
	maxPayload = 1 << 20
	maxData    = 64 << 20
)

// headerSize is the size of a frame's header: stream, type, size.
const headerSize = 16

// String is Mimir's word for the type.
func (t Type) String() string {
	if name, ok := names[t]; ok {
		return name
	}
	return strconv.Itoa(int(t))
}

// Types returns the types of control frames that have a layout.
func Types() []Type {
	var all []Type
	for t := range layouts {
		if t != typeData {
			all = append(all, t)
		}
	}
	return sorted(all)
}

// opensSession reports whether a type belongs to the handshake; after it, such a
// frame counts as an unknown one.
func (t Type) opensSession() bool { return t >= TypeHello && t <= TypeChallengeAnswer2 }

// Fields are the values in a frame, by name. Those that are missing are zero.
// Numbers are any integer or bool; blobs and strings are bytes, text or a key. What
// was read has int64, []byte and string.
type Fields map[string]any

// Frame is a frame of a control stream, true or not.
type Frame struct {
	Type   Type
	Fields Fields
	// Size is what the header says instead of the truth.
	Size *int64
	// Lengths are what stands before blobs and strings instead of the truth.
	Lengths map[string]int64
	// End is a field after whose length the frame breaks off.
	End string
	// Body is all that follows the header, for types without a layout.
	Body []byte
}

// Int returns the value of a number.
func (f Frame) Int(name string) int64 { return number(f.Fields[name]) }

// Bytes returns the value of a blob.
func (f Frame) Bytes(name string) []byte { return octets(f.Fields[name]) }

// Text returns the value of a string.
func (f Frame) Text(name string) string { return string(octets(f.Fields[name])) }

// AppendTo appends the frame as it goes over the wire.
func (f Frame) AppendTo(b []byte) []byte {
	fields, known := layouts[f.Type]
	body := f.Body
	if known {
		body = appendFields(nil, fields, f)
	}
	if f.Type == typeData {
		return append(b, body...)
	}
	size := int64(len(body))
	if f.Size != nil {
		size = *f.Size
	}
	b = binary.BigEndian.AppendUint32(b, 0) // stream
	b = binary.BigEndian.AppendUint32(b, uint32(f.Type))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return append(b, body...)
}

func appendFields(b []byte, layout []field, f Frame) []byte {
	rest := len(f.Fields)
	for _, fd := range layout {
		v, given := f.Fields[fd.name]
		if given {
			rest--
		}
		length, lied := f.Lengths[fd.name]
		if !given && !lied && fd.onlyAbove > 0 {
			continue
		}
		if !lied && fd.hasBytes() {
			length = int64(len(octets(v)))
		}
		switch fd.kind {
		case kindU8:
			b = append(b, byte(number(v)))
		case kindI32:
			b = binary.BigEndian.AppendUint32(b, uint32(number(v)))
		case kindI64:
			b = binary.BigEndian.AppendUint64(b, uint64(number(v)))
		case kindBlob, kindStr:
			b = binary.BigEndian.AppendUint32(b, uint32(length))
		case kindLong:
			b = binary.BigEndian.AppendUint64(b, uint64(length))
		case kindPayload: // its length is in the header before it
		}
		if f.End == fd.name {
			return b
		}
		if fd.hasBytes() {
			b = append(b, octets(v)...)
		}
	}
	if rest > 0 {
		panic(fmt.Sprintf("phone: %v has no such field among %v", f.Type, f.Fields))
	}
	return b
}

// readHeader reads the header of a frame.
func readHeader(r io.Reader) (t Type, size int64, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	return Type(int32(binary.BigEndian.Uint32(h[4:]))), int64(binary.BigEndian.Uint64(h[8:])), nil
}

// readBody reads what follows the header. Known types are read by their inner
// lengths, whatever size says; of unknown ones size bytes are skipped.
func readBody(r io.Reader, t Type, size int64, known bool) (Frame, error) {
	f := Frame{Type: t, Size: &size}
	layout, has := layouts[t]
	if !has || !known {
		if size > 0 {
			if _, err := io.CopyN(io.Discard, r, size); err != nil {
				return f, unexpected(err)
			}
		}
		return f, nil
	}
	f.Fields = make(Fields, len(layout))
	for _, fd := range layout {
		if fd.onlyAbove > 0 && size <= fd.onlyAbove {
			continue
		}
		v, err := fd.read(r, f)
		if err != nil {
			return f, fmt.Errorf("%v: %s: %w", t, fd.name, unexpected(err))
		}
		f.Fields[fd.name] = v
	}
	return f, nil
}

// readData reads a frame of a data stream.
func readData(r io.Reader) (Frame, error) {
	var first [1]byte // an end before it is an end between frames
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return Frame{}, err
	}
	return readBody(io.MultiReader(bytes.NewReader(first[:]), r), typeData, 0, true)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
