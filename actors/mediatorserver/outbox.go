// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/proto/mediator"
)

const (
	// maxPushes and maxPushBytes bound the pushes that wait for one connection; a single
	// larger one may wait alone.
	maxPushes    = 1024
	maxPushBytes = 4 << 20
	// maxAnswerBytes of answers wait before no further request is read.
	maxAnswerBytes = 256 << 10
	// maxShared bounds the pushes that wait for all connections, each counted once. When
	// there is more, connections that have behindBytes waiting are ended.
	maxShared   = 64 << 20
	behindBytes = 64 << 10
)

// frame is encoded once and queued for many connections.
type frame struct {
	data   []byte
	queues atomic.Int32
	shared *atomic.Int64
	// invite is the one that the frame pushes, to be marked when it was written.
	invite *inviteSent
}

func (f *frame) enter() {
	if f.queues.Add(1) == 1 {
		f.shared.Add(int64(len(f.data)))
	}
}

func (f *frame) leave() {
	if f.queues.Add(-1) == 0 {
		f.shared.Add(-int64(len(f.data)))
	}
}

// outbox is what waits to be written to one connection.
type outbox struct {
	shared *atomic.Int64
	wake   chan struct{} // something was queued
	taken  chan struct{} // something was taken

	mu      sync.Mutex
	frames  []*frame
	pushes  int // of frames
	bytes   int // of the pushes
	answers int // bytes of the answers
	closed  bool
}

func newOutbox(shared *atomic.Int64) *outbox {
	return &outbox{shared: shared, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// push queues a push. It never blocks; false says that the queue is full and the
// connection must end.
func (o *outbox) push(f *frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	full := o.pushes >= maxPushes || o.bytes > 0 && o.bytes+len(f.data) > maxPushBytes
	if full || o.bytes > behindBytes && o.shared.Load() > maxShared {
		return false
	}
	f.enter()
	o.frames = append(o.frames, f)
	o.pushes++
	o.bytes += len(f.data)
	signal(o.wake)
	return true
}

// answer queues an answer. While too many wait it blocks until ctx ends. It is called by
// one goroutine.
func (o *outbox) answer(ctx context.Context, b []byte) error {
	for {
		o.mu.Lock()
		if o.closed || o.answers < maxAnswerBytes {
			if !o.closed {
				o.frames = append(o.frames, &frame{data: b})
				o.answers += len(b)
				signal(o.wake)
			}
			o.mu.Unlock()
			return ctx.Err()
		}
		o.mu.Unlock()
		select {
		case <-o.taken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drained waits until the answers were taken.
func (o *outbox) drained(ctx context.Context) error {
	for {
		o.mu.Lock()
		empty := o.closed || o.answers == 0
		o.mu.Unlock()
		if empty {
			return ctx.Err()
		}
		select {
		case <-o.taken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// first returns the first frame without taking it, and whether it is the only one; nil when
// nothing waits.
func (o *outbox) first() (f *frame, alone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) == 0 {
		return nil, false
	}
	return o.frames[0], len(o.frames) == 1
}

// small takes frames as long as they fit into n bytes behind each other. Their bytes are
// appended to b.
func (o *outbox) small(b []byte, n int) ([]byte, []*inviteSent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var invites []*inviteSent
	for len(o.frames) > 0 && len(b)+len(o.frames[0].data) <= n {
		f := o.frames[0]
		b = append(b, f.data...)
		if f.invite != nil {
			invites = append(invites, f.invite)
		}
		o.drop()
	}
	signal(o.taken)
	return b, invites
}

// take removes the frame that first has returned, when it is written.
func (o *outbox) take() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) > 0 {
		o.drop()
	}
	signal(o.taken)
}

// drop removes the first frame. The caller holds mu.
func (o *outbox) drop() {
	f := o.frames[0]
	o.frames[0] = nil
	if o.frames = o.frames[1:]; len(o.frames) == 0 {
		o.frames = nil
	}
	if f.shared == nil {
		o.answers -= len(f.data)
		return
	}
	f.leave()
	o.pushes--
	o.bytes -= len(f.data)
}

// close empties the outbox for good.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for len(o.frames) > 0 {
		o.drop()
	}
	signal(o.taken)
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// pushFrame encodes pushes into one frame.
func pushFrame(shared *atomic.Int64, pushes ...mediator.Push) *frame {
	f := &frame{shared: shared}
	for _, p := range pushes {
		f.data = mediator.AppendPush(f.data, p)
	}
	return f
}
