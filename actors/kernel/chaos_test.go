// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/test/virtual"
)

// chaos is a tree whose actors are told at random to fail in every way, to spawn,
// to stop and to be asked. It knows what must hold all the time.
type chaos struct {
	t *testing.T

	mu    sync.Mutex
	rng   *rand.Rand
	refs  []kernel.Ref
	alive map[string]*chaosActor // by path: not ended, goroutines included
	last  map[kernel.Ref]int     // the last number each actor got
	born  int
}

type chaosActor struct {
	chaos    *chaos
	path     string
	stopping bool
	tasks    int
}

// Commands to an actor; a plain int is a number, which must only grow.
type (
	chaosFail     struct{ how int }
	chaosSpawn    struct{ name string }
	chaosStop     struct{ name string }
	chaosStopSelf struct{ err error }
	chaosTask     struct{ lag time.Duration }
	chaosStep     struct{}
	chaosAsk      struct{ answer bool }
	chaosFrame    struct{ from *chaosActor }
)

func (ch *chaos) spec(name string) kernel.Spec {
	return kernel.Spec{
		Name: name, Kind: "chaos", Resident: name == "a",
		Backoff: kernel.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond, StormRestarts: 30, Forever: name == "root"},
		New: func() kernel.Actor {
			if ch.roll(20) == 0 {
				panic("in New")
			}
			return &chaosActor{chaos: ch}
		},
	}
}

func (ch *chaos) roll(n int) int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.rng.IntN(n)
}

func (ch *chaos) locked(f func()) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	f()
}

func (a *chaosActor) Started(c *kernel.Context) error {
	ch := a.chaos
	a.path = c.Self().Path()
	ch.locked(func() {
		ch.born++
		ch.refs = append(ch.refs, c.Self())
		if ch.alive[a.path] != nil {
			ch.t.Errorf("%s lives twice", a.path)
		}
		ch.alive[a.path] = a
	})
	if len(c.Children()) > 0 {
		ch.t.Errorf("%s has children of the one before", a.path)
	}
	switch ch.roll(20) {
	case 0:
		return errTest
	case 1:
		panic("in Started")
	case 2:
		runtime.Goexit()
	}
	return nil
}

func (a *chaosActor) Stopping(*kernel.Context) {
	a.chaos.locked(func() {
		if a.stopping {
			a.chaos.t.Errorf("%s: Stopping twice", a.path)
		}
		a.stopping = true
		a.endLocked()
	})
	switch a.chaos.roll(10) {
	case 0:
		panic("in Stopping")
	case 1:
		runtime.Goexit()
	}
}

// endLocked is called when a part of the incarnation has ended.
func (a *chaosActor) endLocked() {
	if a.stopping && a.tasks == 0 && a.chaos.alive[a.path] == a {
		delete(a.chaos.alive, a.path)
	}
}

func (a *chaosActor) Receive(c *kernel.Context, msg any) {
	ch := a.chaos
	if a.stopping {
		ch.t.Errorf("%s: %T after Stopping", a.path, msg)
	}
	switch m := msg.(type) {
	case int:
		ch.locked(func() {
			if m <= ch.last[c.Self()] {
				ch.t.Errorf("%s: %d after %d", a.path, m, ch.last[c.Self()])
			}
			ch.last[c.Self()] = m
		})
	case chaosFail:
		switch m.how {
		case 0:
			panic("boom")
		case 1:
			runtime.Goexit()
		case 2:
			c.Fail(errTest)
		default:
			if c.Parent().IsZero() {
				c.Fail(errTest)
			}
			c.Fail(kernel.Fatal(errTest))
		}
	case chaosSpawn:
		if _, err := c.Spawn(ch.spec(m.name)); err != nil && !errors.Is(err, kernel.ErrNameTaken) {
			ch.t.Errorf("spawn: %v", err)
		}
	case chaosStop:
		if child, ok := c.Child(m.name); ok {
			c.Stop(child)
		}
	case chaosStep:
		c.StopChildren([][]string{{"a", "b"}, {"c"}}, 3*time.Millisecond, 0)
	case chaosStopSelf:
		c.StopSelf(m.err)
	case chaosAsk:
		if m.answer {
			c.Reply("answer")
		}
	case chaosTask:
		inbox := c.Inbox()
		ch.locked(func() { a.tasks++ })
		c.Every(time.Millisecond, chaosFrame{a})
		c.Go("task", func(ctx context.Context) error {
			defer ch.locked(func() {
				a.tasks--
				a.endLocked()
			})
			for ctx.Err() == nil {
				inbox.Tell(chaosFrame{a})
				virtual.Sleep(m.lag)
			}
			inbox.Tell(chaosFrame{a})
			virtual.Sleep(m.lag)
			return ctx.Err()
		})
	case chaosFrame:
		if m.from != a {
			ch.t.Errorf("%s: a frame for another incarnation", a.path)
		}
	}
}

