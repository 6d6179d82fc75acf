// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// Line is one stream, byte by byte. Writing and reading may go on at the same
// time, each by any number of goroutines; a write is never mixed with another.
type Line struct {
	conn overlay.Conn
	in   *bufio.Reader
	// turn is the right to write. It is a channel, as a goroutine that waits for it
	// inside testing/synctest must not stop the clock.
	turn chan struct{}
	// split cuts a write into the pieces that go out one after the other; nil leaves
	// it whole.
	split func([]byte) [][]byte
}

// DialLine opens a stream to the peer port of a node and sends nothing.
func DialLine(ctx context.Context, carrier overlay.Carrier, to identity.NodeKey) (*Line, error) {
	conn, err := carrier.Dial(ctx, to, Port)
	if err != nil {
		return nil, err
	}
	return NewLine(conn), nil
}

// NewLine makes a line of a stream.
func NewLine(conn overlay.Conn) *Line {
	return &Line{conn: conn, in: bufio.NewReader(conn), turn: make(chan struct{}, 1)}
}

// Node is the node at the other end.
func (l *Line) Node() identity.NodeKey { return l.conn.RemoteKey() }

// Close ends the line in order: what was written before still arrives.
func (l *Line) Close() { _ = l.conn.Close() }

// Abort ends the line at once; the other side sees a reset.
func (l *Line) Abort() { _ = l.conn.Abort() }

// Write sends bytes in one piece.
func (l *Line) Write(b []byte) (int, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	pieces := [][]byte{b}
	if l.split != nil {
		pieces = l.split(b)
	}
	n := 0
	for _, piece := range pieces {
		m, err := l.conn.Write(piece)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// singleBytes cuts everything into bytes.
func singleBytes(b []byte) [][]byte {
	return slices.Collect(slices.Chunk(b, 1))
}

// afterHeader cuts a frame behind its header.
func afterHeader(b []byte) [][]byte {
	if len(b) <= headerSize {
		return [][]byte{b}
	}
	return [][]byte{b[:headerSize], b[headerSize:]}
}

// interrupt ends whatever is read now.
func (l *Line) interrupt() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) }

// Send sends frames, all of them in one piece.
func (l *Line) Send(frames ...Frame) error {
	var b []byte
	for _, f := range frames {
		b = f.AppendTo(b)
	}
	_, err := l.Write(b)
	return err
}

// Drip sends bytes one by one, with a pause after each.
func (l *Line) Drip(ctx context.Context, b []byte, pause time.Duration) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range b {
		if _, err := l.Write(b[i : i+1]); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// limit bounds how long reads take from now on; 0 does not.
func (l *Line) limit(d time.Duration) error {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	return l.conn.SetReadDeadline(deadline)
}

// ReadBytes reads n bytes, within a time.
func (l *Line) ReadBytes(n int, within time.Duration) ([]byte, error) {
	if err := l.limit(within); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err := io.ReadFull(l.in, b)
	return b, err
}

// ReadFrame reads a frame of a control stream, whatever it is, within a time.
func (l *Line) ReadFrame(within time.Duration) (Frame, error) {
	if err := l.limit(within); err != nil {
		return Frame{}, err
	}
	t, size, err := readHeader(l.in)
	if err != nil {
		return Frame{}, err
	}
	return readBody(l.in, t, size, true)
}

// ReadData reads a frame of a data stream, within a time.
func (l *Line) ReadData(within time.Duration) (Frame, error) {
	if err := l.limit(within); err != nil {
		return Frame{}, err
	}
	return readData(l.in)
}

// expect reads a frame that must be of one type, as in a handshake: nothing is
// skipped there.
func (l *Line) expect(want Type) (Frame, error) {
	t, size, err := readHeader(l.in)
	if err != nil {
		return Frame{}, fmt.Errorf("wait for %v: %w", want, err)
	}
	if t != want {
		return Frame{}, fmt.Errorf("%w: %v instead of %v", errProtocol, t, want)
	}
	return readBody(l.in, t, size, true)
}

// Ended returns nil when the other side ends the line within a time and sends
// nothing before.
func (l *Line) Ended(within time.Duration) error {
	rest, err := l.Drain(within)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("the line ended after %d more bytes: %x", len(rest), rest[:min(len(rest), 64)])
	}
	return err
}

// Drain reads until the other side ends the line, within a time, and returns what
// came before.
func (l *Line) Drain(within time.Duration) ([]byte, error) {
	if err := l.limit(within); err != nil {
		return nil, err
	}
	var rest bytes.Buffer
	_, err := rest.ReadFrom(l.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return rest.Bytes(), fmt.Errorf("the line is still open after %v", within)
	}
	return rest.Bytes(), nil // ended in order or not
}

// Silent returns nil when nothing comes for a time and the line stays open.
func (l *Line) Silent(during time.Duration) error {
	b, err := l.ReadBytes(1, during)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		return fmt.Errorf("the line ended: %w", err)
	}
	rest, _ := l.in.Peek(l.in.Buffered())
	return fmt.Errorf("something came: %x", append(b, rest...))
}
