// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// cell is one actor from its spawn to its end, through all its incarnations. To
// the library it is the actor; what the library calls an actor's context is lib.
//
//	waiting ──begin──▶ running ──fails──▶ closing ──all gone─▶ waiting (back-off)
//	   │                  │                  │
//	   └──────stop────────┴──────stop────────┴──all gone─▶ dead
//
// Fields without a remark are touched only in the actor's own turns.
type cell struct {
	mailbox

	sys    *System      // fixed
	parent *cell        // fixed; nil for the root
	kind   *kindStats   // fixed
	pid    *actor.PID   // fixed before the first turn
	fresh  func() Actor // Spec.New
	plan   *Backoff     // Spec.Backoff; nil means the defaults
	once   bool         // Spec.Once
	by     *Context     // who spawned it; nil for the root

	state state
	cur   *Context      // the live or ending incarnation
	final *ending       // set when the actor will not live again
	past  *history      // nil until the first failure
	delay time.Duration // of the restart that the ending leads to
	timer *time.Timer   // of the back-off or the watchdog

	// Shared with other goroutines, under mu.
	children map[string]*cell // written only in turns
	tasks    []*task          // of the live or ending incarnation
	over     bool             // the incarnation is ending
	asks     map[*ask]struct{}
	ended    bool         // no more asks
	log      *slog.Logger // made when first used
}

type state uint8

const (
	waiting state = iota // for the first turn, or for the end of the back-off
	running              // an incarnation lives
	closing              // an incarnation ends: its children and goroutines are waited for
	dead
)

// ending is why an actor ends for good.
type ending struct{ err error }

// taskGrace is how long an ending incarnation waits for its goroutines.
const taskGrace = 5 * time.Second

func (s *System) newCell(by *Context, spec Spec) (*cell, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	kind, err := s.kind(spec.Kind)
	if err != nil {
		return nil, err
	}
	c := &cell{sys: s, by: by, kind: kind, fresh: spec.New, once: spec.Once}
	if spec.Resident {
		c.wake = make(chan struct{}, 1)
	}
	if by != nil {
		c.parent = by.cell
	}
	if spec.Backoff != (Backoff{}) {
		c.plan = new(Backoff)
		*c.plan = spec.Backoff
	}
	return c, nil
}

func (c *cell) ref() Ref      { return Ref{c} }
func (c *cell) path() string  { return c.pid.Id }
func (c *cell) home() *System { return c.sys }

func (c *cell) logger() *slog.Logger {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log == nil {
		c.log = c.sys.log.With("actor", c.path(), "kind", c.kind.name)
	}
	return c.log
}

func (c *cell) tell(msg any, sender Ref) {
	if !c.post(envelope{msg: msg, sender: sender}) {
		c.kind.dropped.Add(1)
		if a, ok := sender.to.(*ask); ok {
			a.resolve(ErrStopped, Ref{})
		}
	}
}

// stop asks the actor to end for good. Safe anywhere, and any number of times.
func (c *cell) stop(err error) { c.signal(event{kind: eventStop, err: err}) }

// Receive is called by the library, once per turn that it takes part in.
func (c *cell) Receive(lib actor.Context) {
	switch msg := lib.Message().(type) {
	case userTurn:
		c.receive()
	case *actor.Started:
		c.begin()
	case *actor.Terminated:
		c.childGone(msg.Who)
	case *actor.Stopped:
		c.gone()
	}
}

func (c *cell) handleEvent(e event) {
	if e.ctx != nil && e.ctx != c.cur {
		return
	}
	switch e.kind {
	case eventBegin:
		c.begin()
	case eventStop:
		c.finish(e.err)
	case eventAdvance:
		c.advance()
	case eventWatchdog:
		c.abandonTasks()
	case eventStep:
		c.cur.stepOverran(e.step)
	}
}

