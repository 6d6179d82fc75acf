// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"strings"
	"unicode/utf8"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// fields walks along the fields of a payload, reading or writing them, so that each
// payload is described once. Writing changes nothing of the value: one push goes to
// many connections at once. Blobs that were read point into the input.
//
// The order of fields is that of the reference when writing, and free when reading.
// Of two fields with one tag the last one counts, unknown tags are skipped.
type fields struct {
	in  *wire.Fields // nil when writing
	out []byte
	// err is the first error beside those of in.
	err error
	// refusal is the text with which the reference refuses the first wrong field.
	refusal string
}

// payload is anything with fields.
type payload interface{ fields(f *fields) }

func appendPayload(b []byte, p payload) []byte {
	f := &fields{out: b}
	p.fields(f)
	return f.out
}

func parsePayload(b []byte, p payload) error {
	in, err := wire.ParseFields(b)
	if err != nil {
		return err
	}
	return (&fields{in: in}).read(p)
}

func (f *fields) read(p payload) error {
	p.fields(f)
	f.fail(f.in.Err())
	return f.err
}

// fail keeps the first error.
func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// required notes the refusal when the field that was just read is wrong.
func (f *fields) required(name string) {
	if f.in.Err() != nil {
		f.refuse("missing or invalid " + name)
	}
}

func (f *fields) refuse(text string) {
	if f.refusal == "" {
		f.refusal = text
	}
}

func (f *fields) fixed(tag byte, name string, v []byte) {
	if f.in == nil {
		f.out = wire.AppendField(f.out, tag, v)
		return
	}
	f.in.Fixed(tag, name, v)
	f.required(name)
}

func (f *fields) key(tag byte, name string, v *identity.PublicKey) { f.fixed(tag, name, v[:]) }

func (f *fields) uint32(tag byte, name string, v *uint32) {
	if f.in == nil {
		f.out = wire.AppendFieldUint32(f.out, tag, *v)
		return
	}
	*v = f.in.Uint32(tag, name)
	f.required(name)
}

func number[T ~int64](f *fields, tag byte, name string, v *T) {
	if f.in == nil {
		f.out = wire.AppendFieldUint64(f.out, tag, uint64(*v))
		return
	}
	*v = T(f.in.Uint64(tag, name))
	f.required(name)
}

func octet[T ~byte](f *fields, tag byte, name string, v *T) {
	if f.in == nil {
		f.out = wire.AppendFieldUint8(f.out, tag, byte(*v))
		return
	}
	*v = T(f.in.Uint8(tag, name))
	f.required(name)
}

// flag is 0 or 1; any other value is refused when read.
func (f *fields) flag(tag byte, name string, v *bool) {
	if f.in == nil {
		n := byte(0)
		if *v {
			n = 1
		}
		f.out = wire.AppendFieldUint8(f.out, tag, n)
		return
	}
	n := f.in.Uint8(tag, name)
	f.required(name + " flag")
	if n > 1 {
		f.refuse("invalid " + name + " value")
		f.fail(wire.NewViolation(wire.CodeValue, "%s: %d, must be 0 or 1", name, n))
	}
	*v = n == 1
}

// optionalNumber leaves nil out. A field of another size counts as absent when read,
// as in the reference.
func (f *fields) optionalNumber(tag byte, v **int64) {
	if f.in == nil {
		if *v != nil {
			f.out = wire.AppendFieldUint64(f.out, tag, uint64(**v))
		}
		return
	}
	*v = nil
	if raw, ok := f.in.Last(tag); ok && len(raw) == 8 {
		n := wire.NewCursor(raw).Int64("optional number")
		*v = &n
	}
}

// text is cut to a number of characters when written. What is not UTF-8 in a text
// that was read becomes U+FFFD; an absent text is empty.
func (f *fields) text(tag byte, v *string, limit int) {
	if f.in == nil {
		f.out = wire.AppendField(f.out, tag, []byte(cutText(*v, limit)))
		return
	}
	raw, _ := f.in.Last(tag)
	*v = toText(raw)
}

// requiredText must be there and be UTF-8 when read.
func (f *fields) requiredText(tag byte, name string, v *string, limit int) {
	if f.in != nil {
		if raw, ok := f.in.Last(tag); !ok || !utf8.Valid(raw) {
			f.refuse("missing " + name)
			f.fail(wire.NewViolation(wire.CodeMissing, "%s: absent or not UTF-8", name))
			return
		}
	}
	f.text(tag, v, limit)
}

// optionalText leaves nil out.
func (f *fields) optionalText(tag byte, v **string, limit int) {
	if f.in == nil {
		if *v != nil {
			f.text(tag, *v, limit)
		}
		return
	}
	*v = nil
	if raw, ok := f.in.Last(tag); ok {
		text := toText(raw)
		*v = &text
	}
}

func toText(raw []byte) string { return strings.ToValidUTF8(string(raw), "\uFFFD") }

// cutText returns the first limit characters of s.
func cutText(s string, limit int) string {
	for i := range s {
		if limit == 0 {
			return s[:i]
		}
		limit--
	}
	return s
}

// blob is written also when it is empty, and may be absent when read.
func (f *fields) blob(tag byte, v *[]byte) {
	if f.in == nil {
		f.out = wire.AppendField(f.out, tag, *v)
		return
	}
	*v, _ = f.in.Last(tag)
}

// optionalBlob leaves nil out; an empty blob is written, and read as one.
func (f *fields) optionalBlob(tag byte, v *[]byte) {
	if f.in == nil && *v == nil {
		return
	}
	f.blob(tag, v)
}

// list is a count and as many records. Each record begins with the tag first and has
// fields that are required, so the memory taken follows the bytes that arrived.
func list[T any](f *fields, name string, first byte, v *[]T, record func(*fields, *T)) {
	if f.in == nil {
		f.out = wire.AppendFieldUint32(f.out, tagCount, uint32(len(*v)))
		for i := range *v {
			record(f, &(*v)[i])
		}
		return
	}
	*v = nil
	count := f.in.Uint32(tagCount, "count")
	if f.in.Err() != nil {
		return
	}
	for in := range f.in.Records(first) {
		var item T
		r := &fields{in: in}
		record(r, &item)
		if r.fail(in.Err()); r.err != nil {
			f.fail(r.err)
			return
		}
		*v = append(*v, item)
	}
	if uint64(count) != uint64(len(*v)) {
		f.fail(wire.NewViolation(wire.CodeValue, "%s: %d announced, %d there", name, count, len(*v)))
	}
}
