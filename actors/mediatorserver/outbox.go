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

// outbox is what waits to be written to one connection. A writer looks at the first frames,
// writes them, and then takes them out.
type outbox struct {
	shared *atomic.Int64
	// ready gives the outbox to the shared writer. It does not block; nil when
	// the connection cannot be written to without waiting.
	ready func()
	wake  chan struct{} // the connection's own writer has to write
	taken chan struct{} // something was taken

	mu      sync.Mutex
	at      writerState
	frames  []*frame
	few     [2]*frame // where frames begins
	pushes  int       // of frames
	bytes   int       // of the pushes
	answers int       // bytes of the answers
	closed  bool
}

// writerState says who writes what is queued.
type writerState uint8

const (
	// nothing is queued.
	writerIdle writerState = iota
	// the shared writer does, or will.
	writerShared
	// the connection's own writer does: it may wait.
	writerOwn
)

func newOutbox(shared *atomic.Int64, ready func()) *outbox {
	return &outbox{shared: shared, ready: ready, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
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
	o.pushes++
	o.bytes += len(f.data)
	o.queue(f)
	return true
}

// queue adds a frame, and finds it a writer when there is none. The caller holds mu.
func (o *outbox) queue(f *frame) {
	if len(o.frames) == 0 {
		o.frames = o.few[:0]
	}
	o.frames = append(o.frames, f)
	switch {
	case o.at != writerIdle:
	case o.ready == nil:
		o.at = writerOwn
		signal(o.wake)
	default:
		o.at = writerShared
		o.ready()
	}
}

// answer queues an answer. While too many wait it blocks until ctx ends. It is called by
// one goroutine.
func (o *outbox) answer(ctx context.Context, b []byte) error {
	for {
		o.mu.Lock()
		if o.closed || o.answers < maxAnswerBytes {
			if !o.closed {
				o.answers += len(b)
				o.queue(&frame{data: b})
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

// next returns the bytes of the first frames that fit into n bytes behind each other, how
// many frames that are, and the invites among them. b is for joining several. A first frame
// that is larger is returned alone. The caller writes them and calls take, or calls wait.
func (o *outbox) next(b []byte, n int) (data []byte, frames int, invites []*inviteSent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) == 0 {
		return nil, 0, nil // closed
	}
	data = o.frames[0].data
	for i, f := range o.frames {
		if i > 0 && len(data)+len(f.data) > n {
			break
		}
		switch i {
		case 0:
		case 1:
			data = append(append(b[:0], data...), f.data...)
		default:
			data = append(data, f.data...)
		}
		if f.invite != nil {
			invites = append(invites, f.invite)
		}
		frames++
	}
	return data, frames, invites
}

// take removes the frames that next has returned, when they are written, and reports
// whether there are more. When there are none, nobody writes any more.
func (o *outbox) take(frames int) (more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range min(frames, len(o.frames)) {
		o.drop()
	}
	signal(o.taken)
	if len(o.frames) == 0 {
		o.at = writerIdle
	}
	return len(o.frames) > 0
}

// wait has the connection's own writer go on, after next.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at = writerOwn
	signal(o.wake)
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
