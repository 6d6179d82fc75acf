// SPDX-License-Identifier: MPL-2.0

package overlay

import "sync"

// stackGrow makes new goroutines begin with larger stacks.
//
// Yggdrasil's actors run in goroutines that live for a message or two, thousands in
// a second. Their ciphers need more stack than the 2 KiB that a goroutine has at
// first, so each of them would move its stack once or twice: a seventh of all that a
// small packet costs. The runtime lets goroutines begin with what those that it
// found at its last collection use on average, a power of two. Most of ours wait for
// something rare and use little; so this is one that waits and uses much. It counts
// the less, the more goroutines there are, and the memory that it makes them take
// stays below 2 MiB.
type stackGrow struct {
	done   chan struct{}
	waiter sync.WaitGroup
}

const (
	growFrame  = 64 << 10
	growFrames = 3 // with the rest of the stack less than the 256 KiB that it then has
)

func newStackGrow() *stackGrow {
	r := &stackGrow{done: make(chan struct{})}
	r.waiter.Go(func() { r.wait(growFrames) })
	return r
}

// wait waits for the end with that many frames on the stack.
func (r *stackGrow) wait(frames int) {
	var frame [growFrame]byte
	keepAlive(&frame)
	if frames > 1 {
		r.wait(frames - 1)
		return
	}
	<-r.done
}

// keepAlive keeps the compiler from removing a frame that is never read.
//
//go:noinline
func keepAlive(*[growFrame]byte) {}

func (r *stackGrow) close() {
	close(r.done)
	r.waiter.Wait()
}
