// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"
)

// Reader reads the fields of one frame from a stream. After the first error
// every call returns zero, so a parser reads all its fields and asks
// [Reader.Err] once.
//
// It keeps no bytes of its own: a new Reader on the same bufio.Reader goes on
// where this one stopped, so a connection can change its owner between frames.
//
// An end of the stream inside a frame is io.ErrUnexpectedEOF, before its first
// byte io.EOF. Other errors of the stream are returned as they are.
type Reader struct {
	src     *bufio.Reader
	started bool
	err     error
}

// NewReader reads from src, whose buffer has at least 16 bytes (bufio allows no
// smaller one).
func NewReader(src *bufio.Reader) *Reader { return &Reader{src: src} }

// Err returns the first error: a *[Violation] or an error of the stream.
func (r *Reader) Err() error { return r.err }

// Fail makes err the reader's error unless it has one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Header takes n bytes, at most 16, without copying. The slice is valid until
// the next call.
func (r *Reader) Header(n int) []byte {
	if r.err != nil {
		return nil
	}
	b, err := r.src.Peek(n)
	if err != nil {
		r.started = r.started || len(b) > 0
		r.streamError(err)
		return nil
	}
	r.started = true
	// Cannot fail: the bytes are in the buffer.
	_, _ = r.src.Discard(n)
	return b
}

// Fixed fills dst.
func (r *Reader) Fixed(dst []byte) {
	if r.err != nil {
		return
	}
	n, err := io.ReadFull(r.src, dst)
	r.started = r.started || n > 0
	if err != nil {
		clear(dst)
		r.streamError(err)
	}
}

// Uint8 takes one byte.
func (r *Reader) Uint8() uint8 {
	b := r.Header(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// Uint32 takes four bytes.
func (r *Reader) Uint32() uint32 {
	b := r.Header(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 takes eight bytes.
func (r *Reader) Uint64() uint64 {
	b := r.Header(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// Int32 takes four bytes.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Int64 takes eight bytes.
func (r *Reader) Int64() int64 { return int64(r.Uint64()) }

// FixedBlob takes an i32 length that must be len(dst), and fills dst.
func (r *Reader) FixedBlob(field string, dst []byte) {
	n := r.Int32()
	if r.err == nil && int64(n) != int64(len(dst)) {
		r.err = NewViolation(CodeLength, "%s: %d, must be %d", field, n, len(dst))
	}
	r.Fixed(dst)
}

// Blob takes an i32 length of at most limit and that many bytes; nil when there
// are none.
func (r *Reader) Blob(field string, limit int) []byte {
	return r.Bytes(field, int64(r.Int32()), limit)
}

// BlobOrSkip takes an i32 length and that many bytes. More than keep are read
// over and give nil; more than limit are a violation.
func (r *Reader) BlobOrSkip(field string, keep, limit int) []byte {
	n := int64(r.Int32())
	if n > int64(keep) {
		r.Skip(field, n, limit)
		return nil
	}
	return r.Bytes(field, n, limit)
}

// Text takes a blob that must be valid UTF-8.
func (r *Reader) Text(field string, limit int) string {
	b := r.Blob(field, limit)
	if r.err == nil && !utf8.Valid(b) {
		r.err = NewViolation(CodeText, "%s: not UTF-8", field)
	}
	if r.err != nil {
		return ""
	}
	return string(b)
}

// CutText takes a text of at most limit bytes and keeps the first keep of it, or
// one to three less so that no character is torn.
func (r *Reader) CutText(field string, keep, limit int) string {
	return CutText(r.Text(field, limit), keep)
}

// CutText returns the start of s, at most n bytes, without tearing a character.
func CutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Bytes takes n bytes, at most limit; nil when n is 0. Memory grows with what
// arrives: at most [ReadStep] bytes are taken ahead of it.
func (r *Reader) Bytes(field string, n int64, limit int) []byte {
	if r.err == nil {
		r.err = checkLength(field, n, int64(limit))
	}
	if r.err != nil || n == 0 {
		return nil
	}
	if n <= ReadStep {
		whole := make([]byte, n)
		r.Fixed(whole)
		if r.err != nil {
			return nil
		}
		return whole
	}
	// Steps are joined only when all have arrived. Growing one slice would
	// either run ahead of the bytes or copy them over and over.
	var steps [][]byte
	for left := n; left > 0; left -= ReadStep {
		step := make([]byte, min(left, ReadStep))
		r.Fixed(step)
		if r.err != nil {
			return nil
		}
		steps = append(steps, step)
	}
	whole := make([]byte, 0, n)
	for _, step := range steps {
		whole = append(whole, step...)
	}
	return whole
}

// Skip reads over n bytes, at most limit.
func (r *Reader) Skip(field string, n int64, limit int) {
	if r.err == nil {
		r.err = checkLength(field, n, int64(limit))
	}
	if r.err != nil {
		return
	}
	skipped, err := r.src.Discard(int(n))
	r.started = r.started || skipped > 0
	if err != nil {
		r.streamError(err)
	}
}

// streamError tells an end between frames from an end inside of one.
func (r *Reader) streamError(err error) {
	if r.started && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
}
