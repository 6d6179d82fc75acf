// SPDX-License-Identifier: MPL-2.0

// Package jsonlist writes and reads a JSON array one element at a time, so that neither
// side has the whole in memory. The control API answers with such arrays, its client reads
// them, and commands print them.
package jsonlist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Writer writes an array. Every element goes out with one write to w, begun by what comes
// before it: the caller buffers where that is too often.
type Writer struct {
	w      io.Writer
	indent string
	n      int
	b      bytes.Buffer
}

// NewWriter returns a writer of an array to w. With an indent the array is what
// json.Encoder writes with it, otherwise it has an element a line.
func NewWriter(w io.Writer, indent string) *Writer { return &Writer{w: w, indent: indent} }

// Add writes an element. After an error the array cannot be completed.
func (l *Writer) Add(element any) error {
	raw, err := json.Marshal(element)
	if err != nil {
		return fmt.Errorf("encode element %d: %w", l.n+1, err)
	}
	l.b.Reset()
	if l.n == 0 {
		l.b.WriteByte('[')
	} else {
		l.b.WriteByte(',')
	}
	l.b.WriteByte('\n')
	if l.indent == "" {
		l.b.Write(raw)
	} else {
		l.b.WriteString(l.indent)
		if err := json.Indent(&l.b, raw, l.indent, l.indent); err != nil {
			return fmt.Errorf("indent element %d: %w", l.n+1, err)
		}
	}
	l.n++
	_, err = l.w.Write(l.b.Bytes())
	return err
}

// Close writes the end of the array.
func (l *Writer) Close() error {
	end := "\n]\n"
	if l.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}

// Read calls handle with each element of the array that r has, until handle returns an
// error. An array without an end is io.ErrUnexpectedEOF, after its elements.
func Read[T any](r io.Reader, handle func(T) error) error {
	d := json.NewDecoder(r)
	if err := delimiter(d, '['); err != nil {
		return err
	}
	for d.More() {
		var element T
		if err := d.Decode(&element); err != nil {
			return unexpected(err)
		}
		if err := handle(element); err != nil {
			return err
		}
	}
	return delimiter(d, ']')
}

func delimiter(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err != nil {
		return unexpected(err)
	}
	if got != want {
		return fmt.Errorf("a JSON array was expected, there is %.64v", got)
	}
	return nil
}

// unexpected is the error of an array that ends early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