func (ch *chaos) drive(steps int, number func() int) {
	names := []string{"a", "b", "c"}
	for range steps {
		var ref kernel.Ref
		ch.locked(func() {
			if n := len(ch.refs); n > 0 && ch.rng.IntN(30) > 0 {
				ref = ch.refs[n-1-ch.rng.IntN(min(n, 30))]
			} else if n > 0 {
				ref = ch.refs[0]
			}
		})
		name := names[ch.roll(len(names))]
		switch ch.roll(20) {
		case 0, 1, 2, 3, 4:
			ref.Tell(chaosSpawn{name})
		case 5:
			ref.Tell(chaosFail{ch.roll(4)})
		case 6:
			ref.Tell(chaosTask{time.Duration(ch.roll(5)+1) * time.Millisecond})
		case 7:
			if ref.Path() != "root" {
				ref.Tell(chaosStopSelf{errTest})
			}
		case 8:
			ref.Tell(chaosStep{})
		case 9:
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
			answer := ch.roll(2) == 0
			_, err := kernel.Ask[string](ctx, ref, chaosAsk{answer})
			cancel()
			if !answer && err == nil {
				ch.t.Error("an answer from nowhere")
			}
		case 10:
			ref.Tell(chaosStop{name})
		case 11, 12, 13:
			virtual.Sleep(time.Duration(ch.roll(3000)) * time.Microsecond)
		default:
			ch.locked(func() { ref.Tell(number()) })
		}
	}
}

// Bar R16: actors crash at random, and nothing is lost, doubled or left behind.
func TestChaos(t *testing.T) {
	born := 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { born += playChaos(t, seed) })
		})
	}
	if born < 300 {
		t.Errorf("only %d incarnations: there was no chaos", born)
	}
}

func playChaos(t *testing.T, seed uint64) (born int) {
	ch := &chaos{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)),
		alive: make(map[string]*chaosActor), last: make(map[kernel.Ref]int),
	}
	sys := kernel.NewSystem(kernel.Options{Logger: discard})
	if _, err := sys.Spawn(ch.spec("root")); err != nil {
		t.Fatal(err)
	}
	n := 0
	number := func() int { n++; return n }
	var drivers sync.WaitGroup
	for range 3 {
		drivers.Go(func() { ch.drive(500, number) })
	}
	if seed%2 == 0 {
		drivers.Wait()
	} else { // it stops in the middle of it all
		virtual.Sleep(time.Duration(seed) * 2 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sys.Stop(ctx); err != nil {
		t.Error(err)
	}
	drivers.Wait()
	for path := range ch.alive {
		t.Errorf("%s is left", path)
	}
	st := statsOf(t, sys, "chaos")
	if st.Live != 0 || st.Depth != 0 || st.Restarts > st.Failures {
		t.Errorf("got %+v", st)
	}
	t.Logf("%d incarnations, %+v", ch.born, st)
	return ch.born
}
