// SPDX-License-Identifier: MPL-2.0

package fixed

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// fields walks along the fields of a payload, reading or writing them, so that each
// payload is described once. Writing changes nothing of what is written: a push goes
// to many streams at once. What is read points into the input.
type fields struct {
	in  *wire.Cursor // nil when writing
	out []byte
}

// payload is anything with fields.
type payload interface{ fields(f *fields) }

func appendPayload(b []byte, p payload) []byte {
	f := &fields{out: b}
	p.fields(f)
	return f.out
}

func parsePayload(b []byte, p payload) error {
	f := &fields{in: wire.NewCursor(b)}
	p.fields(f)
	return f.in.Err()
}

func (f *fields) fixed(name string, v []byte) {
	if f.in == nil {
		f.out = append(f.out, v...)
		return
	}
	f.in.Fixed(name, v)
}

func (f *fields) key(name string, v *identity.PublicKey) { f.fixed(name, v[:]) }

func (f *fields) uint32(name string, v *uint32) {
	if f.in == nil {
		f.out = wire.AppendUint32(f.out, *v)
		return
	}
	*v = f.in.Uint32(name)
}

func number[T ~int64](f *fields, name string, v *T) {
	if f.in == nil {
		f.out = wire.AppendInt64(f.out, int64(*v))
		return
	}
	*v = T(f.in.Int64(name))
}

func octet[T ~byte](f *fields, name string, v *T) {
	if f.in == nil {
		f.out = append(f.out, byte(*v))
		return
	}
	*v = T(f.in.Uint8(name))
}

// flag is 0 or 1 and nothing else.
func (f *fields) flag(name string, v *bool) {
	if f.in == nil {
		f.out = wire.AppendBool(f.out, *v)
		return
	}
	n := f.in.Uint8(name)
	if n > 1 {
		f.in.Fail(wire.NewViolation(wire.CodeValue, "%s: %d, must be 0 or 1", name, n))
	}
	*v = n == 1
}

// text is cut to its limit when written, and refused above it when read.
func (f *fields) text(name string, v *string, limit int) {
	if f.in == nil {
		f.out = wire.AppendShortText(f.out, wire.CutText(*v, limit))
		return
	}
	*v = f.in.ShortText(name, limit)
}

// blob is refused above its limit when read.
func (f *fields) blob(name string, v *[]byte, limit int) {
	if f.in == nil {
		f.out = wire.AppendBlob(f.out, *v)
		return
	}
	*v = f.in.Blob(name, limit)
}

// Limits of fields that have none of their own: as far as the payload goes.
const (
	anyText = 1<<16 - 1
	anyBlob = MaxAnswer
)

// list is a count and as many items, each of at least size bytes. Memory is taken
// for as many as the input has room for.
func list[T any](f *fields, name string, v *[]T, size int, item func(*fields, *T)) {
	if f.in == nil {
		f.out = wire.AppendUint32(f.out, uint32(len(*v)))
		for i := range *v {
			item(f, &(*v)[i])
		}
		return
	}
	*v = nil
	count := f.in.Uint32(name)
	if f.in.Err() == nil && int64(count)*int64(size) > int64(f.in.Remaining()) {
		f.in.Fail(wire.NewViolation(wire.CodeTruncated, "%s: %d of them, %d bytes left", name, count, f.in.Remaining()))
	}
	if f.in.Err() != nil || count == 0 {
		return
	}
	*v = make([]T, count)
	for i := range *v {
		item(f, &(*v)[i])
	}
}
