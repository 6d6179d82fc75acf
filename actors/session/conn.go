// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// maxFrames and maxFrameBytes bound what was read from one peer and is not
	// dealt with: then nothing more is read from it.
	maxFrames     = 16
	maxFrameBytes = 2 << 20
	// frameOverhead is what a frame weighs beyond its payload.
	frameOverhead = 256
	// maxQueuedBytes bounds what waits to be written to one peer.
	maxQueuedBytes = 2 << 20
)

// peerConn is the stream below a session: one goroutine reads it, and one writes
// while there is something to write. Its actor owns it.
type peerConn struct {
	// Fixed at creation.
	stream  *stream
	node    identity.NodeKey
	hs      handshake
	credits *kernel.Credits
	traffic *traffic
	// permission is whether the peer may do more than ask to be a contact.
	permission *permission
	// dataTurn is the right to use our data stream.
	dataTurn chan struct{}
	// receiving says that a frame is arriving on the peer's data stream.
	receiving atomic.Bool

	mu      sync.Mutex
	queue   []queuedFrame
	queued  int // bytes in queue
	writing bool
	// The data streams of the session, nil while there is none.
	incoming, outgoing overlay.Conn
	closed             bool
}

// What a session's goroutines tell it.
type (
	// dialled is a stream on which both sides have proved who they are.
	dialled struct{ conn *peerConn }
	// accepted: the handshake of an accepted stream is complete.
	accepted struct{}
	// frameRead is the next frame of the control stream, or a message of a data
	// stream. The handler that has dealt with it releases its credit.
	frameRead struct {
		frame  peer.Frame
		credit Credit
	}
)

func newPeerConn(s *stream, hs handshake) *peerConn {
	t := newTraffic()
	s.noteRead = t.noteRead
	return &peerConn{
		stream: s, node: s.RemoteKey(), hs: hs, traffic: t,
		credits: kernel.NewCredits(maxFrames, maxFrameBytes), permission: newPermission(), dataTurn: make(chan struct{}, 1),
	}
}

// close ends the session's streams; what was written before is still delivered.
// It ends every goroutine that reads or writes them.
func (p *peerConn) close() {
	p.mu.Lock()
	p.closed = true
	incoming, outgoing := p.incoming, p.outgoing
	p.mu.Unlock()
	_ = p.stream.Close()
	if incoming != nil {
		_ = incoming.Close()
	}
	if outgoing != nil {
		_ = outgoing.Close()
	}
}

// setData makes conn the data stream in slot, which is p.incoming or p.outgoing,
// and ends the one before. When the session has ended meanwhile conn is ended too.
func (p *peerConn) setData(slot *overlay.Conn, conn overlay.Conn) {
	p.mu.Lock()
	old := *slot
	*slot = conn
	closed := p.closed
	p.mu.Unlock()
	if old != nil {
		_ = old.Abort()
	}
	if closed {
		_ = conn.Abort()
	}
}

func (p *peerConn) data(slot *overlay.Conn) overlay.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *slot
}

// readFrames reads the control stream until it ends. It passes on one frame
// after the other and stops reading while too many are not dealt with.
func (p *peerConn) readFrames(ctx context.Context, inbox kernel.Inbox) error {
	for {
		if err := p.stream.waitForFrame(); err != nil {
			return err
		}
		frame, err := p.stream.generation.readFrame(p.stream.reader, p.permission.limits())
		if err != nil {
			return err
		}
		p.traffic.noteFrame()
		credit := Credit{p.credits, p.permission.cost(frame)}
		if err := p.credits.Acquire(ctx, credit.cost); err != nil {
			return err
		}
		if !inbox.Tell(frameRead{frame, credit}) {
			return kernel.ErrStopped
		}
	}
}

// queuedFrame is a frame to be written, and the crash point behind it.
type queuedFrame struct {
	bytes []byte
	then  crashpoint.Name
}

// enqueue takes a frame to be written, or drops one that the other side cannot
// read. start tells the caller to run writeQueued; ok is false when too much waits
// already.
func (p *peerConn) enqueue(f peer.Frame) (start, ok bool) {
	encoded, readable := p.stream.generation.encode(f)
	if !readable {
		return false, true
	}
	frame := queuedFrame{bytes: encoded}
	switch f.(type) {
	case peer.OK:
		frame.then = crashpoint.AfterOK
	case peer.Message:
		frame.then = crashpoint.AfterSend
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued > 0 && p.queued+len(frame.bytes) > maxQueuedBytes {
		return false, false
	}
	p.queue = append(p.queue, frame)
	p.queued += len(frame.bytes)
	start = !p.writing
	p.writing = true
	return start, true
}

// writeQueued writes until nothing waits any more.
func (p *peerConn) writeQueued() error {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.writing = false
			p.queue = nil
			p.mu.Unlock()
			return nil
		}
		frame := p.queue[0]
		p.queue = p.queue[1:]
		p.queued -= len(frame.bytes)
		p.mu.Unlock()
		if err := p.stream.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		if _, err := p.stream.Write(frame.bytes); err != nil {
			return err
		}
		crashpoint.At(frame.then)
	}
}
