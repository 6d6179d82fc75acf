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
	// maxFrames and maxFrameBytes bound the frames of one peer that were read and are not
	// handled. At the bound the reader waits.
	maxFrames     = 16
	maxFrameBytes = 2 << 20
	// frameOverhead is the cost of a frame beyond its payload.
	frameOverhead = 256
	// maxQueuedBytes bounds the frames that are queued for one peer.
	maxQueuedBytes = 2 << 20
)

// peerConn is the connection of a session: one goroutine reads its control stream, and
// one writes while frames are queued. The session actor owns it.
type peerConn struct {
	// Fixed at creation.
	stream  *stream
	node    identity.NodeKey
	hs      handshake
	credits *kernel.Credits
	traffic *traffic
	// permission says whether the peer may do more than send a contact request.
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

// Messages of the goroutines of a session to it.
type (
	// dialled has a stream on which both sides have proved their identities.
	dialled struct{ conn *peerConn }
	// accepted says that the handshake of an accepted stream is complete.
	accepted struct{}
	// frameRead is the next frame of the control stream, or a message of a data stream.
	// Its credit is released when it was handled.
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

// close closes the streams of the session; bytes that were written are still delivered.
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

// setData makes conn the data stream in slot, which is p.incoming or p.outgoing, and
// resets the one before. If the session has ended meanwhile conn is reset too.
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

// readFrames reads the control stream until it ends and tells the session its frames,
// each with a credit.
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

// queuedFrame is a frame to be written, and the crash point after it.
type queuedFrame struct {
	bytes []byte
	then  crashpoint.Name
}

// enqueue queues a frame, or drops one that the generation of the peer does not have.
// start tells the caller to run writeQueued; ok is false when the queue is full.
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

// queuedBytes returns how many bytes are queued.
func (p *peerConn) queuedBytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued
}

// writeQueued writes until the queue is empty.
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
