// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/binary"

	"github.com/mimird/mimird/proto/identity"
)

// The three records of which every message writes one each are written by hand, in
// a fifth of the library's time: that is a tenth of what a durable message costs.
// TestEncode_ByHand_MatchesLibrary holds the two together, byte for byte.

// selfEncoder is a record that is written by hand.
type selfEncoder interface {
	// appendTo appends the record.
	appendTo(b []byte) []byte
	// room is how many bytes it has at most, or nearly.
	room() int
}

func (m Message) room() int      { return 200 + len(m.Payload) + len(m.Reason) + len(m.Source) }
func (ev Event) room() int       { return 176 + len(ev.Reason) }
func (ref messageRef) room() int { return 16 + len(ref.First) }

func (m Message) appendTo(b []byte) []byte {
	w := newRecordWriter(b)
	w.messageID(1, m.ID)
	w.integer(2, int64(m.Type))
	w.integer(3, m.ReplyTo)
	w.integer(4, int64(m.SendTime))
	w.integer(5, int64(m.EditTime))
	w.integer(6, int64(m.Created))
	w.bytes(7, m.Payload)
	w.number(8, uint64(m.State))
	w.integer(9, int64(m.StateTime))
	w.text(10, m.Reason)
	w.text(11, m.Source)
	w.flag(20, m.Held)
	w.key(21, m.Author)
	w.integer(22, m.Number)
	w.integer(23, m.ServerGUID)
	w.flag(24, m.Unreadable)
	w.flag(25, m.Deleted)
	w.bytes(26, m.Digest)
	return w.end()
}

func (ev Event) appendTo(b []byte) []byte {
	w := newRecordWriter(b)
	w.bytes(1, ev.Conversation.binary())
	w.field(2)
	w.head(cborNumber, uint64(ev.Kind))
	w.integer(3, int64(ev.Time))
	w.messageID(4, ev.Message)
	w.number(5, ev.Order)
	w.number(6, uint64(ev.State))
	w.key(7, identity.PublicKey(ev.NodeKey))
	w.text(8, ev.Reason)
	w.flag(20, ev.Accepted)
	w.key(21, ev.Member)
	w.number(22, ev.Task)
	return w.end()
}

func (ref messageRef) appendTo(b []byte) []byte {
	w := newRecordWriter(b)
	w.field(1)
	w.head(cborNumber, ref.Order)
	w.bytes(2, ref.First)
	return w.end()
}

// The kinds of values in CBOR, RFC 8949, as the upper bits of their first byte.
const (
	cborNumber   = 0 << 5
	cborNegative = 1 << 5
	cborBytes    = 2 << 5
	cborText     = 3 << 5
	cborArray    = 4 << 5
	cborMap      = 5 << 5
	cborTrue     = 7<<5 | 21
)

// recordWriter appends a map of at most 23 fields, which the caller gives in the
// order of their numbers. A field that is zero is left out.
type recordWriter struct {
	b      []byte
	start  int
	fields byte
}

func newRecordWriter(b []byte) recordWriter {
	return recordWriter{b: append(b, cborMap), start: len(b)}
}

// end notes the number of fields.
func (w *recordWriter) end() []byte {
	w.b[w.start] |= w.fields
	return w.b
}

// head writes the first bytes of a value, in the shortest form.
func (w *recordWriter) head(kind byte, n uint64) {
	switch {
	case n < 24:
		w.b = append(w.b, kind|byte(n))
	case n < 1<<8:
		w.b = append(w.b, kind|24, byte(n))
	case n < 1<<16:
		w.b = binary.BigEndian.AppendUint16(append(w.b, kind|25), uint16(n))
	case n < 1<<32:
		w.b = binary.BigEndian.AppendUint32(append(w.b, kind|26), uint32(n))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, kind|27), n)
	}
}

func (w *recordWriter) signed(n int64) {
	if n < 0 {
		w.head(cborNegative, uint64(-1-n))
		return
	}
	w.head(cborNumber, uint64(n))
}

func (w *recordWriter) field(number uint64) {
	w.fields++
	w.head(cborNumber, number)
}

func (w *recordWriter) integer(field uint64, v int64) {
	if v != 0 {
		w.field(field)
		w.signed(v)
	}
}

func (w *recordWriter) number(field, v uint64) {
	if v != 0 {
		w.field(field)
		w.head(cborNumber, v)
	}
}

func (w *recordWriter) flag(field uint64, v bool) {
	if v {
		w.field(field)
		w.b = append(w.b, cborTrue)
	}
}

func (w *recordWriter) bytes(field uint64, v []byte) {
	if len(v) > 0 {
		w.field(field)
		w.head(cborBytes, uint64(len(v)))
		w.b = append(w.b, v...)
	}
}

func (w *recordWriter) text(field uint64, v string) {
	if v != "" {
		w.field(field)
		w.head(cborText, uint64(len(v)))
		w.b = append(w.b, v...)
	}
}

func (w *recordWriter) key(field uint64, v identity.PublicKey) {
	if !v.IsZero() {
		w.bytes(field, v[:])
	}
}

func (w *recordWriter) messageID(field uint64, id MessageID) {
	w.field(field)
	w.head(cborArray, 3)
	w.head(cborNumber, uint64(id.Dir))
	w.signed(id.GUID)
	w.head(cborNumber, uint64(id.Variant))
}
