// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/binary"
	"math"
)

// The records that are written by hand are read by hand too, in a fifth of the
// library's time. Only what encode.go writes is read here. Everything else, such as
// fields of later versions and damage, is left to the library, which alone decides
// whether it is valid. TestDecode_ByHand_MatchesLibrary holds the two together.

// selfDecoder is a record that can be read by hand.
type selfDecoder interface {
	// readFrom reads the record as the library would, and keeps no part of raw. It
	// returns false, and has changed nothing, for what it leaves to the library.
	readFrom(raw []byte) bool
}

func (m *Message) readFrom(raw []byte) bool {
	read := *m
	if !read.readInPlace(raw) {
		return false
	}
	read.Payload = append([]byte(nil), read.Payload...)
	read.Digest = append([]byte(nil), read.Digest...)
	*m = read
	return true
}

// readInPlace is readFrom for a caller that needs the message only as long as raw is
// valid: the payload is a part of raw. After false the message is undefined.
func (m *Message) readInPlace(raw []byte) bool {
	r := newRecordReader(raw)
	for r.next() {
		switch r.field {
		case 1:
			m.ID = r.messageID()
		case 2:
			m.Type = int32(r.signed(math.MinInt32, math.MaxInt32))
		case 3:
			m.ReplyTo = r.signed(math.MinInt64, math.MaxInt64)
		case 4:
			m.SendTime = r.millis()
		case 5:
			m.EditTime = r.millis()
		case 6:
			m.Created = r.millis()
		case 7:
			m.Payload = r.bytes(cborBytes)
		case 8:
			m.State = MessageState(r.number(math.MaxUint8))
		case 9:
			m.StateTime = r.millis()
		case 10:
			m.Reason = string(r.bytes(cborText))
		case 11:
			m.Source = string(r.bytes(cborText))
		case 20:
			m.Held = r.yes()
		case 21:
			r.fixed(m.Author[:])
		case 22:
			m.Number = r.signed(math.MinInt64, math.MaxInt64)
		case 23:
			m.ServerGUID = r.signed(math.MinInt64, math.MaxInt64)
		case 24:
			m.Unreadable = r.yes()
		case 25:
			m.Deleted = r.yes()
		case 26:
			m.Digest = r.bytes(cborBytes)
		default:
			return false
		}
	}
	return r.whole()
}

func (ev *Event) readFrom(raw []byte) bool {
	read := *ev
	r := newRecordReader(raw)
	for r.next() {
		switch r.field {
		case 1:
			if read.Conversation.UnmarshalBinary(r.bytes(cborBytes)) != nil {
				return false
			}
		case 2:
			read.Kind = EventKind(r.number(math.MaxUint8))
		case 3:
			read.Time = r.millis()
		case 4:
			read.Message = r.messageID()
		case 5:
			read.Order = r.number(math.MaxUint64)
		case 6:
			read.State = ContactState(r.number(math.MaxUint8))
		case 7:
			r.fixed(read.NodeKey[:])
		case 8:
			read.Reason = string(r.bytes(cborText))
		case 20:
			read.Accepted = r.yes()
		case 21:
			r.fixed(read.Member[:])
		case 22:
			read.Task = r.number(math.MaxUint64)
		default:
			return false
		}
	}
	if !r.whole() {
		return false
	}
	*ev = read
	return true
}

func (ref *messageRef) readFrom(raw []byte) bool {
	read := *ref
	r := newRecordReader(raw)
	for r.next() {
		switch r.field {
		case 1:
			read.Order = r.number(math.MaxUint64)
		case 2:
			read.First = append([]byte(nil), r.bytes(cborBytes)...)
		default:
			return false
		}
	}
	if !r.whole() {
		return false
	}
	*ref = read
	return true
}

// recordReader reads what a recordWriter has written.
type recordReader struct {
	rest   []byte
	left   byte   // fields that were not begun yet
	field  uint64 // number of the field that was begun last
	failed bool
}

func newRecordReader(raw []byte) recordReader {
	if len(raw) == 0 || raw[0]&^0x1f != cborMap || raw[0]&0x1f > 23 {
		return recordReader{failed: true}
	}
	return recordReader{rest: raw[1:], left: raw[0] & 0x1f}
}

// next begins the next field. The numbers of the fields ascend, so no field is there
// twice.
func (r *recordReader) next() bool {
	if r.failed || r.left == 0 {
		return false
	}
	before := r.field
	r.left--
	r.field = r.number(math.MaxUint64)
	if r.field <= before {
		r.failed = true
	}
	return !r.failed
}

// whole reports whether everything was read, and nothing is left over.
func (r *recordReader) whole() bool { return !r.failed && r.left == 0 && len(r.rest) == 0 }

// head reads the first bytes of a value, in any of its forms.
func (r *recordReader) head() (kind byte, n uint64) {
	if len(r.rest) == 0 {
		r.failed = true
		return 0, 0
	}
	kind, n = r.rest[0]&^0x1f, uint64(r.rest[0]&0x1f)
	r.rest = r.rest[1:]
	if n < 24 {
		return kind, n
	}
	size := 1 << (n - 24)
	if n > 27 || len(r.rest) < size {
		r.failed = true
		return 0, 0
	}
	switch size {
	case 1:
		n = uint64(r.rest[0])
	case 2:
		n = uint64(binary.BigEndian.Uint16(r.rest))
	case 4:
		n = uint64(binary.BigEndian.Uint32(r.rest))
	default:
		n = binary.BigEndian.Uint64(r.rest)
	}
	r.rest = r.rest[size:]
	return kind, n
}

// number reads a number that is not negative.
func (r *recordReader) number(most uint64) uint64 {
	kind, n := r.head()
	if kind != cborNumber || n > most {
		r.failed = true
		return 0
	}
	return n
}

func (r *recordReader) signed(least, most int64) int64 {
	kind, n := r.head()
	if n > math.MaxInt64 || kind != cborNumber && kind != cborNegative {
		r.failed = true
		return 0
	}
	v := int64(n)
	if kind == cborNegative {
		v = -1 - v
	}
	if v < least || v > most {
		r.failed = true
		return 0
	}
	return v
}

func (r *recordReader) millis() Millis { return Millis(r.signed(math.MinInt64, math.MaxInt64)) }

// bytes reads a byte or text string. It is a part of what is read.
func (r *recordReader) bytes(kind byte) []byte {
	found, n := r.head()
	if found != kind || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	value := r.rest[:n:n]
	r.rest = r.rest[n:]
	return value
}

// fixed reads a byte string of the length of to.
func (r *recordReader) fixed(to []byte) {
	if value := r.bytes(cborBytes); copy(to, value) != len(to) || len(value) != len(to) {
		r.failed = true
	}
}

// yes reads a flag that is set.
func (r *recordReader) yes() bool {
	if len(r.rest) == 0 || r.rest[0] != cborTrue {
		r.failed = true
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *recordReader) messageID() MessageID {
	if kind, n := r.head(); kind != cborArray || n != 3 {
		r.failed = true
	}
	return MessageID{
		Dir:     Direction(r.number(math.MaxUint8)),
		GUID:    r.signed(math.MinInt64, math.MaxInt64),
		Variant: uint16(r.number(math.MaxUint16)),
	}
}