// begin starts an incarnation.
func (c *cell) begin() {
	if c.state != waiting || c.final != nil {
		return
	}
	c.timer = nil
	if c.past != nil {
		c.kind.restarts.Add(1)
	}
	c.state = running
	x := &Context{cell: c, begun: time.Now()}
	c.cur = x
	c.mu.Lock()
	c.over = false
	c.mu.Unlock()
	var err error
	done := false
	defer func() {
		if !done {
			err = recovered(recover())
		}
		if err == nil && x.stopping == nil {
			c.openUser(true)
		}
		c.afterTurn(x, err)
	}()
	x.actor = c.fresh()
	if x.actor == nil {
		err = errNilActor
	} else if s, ok := x.actor.(Starter); ok {
		err = s.Started(x)
	}
	done = true
}

// receive handles one user message.
func (c *cell) receive() {
	x, e := c.cur, c.current
	c.current = envelope{}
	if e.ctx != nil && e.ctx != x {
		c.kind.dropped.Add(1)
		return
	}
	if e.timer != nil && !e.timer.deliver() {
		return
	}
	x.sender = e.sender
	if a, ok := x.sender.to.(*ask); ok {
		c.takeAsk(a, x)
	}
	done := false
	defer func() {
		var err error
		if !done {
			err = recovered(recover())
			if a, ok := x.sender.to.(*ask); ok {
				a.resolve(fmt.Errorf("%w: %w", ErrFailed, err), Ref{})
			}
		}
		x.sender = Ref{}
		c.afterTurn(x, err)
	}()
	if c.sys.before != nil {
		c.sys.before(c.ref(), e.msg)
	}
	x.actor.Receive(x, e.msg)
	done = true
}

// afterTurn looks at how user code left a turn.
func (c *cell) afterTurn(x *Context, err error) {
	switch {
	case err != nil:
		c.fail(x, err)
	case x.stopping != nil:
		c.finish(x.stopping.err)
	}
}

// fail ends an incarnation because of err, and decides what follows.
func (c *cell) fail(x *Context, err error) {
	c.kind.failures.Add(1)
	now := time.Now()
	attrs := []any{slog.Any("err", err)}
	level, text := slog.LevelWarn, "actor failed, it will be restarted"
	if stack := stackOf(err); stack != nil {
		level = slog.LevelError
		attrs = append(attrs, stack...)
	}
	switch {
	case x.stopping != nil:
		text = "actor failed while it was stopping itself"
		if c.final = x.stopping; c.final.err == nil {
			c.final = &ending{err}
		}
	case isFatal(err):
		level, text = slog.LevelError, "actor failed for good, it is stopped"
		c.final = &ending{err}
	case c.once:
		text = "actor failed, it is stopped"
		c.final = &ending{err}
	default:
		if c.past == nil {
			c.past = new(history)
		}
		var storm bool
		*c.past, c.delay, storm = c.backoff().next(*c.past, now.Sub(x.begun), now, rand.Float64())
		if storm {
			level, text = slog.LevelError, "actor failed too often, stopping it"
			c.final = &ending{fmt.Errorf("%w: %w", ErrRestartStorm, err)}
		} else {
			attrs = append(attrs, slog.Duration("retry_in", c.delay))
			c.tellParent(err)
		}
		attrs = append(attrs, slog.Int("failures", c.past.failures))
	}
	c.logger().Log(context.Background(), level, text, attrs...)
	c.end()
}

// tellParent tells the incarnation that spawned this actor of a failure that
// leads to a restart.
func (c *cell) tellParent(err error) {
	if c.parent == nil {
		return
	}
	c.parent.post(envelope{ctx: c.by, msg: ChildFailed{
		Child: c.ref(), Name: nameOf(c.pid), Kind: c.kind.name, Err: err, RestartIn: c.delay,
	}})
}

// nameOf is the last part of the path that the library's id is.
func nameOf(pid *actor.PID) string { return pid.Id[strings.LastIndexByte(pid.Id, '/')+1:] }

func (c *cell) backoff() Backoff {
	if c.plan == nil {
		return Backoff{}
	}
	return *c.plan
}

// finish ends the actor for good, whatever it does now.
func (c *cell) finish(err error) {
	if c.final != nil || c.state == dead {
		return
	}
	c.final = &ending{err}
	switch c.state {
	case running:
		c.end()
	case waiting:
		c.bury()
	case closing:
		c.refuse()
	}
}

