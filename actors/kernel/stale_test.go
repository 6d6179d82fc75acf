// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/test/virtual"
)

// counting counts what it lives through. Its fields are read when all is at rest.
type counting struct{ started, stopping, received int }

func (a *counting) Started(*Context) error { a.started++; return nil }
func (a *counting) Stopping(*Context)      { a.stopping++ }

func (a *counting) Receive(c *Context, msg any) {
	a.received++
	switch m := msg.(type) {
	case error:
		c.Fail(m)
	case func(context.Context) error:
		c.Go("task", m)
	case [][]string:
		c.StopChildren(m, time.Minute, 0)
	case Spec:
		if _, err := c.Spawn(m); err != nil {
			c.Fail(err)
		}
	}
}

func inBubble(t *testing.T, test func(t *testing.T, s *System, c *cell, a *counting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &counting{}
		s := NewSystem(Options{Logger: slog.New(slog.DiscardHandler)})
		root, err := s.Spawn(Spec{Name: "root", Kind: "test", New: func() Actor { return a }})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		test(t, s, root.to.(*cell), a)
		synctest.Wait()
		if err := s.Err(); err != nil && !errors.Is(err, errBug) {
			t.Errorf("the actor ended: %v", err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// look lets the test see what belongs to the actor's turns: when all is at rest,
// and before the actor, which takes mu first, goes on.
func (c *cell) look(see func()) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	see()
}

// The timers behind events are stopped when the events are no longer due, but one
// may have fired just before. Such an event must do nothing.

func TestStaleBeginDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *System, c *cell, a *counting) {
		c.signal(event{kind: eventBegin})
		c.look(func() {
			if a.started != 1 {
				t.Error("it began while it was running")
			}
		})
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		c.signal(event{kind: eventBegin})
		c.signal(event{kind: eventStop})
		synctest.Wait()
		if a.started != 1 || a.stopping != 1 {
			t.Errorf("it came back from the dead: %+v", a)
		}
	})
}

func TestStaleWatchdogDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *System, c *cell, a *counting) {
		var old, x *Context
		c.look(func() { old = c.cur })
		c.ref().Tell(context.Canceled)
		virtual.Sleep(time.Minute)
		c.look(func() {
			if x = c.cur; a.started != 2 || x == old {
				t.Fatalf("it did not restart: %+v", a)
			}
		})
		c.signal(event{kind: eventAdvance, ctx: x}) // this one is not ending
		c.ref().Tell(func(ctx context.Context) error {
			<-ctx.Done()
			virtual.Sleep(3 * time.Second)
			return nil
		})
		synctest.Wait()
		c.signal(event{kind: eventWatchdog, ctx: x})
		c.look(func() {
			if a.stopping != 1 || len(c.tasks) != 1 {
				t.Fatalf("a live one was ended: %+v, %d tasks", a, len(c.tasks))
			}
		})
		c.ref().Tell(context.Canceled)
		synctest.Wait()
		c.signal(event{kind: eventWatchdog, ctx: old})
		c.signal(event{kind: eventAdvance, ctx: old})
		c.signal(event{kind: eventAdvance, ctx: x})
		c.look(func() {
			if c.state != closing || len(c.tasks) != 1 {
				t.Errorf("it did not wait for its goroutine: state %d, %d tasks", c.state, len(c.tasks))
			}
		})
	})
}

func TestStaleStepDoesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *System, c *cell, _ *counting) {
		for _, name := range []string{"a", "b"} {
			release := 10 * time.Second
			c.ref().Tell(Spec{Name: name, Kind: "test", New: func() Actor { return &slow{release} }})
		}
		c.ref().Tell([][]string{{"a"}, {"b"}})
		virtual.Sleep(11 * time.Second) // now b is being stopped
		var x *Context
		var step int
		c.look(func() { x, step = c.cur, c.cur.step })
		c.signal(event{kind: eventStep, ctx: x, step: step - 1})
		c.look(func() {
			if x.seq == nil || len(x.seq.pending) != 1 || !x.seq.report.OK() {
				t.Errorf("the second step was passed: %+v", x.seq)
			}
		})
		virtual.Sleep(10 * time.Second)
		c.look(func() { step = x.step })
		c.signal(event{kind: eventStep, ctx: x, step: step}) // nothing is under way
	})
}

// slow takes its time to stop.
type slow struct{ lag time.Duration }

func (*slow) Receive(*Context, any) {}
func (a *slow) Started(c *Context) error {
	c.Go("slow", func(ctx context.Context) error {
		<-ctx.Done()
		virtual.Sleep(min(a.lag, taskGrace-time.Second))
		return nil
	})
	return nil
}
func (a *slow) Stopping(*Context) { virtual.Sleep(a.lag - min(a.lag, taskGrace-time.Second)) }

// A dead letter of the library's, should there be one, leaves no goroutine behind
// for longer than a moment.
func TestLibraryDeadLetterLeavesNothing(t *testing.T) {
	inBubble(t, func(_ *testing.T, s *System, _ *cell, _ *counting) {
		s.lib.Root.Send(s.lib.NewLocalPID("nobody"), "x")
		virtual.Sleep(time.Millisecond)
	})
}

// A panic in the kernel's own code costs the actor, not the process.
func TestBrokenKernelStopsTheActor(t *testing.T) {
	inBubble(t, func(t *testing.T, s *System, c *cell, a *counting) {
		c.signal(event{kind: eventStep, ctx: c.cur})
		c.mu.Lock()
		c.system = append(c.system, brokenMessage{})
		c.mu.Unlock()
		c.lib = &brokenContext{c.lib}
		c.ref().Tell("wake up")
		<-s.Done()
		if !errors.Is(s.Err(), errBug) || a.stopping != 1 {
			t.Errorf("ended with %v, %+v", s.Err(), a)
		}
	})
}

var errBug = errors.New("a bug")

type brokenMessage struct{}

type brokenContext struct{ libraryContext }

func (b *brokenContext) InvokeSystemMessage(msg any) {
	if _, ok := msg.(brokenMessage); ok {
		panic(errBug)
	}
	b.libraryContext.InvokeSystemMessage(msg)
}

// What the library sends as a user message would arrive too.
func TestPostUserMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, s *System, c *cell, a *counting) {
		s.lib.Root.Send(c.pid, "hello")
		s.lib.Root.Send(c.pid, nil)
		synctest.Wait()
		if a.received != 1 || s.lost.Load() != 1 {
			t.Errorf("%d received, %d lost", a.received, s.lost.Load())
		}
	})
}
