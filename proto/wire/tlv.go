// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// AppendVarint appends v in its shortest form. v is a number of our own: more
// than [MaxVarint] is a mistake in the caller and panics.
func AppendVarint(b []byte, v uint32) []byte {
	if v > MaxVarint {
		panic(fmt.Sprintf("wire: varint %d above %d", v, MaxVarint))
	}
	return binary.AppendUvarint(b, uint64(v))
}

// Varint reads a varint from the start of b and returns how many bytes it took.
func Varint(b []byte) (value uint32, size int, err error) {
	for i := range 4 {
		if i == len(b) {
			return 0, 0, NewViolation(CodeTruncated, "varint ends after %d bytes", i)
		}
		value |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return value, i + 1, nil
		}
	}
	return 0, 0, NewViolation(CodeVarint, "varint of more than 4 bytes")
}

// AppendField appends one field. The value is our own and at most [MaxVarint]
// bytes long.
func AppendField(b []byte, tag byte, value []byte) []byte {
	b = AppendVarint(append(b, tag), uint32(len(value)))
	return append(b, value...)
}

// AppendFieldUint8 appends a field of one byte.
func AppendFieldUint8(b []byte, tag, v byte) []byte { return append(b, tag, 1, v) }

// AppendFieldUint32 appends a field of four bytes.
func AppendFieldUint32(b []byte, tag byte, v uint32) []byte {
	return AppendUint32(append(b, tag, 4), v)
}

// AppendFieldUint64 appends a field of eight bytes.
func AppendFieldUint64(b []byte, tag byte, v uint64) []byte {
	return AppendUint64(append(b, tag, 8), v)
}

// Fields is a payload of fields whose structure has been checked. The getters
// look for a tag each time and copy nothing, so a payload of a million empty
// fields costs no memory. They share a sticky error: a parser gets all its
// fields and asks [Fields.Err] once.
type Fields struct {
	raw []byte
	err error
}

// ParseFields checks the structure of a whole payload. No fields is valid.
// The result points into b.
func ParseFields(b []byte) (*Fields, error) {
	for rest := b; len(rest) > 0; {
		n, size, err := Varint(rest[1:])
		if err != nil {
			return nil, err
		}
		tag := rest[0]
		rest = rest[1+size:]
		if int(n) > len(rest) {
			return nil, NewViolation(CodeTruncated, "field %#02x: %d bytes wanted, %d left", tag, n, len(rest))
		}
		rest = rest[n:]
	}
	return &Fields{raw: b}, nil
}

// All walks over all fields in order.
func (f *Fields) All() iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for rest := f.raw; len(rest) > 0; {
			// Cannot fail: ParseFields has been here.
			n, size, _ := Varint(rest[1:])
			start, end := 1+size, 1+size+int(n)
			if !yield(rest[0], rest[start:end:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// Each walks over the values of one tag in order, for tags that are collected.
func (f *Fields) Each(tag byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for t, value := range f.All() {
			if t == tag && !yield(value) {
				return
			}
		}
	}
}

// Records splits the fields at each occurrence of a tag: a flat list, whose records
// begin with it. What comes before its first occurrence is left out.
func (f *Fields) Records(first byte) iter.Seq[*Fields] {
	return func(yield func(*Fields) bool) {
		begin := -1
		for at := 0; at < len(f.raw); {
			// Cannot fail: ParseFields has been here.
			n, size, _ := Varint(f.raw[at+1:])
			if f.raw[at] == first {
				if begin >= 0 && !yield(&Fields{raw: f.raw[begin:at:at]}) {
					return
				}
				begin = at
			}
			at += 1 + size + int(n)
		}
		if begin >= 0 {
			yield(&Fields{raw: f.raw[begin:]})
		}
	}
}

// First returns the first value of a tag.
func (f *Fields) First(tag byte) (value []byte, ok bool) {
	for value := range f.Each(tag) {
		return value, true
	}
	return nil, false
}

// Last returns the last value of a tag, the one that counts.
func (f *Fields) Last(tag byte) (value []byte, ok bool) {
	for v := range f.Each(tag) {
		value, ok = v, true
	}
	return value, ok
}

// Err returns the first error of the getters below, a *[Violation].
func (f *Fields) Err() error { return f.err }

// Fixed fills dst from a required field of exactly that size.
func (f *Fields) Fixed(tag byte, name string, dst []byte) {
	copy(dst, f.required(tag, name, len(dst)))
}

// Uint8 returns a required field of one byte.
func (f *Fields) Uint8(tag byte, name string) uint8 {
	b := f.required(tag, name, 1)
	if b == nil {
		return 0
	}
	return b[0]
}

// Uint32 returns a required field of four bytes.
func (f *Fields) Uint32(tag byte, name string) uint32 {
	b := f.required(tag, name, 4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 returns a required field of eight bytes.
func (f *Fields) Uint64(tag byte, name string) uint64 {
	b := f.required(tag, name, 8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (f *Fields) required(tag byte, name string, size int) []byte {
	if f.err != nil {
		return nil
	}
	value, ok := f.Last(tag)
	switch {
	case !ok:
		f.err = NewViolation(CodeMissing, "%s: absent", name)
		return nil
	case len(value) != size:
		f.err = NewViolation(CodeLength, "%s: %d bytes, must be %d", name, len(value), size)
		return nil
	}
	return value
}
