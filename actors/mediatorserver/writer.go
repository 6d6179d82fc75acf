// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"sync"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/strangerlog"
)

// sharedWriter is one goroutine that writes what is queued for all connections, as far as
// that needs no waiting. To wake a goroutine of each subscriber costs as much as half of a
// push. What has to wait is written by the connection's own writer, so a connection that is
// not read holds up no other.
type sharedWriter struct {
	strangers *strangerlog.Log

	mu sync.Mutex
	// added is signalled when waiting is not empty any more.
	added sync.Cond
	// waiting are connections with frames to write, each at most once.
	waiting []prompt
	stopped bool
}

// prompt is a connection that can be written to without waiting.
type prompt struct {
	client *client
	conn   overlay.PromptWriter
}

func newSharedWriter(strangers *strangerlog.Log) *sharedWriter {
	w := &sharedWriter{strangers: strangers}
	w.added.L = &w.mu
	return w
}

// start starts the goroutine; stop ends it and waits for it.
func (w *sharedWriter) start() (stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	return func() {
		w.mu.Lock()
		w.stopped = true
		w.waiting = nil
		w.mu.Unlock()
		w.added.Signal()
		<-ended
	}
}

// ready returns what adds a connection; nil when it cannot be written to without waiting.
// The outbox calls it when there is something to write and nobody writes yet.
func (w *sharedWriter) ready(c *client) func() {
	conn, ok := c.conn.(overlay.PromptWriter)
	if !ok {
		return nil
	}
	return func() { w.add(prompt{c, conn}) }
}

func (w *sharedWriter) add(p prompt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	w.waiting = append(w.waiting, p)
	if len(w.waiting) == 1 {
		w.added.Signal()
	}
}

// run writes to the connections in turn, up to writeSize each.
func (w *sharedWriter) run() {
	var buf [writeSize]byte
	var turn []prompt
	for {
		clear(turn)
		if turn = w.next(turn[:0]); turn == nil {
			return
		}
		for _, p := range turn {
			w.write(p, &buf)
		}
	}
}

// write writes the first frames of a connection. A panic ends that connection.
func (w *sharedWriter) write(p prompt, buf *[writeSize]byte) {
	more := false
	err := w.strangers.Protect("mediator", func() error {
		more = p.client.writeNow(p.conn, buf)
		return nil
	})
	if err != nil {
		p.client.end(err)
	}
	if more {
		w.add(p)
	}
}

// next waits for connections and returns them, nil at the end. spare is reused for those
// that are added meanwhile.
func (w *sharedWriter) next(spare []prompt) []prompt {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && !w.stopped {
		w.added.Wait()
	}
	if w.stopped {
		return nil
	}
	turn := w.waiting
	w.waiting = spare
	return turn
}
