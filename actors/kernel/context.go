// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Context is what an incarnation of an actor has of the kernel. It is handed to
// Started, Receive and Stopping, and its methods are for the actor's own turns;
// only Self, Parent, Log and Inbox may also be called by goroutines the actor owns.
type Context struct {
	cell     *cell
	actor    Actor
	begun    time.Time
	sender   Ref // of the message of this turn
	stopping *ending
	seq      *stopSequence
	step     int // counts the groups of all stop sequences
	timers   map[*timer]struct{}
	asked    map[*ask]struct{} // questions of this actor, open ones and some that are not
	lifetime context.Context   // made when first used
	cancel   context.CancelFunc

	over bool // written in turns, under the mailbox's mu
}

// Self returns the address of this actor.
func (x *Context) Self() Ref { return x.cell.ref() }

// Parent returns the address of the actor that spawned this one; it is zero for
// the root.
func (x *Context) Parent() Ref {
	if x.cell.parent == nil {
		return Ref{}
	}
	return x.cell.parent.ref()
}

// Sender returns who sent the message of this turn: an actor, or somebody who
// waits in Ask. It may be kept, to be replied to later with Tell. It is zero for
// messages from elsewhere.
func (x *Context) Sender() Ref { return x.sender }

// Log returns a logger with the fields actor (the path) and kind. It is safe for
// use by goroutines.
func (x *Context) Log() *slog.Logger { return x.cell.logger() }

// Lifetime returns a context that ends with this incarnation, before Stopping.
func (x *Context) Lifetime() context.Context {
	if x.lifetime == nil {
		x.lifetime, x.cancel = context.WithCancel(context.Background())
		if x.over {
			x.cancel()
		}
	}
	return x.lifetime
}

// Spawn starts a child. It fails with ErrNameTaken while a child of that name
// lives or is still closing, and with ErrStopped in Stopping. New runs later, in
// the child's first turn.
func (x *Context) Spawn(spec Spec) (Ref, error) {
	c := x.cell
	if x.over {
		return Ref{}, fmt.Errorf("spawn %q: %w", spec.Name, ErrStopped)
	}
	child, err := c.sys.newCell(x, spec)
	if err != nil {
		return Ref{}, err
	}
	if _, taken := c.children[spec.Name]; taken {
		return Ref{}, fmt.Errorf("spawn %q: %w", spec.Name, ErrNameTaken)
	}
	if err := c.sys.spawn(child, c.lib, spec.Name); err != nil {
		return Ref{}, err
	}
	c.mu.Lock()
	if c.children == nil {
		c.children = make(map[string]*cell)
	}
	c.children[spec.Name] = child
	c.mu.Unlock()
	return child.ref(), nil
}

// Child returns the child of that name; it may be about to stop.
func (x *Context) Child(name string) (Ref, bool) {
	child, ok := x.cell.children[name]
	if !ok {
		return Ref{}, false
	}
	return child.ref(), true
}

// Children returns the children in no particular order. The slice is the caller's.
func (x *Context) Children() []Ref {
	refs := make([]Ref, 0, len(x.cell.children))
	for _, child := range x.cell.children {
		refs = append(refs, child.ref())
	}
	return refs
}

// Tell sends msg with this actor as the sender. It never blocks. To an actor that
// has ended, to the zero Ref, and in Stopping to itself, the message is counted
// and dropped; a nil message is refused.
func (x *Context) Tell(to Ref, msg any) { x.send(to, msg, x.Self()) }

// Reply sends msg to the sender of this turn's message. An error as msg is what
// Ask returns as its error.
func (x *Context) Reply(msg any) { x.Tell(x.sender, msg) }

// Forward sends msg to another actor as if it came from the sender of this
// turn's message, who gets the reply. A waiting Ask then ends with that actor.
func (x *Context) Forward(to Ref, msg any) {
	a, isAsk := x.sender.to.(*ask)
	if !isAsk {
		x.send(to, msg, x.sender)
		return
	}
	target, ok := to.to.(*cell)
	if !ok || !a.move(target) {
		a.resolve(ErrStopped, Ref{})
	}
	x.send(to, msg, x.sender)
}

func (x *Context) send(to Ref, msg any, sender Ref) {
	switch {
	case to.to == nil:
		x.cell.sys.lost.Add(1)
	case x.over && to.to == recipient(x.cell):
		x.cell.kind.dropped.Add(1)
	default:
		to.tell(msg, sender)
	}
}

// Stop ends a child for good: what it is doing now is finished, its mailbox is
// not. ChildStopped follows when it is really gone. A second Stop does nothing,
// and an actor in back-off stops at once. Only children can be stopped; for any
// other Ref it logs and does nothing.
func (x *Context) Stop(child Ref) {
	c, ok := child.to.(*cell)
	if !ok || c.parent != x.cell {
		x.Log().Error("only a child can be stopped", "child", child)
		return
	}
	c.stop(nil)
}

// StopSelf ends this actor for good after this turn. The parent gets
// ChildStopped with the reason, which may be nil. The first call counts.
func (x *Context) StopSelf(reason error) {
	if x.stopping == nil {
		x.stopping = &ending{reason}
	}
}

// Fail ends this turn as a supervised failure. It does not return: it panics with
// a value the kernel knows, so code in between must not recover from it.
func (x *Context) Fail(err error) {
	if err == nil {
		err = errNoReason
	}
	panic(failure{err})
}

// close ends the incarnation as far as it can be done at once. It returns how
// many goroutines are still to be waited for.
func (x *Context) close() int {
	for t := range x.timers {
		t.stop()
	}
	for a := range x.asked {
		a.abandon()
	}
	if x.seq != nil {
		x.seq.stopTimer()
		x.seq = nil
	}
	c := x.cell
	c.mu.Lock()
	x.over, c.over = true, true
	tasks := len(c.tasks)
	c.mu.Unlock()
	if x.cancel != nil {
		x.cancel()
	}
	return tasks
}