// end begins the end of the live incarnation. What comes after Stopping is
// deferred, so that it happens however Stopping is left.
func (c *cell) end() {
	x := c.cur
	c.state = closing
	c.openUser(false)
	if c.final != nil {
		c.refuse()
	}
	tasks := x.close()
	defer func() {
		for _, child := range c.children {
			child.stop(nil)
		}
		if tasks > 0 {
			c.timer = time.AfterFunc(taskGrace, func() { c.signal(event{kind: eventWatchdog, ctx: x}) })
		}
		c.advance()
	}()
	s, ok := x.actor.(Stopper)
	if !ok {
		return
	}
	done := false
	defer func() {
		if done {
			return
		}
		err := recovered(recover())
		c.logger().Error("actor failed in Stopping", append(stackOf(err), slog.Any("err", err))...)
	}()
	s.Stopping(x)
	done = true
}

// advance takes an ending incarnation to its next state when nothing of it is left.
func (c *cell) advance() {
	if c.state != closing || len(c.children) > 0 || c.taskCount() > 0 {
		return
	}
	c.stopTimer()
	x := c.cur
	c.cur = nil
	c.state = waiting
	if c.final != nil {
		c.bury()
		return
	}
	c.endAsks(x, ErrFailed)
	c.timer = time.AfterFunc(c.delay, func() { c.signal(event{kind: eventBegin}) })
}

// bury lets the library end the actor; it has no children and no goroutines.
func (c *cell) bury() {
	c.stopTimer()
	c.refuse()
	c.state = dead
	c.lib.Stop(c.pid)
}

// refuse drops what is in the mailbox and all that comes later. The askers are told.
func (c *cell) refuse() {
	rest := c.closeUser()
	c.kind.dropped.Add(uint64(rest.len))
	for rest.len > 0 {
		if a, ok := rest.pop().sender.to.(*ask); ok {
			a.resolve(ErrStopped, Ref{})
		}
	}
}

// gone is the last turn: the library has taken the actor off its registry and is
// about to tell the parent.
func (c *cell) gone() {
	c.flushCounts() // the parent, told of the end, finds everything counted
	c.mu.Lock()
	asks := c.asks
	c.asks, c.log, c.ended = nil, nil, true
	c.mu.Unlock()
	for a := range asks {
		a.resolve(ErrStopped, Ref{})
	}
	c.kind.live.Add(-1)
	c.fresh, c.past, c.by = nil, nil, nil
	if c.parent == nil {
		c.sys.rootGone(c.final.err)
	}
}

// childGone is told by the library when a child has ended for good.
func (c *cell) childGone(who *actor.PID) {
	name := nameOf(who)
	child := c.children[name]
	if child == nil {
		return
	}
	c.mu.Lock()
	delete(c.children, name)
	c.mu.Unlock()
	if c.state == closing {
		c.advance()
		return
	}
	x := c.cur
	c.post(envelope{ctx: x, msg: ChildStopped{Child: child.ref(), Name: name, Kind: child.kind.name, Err: child.final.err}})
	x.stepGone(child)
}

// broken is told that the kernel itself panicked in a turn of this actor: a bug
// of ours, which costs this one actor.
func (c *cell) broken(err error) {
	c.sys.log.Error("the actor kernel panicked", append(stackOf(err), slog.String("actor", c.path()), slog.Any("err", err))...)
	c.stop(err)
}

// stackOf returns the log attribute for a panic somewhere in err, or none.
func stackOf(err error) []any {
	var p *PanicError
	if !errors.As(err, &p) {
		return nil
	}
	return []any{slog.String("stack", string(p.Stack))}
}

func (c *cell) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// walk calls f for the actor and all below it, from any goroutine.
func (c *cell) walk(f func(*cell)) {
	f(c)
	for _, child := range c.listChildren() {
		child.walk(f)
	}
}

func (c *cell) listChildren() []*cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*cell, 0, len(c.children))
	for _, child := range c.children {
		list = append(list, child)
	}
	return list
}
