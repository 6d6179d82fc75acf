// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// Cursor reads fields from bytes that are all there: a datagram, a field's
// value, a message payload. After the first error every call returns zero, so a
// parser reads all its fields and asks [Cursor.Err] once.
//
// Returned slices point into the input.
type Cursor struct {
	rest []byte
	err  error
}

// NewCursor starts at the first byte of b.
func NewCursor(b []byte) *Cursor { return &Cursor{rest: b} }

// Err returns the first error: a *[Violation], or what [Cursor.Fail] was given.
func (c *Cursor) Err() error { return c.err }

// Fail makes err the cursor's error unless it has one.
func (c *Cursor) Fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Remaining returns how many bytes are left.
func (c *Cursor) Remaining() int { return len(c.rest) }

// Rest takes everything that is left.
func (c *Cursor) Rest() []byte { return c.Take("rest", len(c.rest)) }

// End fails when bytes are left, and returns the first error.
func (c *Cursor) End() error {
	if c.err == nil && len(c.rest) > 0 {
		c.err = NewViolation(CodeTrailing, "%d bytes left over", len(c.rest))
	}
	return c.err
}

// Take takes the next n bytes. n is the caller's, not the wire's.
func (c *Cursor) Take(field string, n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > len(c.rest) {
		c.err = NewViolation(CodeTruncated, "%s: %d bytes wanted, %d left", field, n, len(c.rest))
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

// Fixed fills dst.
func (c *Cursor) Fixed(field string, dst []byte) { copy(dst, c.Take(field, len(dst))) }

// Uint8 takes one byte.
func (c *Cursor) Uint8(field string) uint8 {
	b := c.Take(field, 1)
	if b == nil {
		return 0
	}
	return b[0]
}

// Uint16 takes two bytes.
func (c *Cursor) Uint16(field string) uint16 {
	b := c.Take(field, 2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// Uint32 takes four bytes.
func (c *Cursor) Uint32(field string) uint32 {
	b := c.Take(field, 4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 takes eight bytes.
func (c *Cursor) Uint64(field string) uint64 {
	b := c.Take(field, 8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Int32 takes four bytes.
func (c *Cursor) Int32(field string) int32 { return int32(c.Uint32(field)) }

// Int64 takes eight bytes.
func (c *Cursor) Int64(field string) int64 { return int64(c.Uint64(field)) }

// Blob takes an i32 length of at most limit and that many bytes.
func (c *Cursor) Blob(field string, limit int) []byte {
	return c.bytes(field, int64(c.Int32(field)), limit)
}

// Text takes a blob that must be valid UTF-8.
func (c *Cursor) Text(field string, limit int) string {
	return c.text(field, c.Blob(field, limit))
}

// ShortText takes a text whose length has two bytes.
func (c *Cursor) ShortText(field string, limit int) string {
	return c.text(field, c.bytes(field, int64(c.Uint16(field)), limit))
}

func (c *Cursor) bytes(field string, n int64, limit int) []byte {
	if c.err == nil {
		c.err = checkLength(field, n, int64(limit))
	}
	if c.err != nil {
		return nil
	}
	return c.Take(field, int(n))
}

func (c *Cursor) text(field string, b []byte) string {
	if c.err == nil && !utf8.Valid(b) {
		c.err = NewViolation(CodeText, "%s: not UTF-8", field)
	}
	if c.err != nil {
		return ""
	}
	return string(b)
}

// checkLength is the one place that judges a declared length. It returns error,
// not *Violation, so that a nil stays nil in an interface.
func checkLength(field string, n, limit int64) error {
	if n < 0 || n > limit {
		return NewViolation(CodeLength, "%s: %d, allowed 0 to %d", field, n, limit)
	}
	return nil
}
