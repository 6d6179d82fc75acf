// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"bytes"
	"context"
	"runtime"
	"slices"
)

// task is a goroutine owned by an incarnation.
type task struct {
	ctx       *Context
	name      string
	goroutine []byte // the head of its stack trace; under the mailbox's mu
	abandoned bool   // under the mailbox's mu
}

// Go starts a goroutine owned by this incarnation. Its ctx is Lifetime: when it
// ends, run has to return, after Stopping has closed what it may be blocked
// on. The actor ends, or starts again, only when it has. A goroutine that takes
// longer than 5 s for that is logged with its stack and left behind.
//
// The end of run arrives as TaskDone, except when the incarnation is over. A
// panic in run becomes TaskDone.Err. In Stopping, Go does nothing.
func (x *Context) Go(name string, run func(ctx context.Context) error) {
	ctx := x.Lifetime()
	t := &task{ctx: x, name: name}
	c := x.cell
	c.mu.Lock()
	if x.over {
		c.mu.Unlock()
		x.Log().Error("a stopping actor cannot start a goroutine", "task", name)
		return
	}
	c.tasks = append(c.tasks, t)
	c.mu.Unlock()
	go t.run(ctx, run)
}

func (t *task) run(ctx context.Context, run func(ctx context.Context) error) {
	c := t.ctx.cell
	head := goroutineHead()
	c.mu.Lock()
	t.goroutine = head
	c.mu.Unlock()

	var err error
	done := false
	defer func() {
		if !done {
			err = recovered(recover())
		}
		t.end(err)
	}()
	err = run(ctx)
	done = true
}

// end removes the task from its incarnation and tells the actor or the system.
func (t *task) end(err error) {
	x := t.ctx
	c := x.cell
	c.mu.Lock()
	if t.abandoned {
		c.mu.Unlock()
		c.sys.forget(t)
		return
	}
	i := slices.Index(c.tasks, t)
	c.tasks = slices.Delete(c.tasks, i, i+1)
	over, last := x.over, len(c.tasks) == 0
	c.mu.Unlock()
	switch {
	case !over:
		c.post(envelope{ctx: x, msg: TaskDone{Name: t.name, Err: err}})
	case last:
		c.signal(event{kind: eventAdvance, ctx: x})
	}
}

func (c *cell) taskCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tasks)
}

// abandonTasks goes on without the goroutines that overran their time. The
// system keeps waiting for them.
func (c *cell) abandonTasks() {
	if c.state != closing {
		return
	}
	c.mu.Lock()
	late := c.tasks
	c.tasks = nil
	for _, t := range late {
		t.abandoned = true
		c.sys.abandon(t)
	}
	c.mu.Unlock()
	if len(late) > 0 {
		dump := allStacks()
		for _, t := range late {
			c.logger().Error("goroutine of the actor did not end in time, left behind",
				"task", t.name, "after", taskGrace, "stack", string(stackWith(dump, t.goroutine)))
		}
	}
	c.advance()
}

// Inbox lets a goroutine send to the incarnation that owns it. The zero Inbox
// takes nothing.
type Inbox struct{ ctx *Context }

// Inbox returns the inbox of this incarnation. It is safe for use by goroutines.
func (x *Context) Inbox() Inbox { return Inbox{x} }

// Tell queues msg for the incarnation. It reports false when that is over and
// nothing more will be handled; a message that is queued when it ends is dropped.
// A nil message is refused. It never blocks, so take a credit first; see [Credits].
func (i Inbox) Tell(msg any) bool {
	x := i.ctx
	if x == nil {
		zeroRefTells.Add(1)
		return false
	}
	c := x.cell
	if msg == nil {
		c.sys.refuseNil(c.ref(), Ref{})
		return false
	}
	c.mu.Lock()
	over := x.over
	c.mu.Unlock()
	if over || !c.post(envelope{ctx: x, msg: msg}) {
		c.kind.dropped.Add(1)
		return false
	}
	return true
}

// goroutineHead returns the start of the calling goroutine's stack trace,
// "goroutine 123 [", which tells it from all others.
func goroutineHead() []byte {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	if i := bytes.IndexByte(head, '['); i >= 0 {
		head = head[:i+1]
	}
	return bytes.Clone(head)
}

const maxDump = 16 << 20

// allStacks returns the stacks of all goroutines, as far as 16 MiB go.
func allStacks() []byte {
	for size := 1 << 20; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size >= maxDump {
			return buf[:n]
		}
	}
}

// stackWith returns the goroutines of a dump whose trace contains mark, at most
// 16 KiB of them.
func stackWith(dump, mark []byte) []byte {
	var found []byte
	for trace := range bytes.SplitSeq(dump, []byte("\n\n")) {
		if len(mark) > 0 && bytes.Contains(trace, mark) {
			found = append(append(found, trace...), '\n')
		}
	}
	return found[:min(len(found), 16<<10)]
}
