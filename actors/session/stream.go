// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bufio"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// readBuffer is the size of the buffer of a stream. Frames are small; payloads are
	// read past it.
	readBuffer = 4 << 10
	// stallTime is how long a peer may pause inside a frame, and how long a write to it
	// may block.
	stallTime = 30 * time.Second
)

// stream is an overlay stream with its read buffer, which may have the next frame
// already. One goroutine at a time reads.
//
// During a handshake the owner sets the deadline of reads. After waitForFrame the stream
// sets it: there is none until a frame begins, then stallTime for each piece of the frame.
// So a slow peer may send a large message, and a peer that stalls is noticed.
type stream struct {
	overlay.Conn
	generation Generation
	reader     *bufio.Reader
	pieces     bool
	// noteRead is called after each read with the number of bytes; nil until a session
	// owns the stream.
	noteRead func(n int)
}

func newStream(conn overlay.Conn, g Generation) *stream {
	s := &stream{Conn: conn, generation: g}
	s.reader = bufio.NewReaderSize(s, readBuffer)
	return s
}

// Read is for the buffer.
func (s *stream) Read(b []byte) (int, error) {
	if s.pieces {
		if err := s.SetReadDeadline(time.Now().Add(stallTime)); err != nil {
			return 0, err
		}
	}
	n, err := s.Conn.Read(b)
	if n > 0 && s.noteRead != nil {
		s.noteRead(n)
	}
	return n, err
}

// AwaitByte implements [attribution.Stream].
func (s *stream) AwaitByte() error {
	_, err := s.reader.Peek(1)
	return err
}

// waitForFrame waits for the first byte of a frame, without a time limit.
func (s *stream) waitForFrame() error {
	if s.reader.Buffered() == 0 {
		s.pieces = false
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if err := s.AwaitByte(); err != nil {
			return err
		}
	}
	s.pieces = true
	return nil
}

// handoffTime is how long a stream may have no owner. A message to an actor that ends
// meanwhile is dropped, and its stream would stay open for ever.
const handoffTime = 20 * time.Second

// Handoff moves a stream, with its read buffer, from one owner to the next. A stream
// that is not claimed within handoffTime is reset. It is safe for concurrent use.
type Handoff struct {
	stream *stream
	hs     handshake // control streams only
	taken  atomic.Bool
	timer  *time.Timer
}

func newHandoff(s *stream, hs handshake) *Handoff {
	h := &Handoff{stream: s, hs: hs}
	h.timer = time.AfterFunc(handoffTime, h.Drop)
	return h
}

// Node is the node at the other end.
func (h *Handoff) Node() identity.NodeKey { return h.stream.RemoteKey() }

// Generation is what the other end speaks.
func (h *Handoff) Generation() Generation { return h.stream.generation }

// claim makes the caller the owner; it returns false when the stream was claimed or
// dropped before.
func (h *Handoff) claim() bool {
	if h.taken.Swap(true) {
		return false
	}
	h.timer.Stop()
	return true
}

// Drop resets the stream unless it was claimed. It may be called more than once.
func (h *Handoff) Drop() {
	if h.claim() {
		_ = h.stream.Abort() // there is nothing left to do with it
	}
}
