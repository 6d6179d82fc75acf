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
	// readBuffer is what a stream is read in. Frames are small; payloads are read
	// past it.
	readBuffer = 4 << 10
	// stallTime is how long a peer may pause inside a frame, and how long it may
	// take no byte of ours.
	stallTime = 30 * time.Second
)

// stream is an overlay stream with the buffer it is read through, which is handed
// on with it: it may hold the next frame already. One goroutine at a time reads.
//
// The time that a reader waits is limited in one of two ways. During a handshake
// the deadline is the owner's. After waitForFrame it is the stream's own: none
// until a frame begins, then stallTime for each piece of it, so that a slow peer
// may take long for a large message but a silent one is noticed.
type stream struct {
	overlay.Conn
	generation Generation
	reader     *bufio.Reader
	pieces     bool
	// noteRead is called with how much was read whenever something was; nil until a
	// session has it.
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

// waitForFrame waits for the first byte of a frame, for as long as it takes.
func (s *stream) waitForFrame() error {
	if s.reader.Buffered() == 0 {
		s.pieces = false
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if _, err := s.reader.Peek(1); err != nil {
			return err
		}
	}
	s.pieces = true
	return nil
}

// handoffTime is how long a stream may be on its way between two owners. It is a
// safety net: a message to an actor that ends meanwhile is dropped, and a stream
// without an owner would stay open for ever.
const handoffTime = 20 * time.Second

// Handoff carries a stream, and what has been read of it, from one owner to the
// next. Whoever claims it owns it; if nobody does in time, it is aborted.
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

// claim makes the caller the owner; it returns false when the time was up.
func (h *Handoff) claim() bool {
	if h.taken.Swap(true) {
		return false
	}
	h.timer.Stop()
	return true
}

// Drop aborts the stream if nobody has claimed it.
func (h *Handoff) Drop() {
	if h.claim() {
		_ = h.stream.Abort() // there is nothing left to do with it
	}
}
