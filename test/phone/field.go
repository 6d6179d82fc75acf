// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/mimird/mimird/proto/identity"
)

// kind is how a field is written.
type kind uint8

const (
	kindU8      kind = iota
	kindI32          // big-endian, as all numbers
	kindI64          //
	kindBlob         // i32 length, then the bytes
	kindStr          // i32 length, then UTF-8
	kindLong         // i64 length, then the bytes
	kindPayload      // bytes, as many as payloadSize in the JSON before them says
)

// field is one piece of a frame.
type field struct {
	name string
	kind kind
	// limit is the largest length that is taken; exact, the only one.
	limit int64
	exact bool
	// onlyAbove: the field is there only when the header's size is larger.
	onlyAbove int64
}

func u8(name string) field                { return field{name: name, kind: kindU8} }
func i32(name string) field               { return field{name: name, kind: kindI32} }
func i64(name string) field               { return field{name: name, kind: kindI64} }
func blob(name string, limit int64) field { return field{name: name, kind: kindBlob, limit: limit} }
func str(name string) field               { return field{name: name, kind: kindStr, limit: maxText} }
func long(name string, limit int64) field { return field{name: name, kind: kindLong, limit: limit} }
func payload(name string) field           { return field{name: name, kind: kindPayload, limit: maxPayload} }

func (f field) exactly() field {
	f.exact = true
	return f
}

func (f field) whenSizeExceeds(size int64) field {
	f.onlyAbove = size
	return f
}

// hasBytes reports whether bytes follow, rather than a number.
func (f field) hasBytes() bool { return f.kind >= kindBlob }

// allows reports whether a length is one that is taken.
func (f field) allows(length int64) bool {
	return length >= 0 && length <= f.limit && (!f.exact || length == f.limit)
}

// read reads the field's value. so holds the fields before it.
func (f field) read(r io.Reader, so Frame) (any, error) {
	var b [8]byte
	switch f.kind {
	case kindU8:
		_, err := io.ReadFull(r, b[:1])
		return int64(b[0]), err
	case kindI32:
		_, err := io.ReadFull(r, b[:4])
		return int64(int32(binary.BigEndian.Uint32(b[:]))), err
	case kindI64:
		_, err := io.ReadFull(r, b[:8])
		return int64(binary.BigEndian.Uint64(b[:])), err
	}
	length, err := f.readLength(r, so)
	if err != nil {
		return nil, err
	}
	if !f.allows(length) {
		return nil, fmt.Errorf("%w: length %d, limit %d", errProtocol, length, f.limit)
	}
	var value bytes.Buffer // grows with what comes, not with what was announced
	if _, err := io.CopyN(&value, r, length); err != nil {
		return nil, err
	}
	if f.kind != kindStr {
		return value.Bytes(), nil
	}
	if !utf8.Valid(value.Bytes()) {
		return nil, fmt.Errorf("%w: not UTF-8", errProtocol)
	}
	return value.String(), nil
}

func (f field) readLength(r io.Reader, so Frame) (int64, error) {
	var b [8]byte
	switch f.kind {
	case kindPayload:
		h, err := parseHeader(so.Bytes("header"))
		return h.payloadSize, err
	case kindLong:
		_, err := io.ReadFull(r, b[:8])
		return int64(binary.BigEndian.Uint64(b[:])), err
	default:
		_, err := io.ReadFull(r, b[:4])
		return int64(int32(binary.BigEndian.Uint32(b[:]))), err
	}
}

// number is the value of a field that holds one.
func number(v any) int64 {
	switch v := v.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case int64:
		return v
	case uint32:
		return int64(v)
	case uint64:
		return int64(v)
	case GUID:
		return int64(v)
	case MessageType:
		return int64(v)
	}
	panic(fmt.Sprintf("phone: %T is not a number", v))
}

// octets is the value of a field that holds bytes.
func octets(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case []byte:
		return v
	case string:
		return []byte(v)
	case Key:
		return v[:]
	case identity.NodeKey:
		return v[:]
	}
	panic(fmt.Sprintf("phone: %T is not bytes", v))
}

func sorted[T cmp.Ordered](all []T) []T {
	slices.Sort(all)
	return all
}
