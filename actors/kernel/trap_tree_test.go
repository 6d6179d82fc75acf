// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

// Trap 14: Shutdown of a system leaves its actors alive, and panics when called
// twice.
func TestTrap14Shutdown(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if msg == "ping" {
				c.Respond("pong")
			}
		}))
		sys.Shutdown()
		if !answers(sys, pid) {
			t.Error("the actor is gone")
		}
		defer func() {
			if recover() == nil {
				t.Error("the second call does not panic")
			}
		}()
		sys.Shutdown()
	})
	t.Run("kernel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r record
			sys := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
			root, err := sys.Spawn(recording("root", &r))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := sys.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				r.expect(t, "started", "stopping")
			}
			if _, err := kernel.Ask[any](t.Context(), root, "ping"); !errors.Is(err, kernel.ErrStopped) {
				t.Errorf("got %v", err)
			}
		})
	})
}

// Trap 15: a second StopFuture on an actor that still waits for its children
// reports success at once.
func TestTrap15SecondStop(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		release := make(chan struct{})
		gone := false
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg.(type) {
			case *actor.Started:
				c.Spawn(raw(func(_ actor.Context, msg any) {
					if _, ok := msg.(*actor.Stopping); ok {
						<-release
					}
				}))
			case *actor.Stopped:
				gone = true
			}
		}))
		first := sys.Root.StopFuture(pid)
		synctest.Wait()
		err := sys.Root.StopFuture(pid).Wait()
		synctest.Wait()
		if err != nil || gone {
			t.Errorf("the second stop ended with %v, gone is %v", err, gone)
		}
		close(release)
		err = first.Wait()
		synctest.Wait()
		if err != nil || !gone {
			t.Errorf("the first stop ended with %v, gone is %v", err, gone)
		}
	})
	t.Run("kernel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			sys := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
			if _, err := sys.Spawn(spec("root", funcs{started: func(c *kernel.Context) error {
				_, err := c.Spawn(spec("child", funcs{stopping: func(*kernel.Context) { <-release }}))
				return err
			}})); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 2)
			for range 2 {
				go func() { ended <- sys.Stop(t.Context()) }()
				synctest.Wait()
			}
			select {
			case err := <-ended:
				t.Fatalf("a stop ended with %v before the child was gone", err)
			default:
			}
			close(release)
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// Trap 16: a name is free again before Stopped has run, so a new actor can start
// while the old one of the same name still closes.
func TestTrap16NameIsFreeTooEarly(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		release := make(chan struct{})
		props := raw(func(_ actor.Context, msg any) {
			if _, ok := msg.(*actor.Stopped); ok {
				<-release
			}
		})
		pid, err := sys.Root.SpawnNamed(props, "db")
		if err != nil {
			t.Fatal(err)
		}
		sys.Root.Stop(pid)
		synctest.Wait()
		if _, err := sys.Root.SpawnNamed(props, "db"); err != nil {
			t.Errorf("the name is not free: %v", err)
		}
		close(release)
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			release := make(chan struct{})
			db := spec("db", funcs{started: func(c *kernel.Context) error {
				c.Go("closing", func(ctx context.Context) error {
					<-ctx.Done()
					<-release
					return nil
				})
				return nil
			}})
			old := stage.Spawn(t, db)
			if _, err := stage.TrySpawn(t.Context(), db); !errors.Is(err, kernel.ErrNameTaken) {
				t.Errorf("beside a live one: %v", err)
			}
			stage.Stop(old)
			synctest.Wait()
			if _, err := stage.TrySpawn(t.Context(), db); !errors.Is(err, kernel.ErrNameTaken) {
				t.Errorf("beside a closing one: %v", err)
			}
			close(release)
			if err := expectStopped(t, stage, "db"); err != nil {
				t.Error(err)
			}
			if fresh := stage.Spawn(t, db); fresh == old {
				t.Error("old and new have the same Ref")
			}
		})
	})
}

// Trap 18: children are told to stop all at once.
func TestTrap18OrderOfStopping(t *testing.T) {
	names := []string{"listener", "accounts", "overlay", "store"}
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var r record
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if _, ok := msg.(*actor.Started); ok {
				for i, name := range names {
					props := raw(func(_ actor.Context, msg any) {
						if _, ok := msg.(*actor.Stopping); ok {
							virtual.Sleep(time.Duration(len(names)-i) * time.Second)
							r.add("%s", name)
						}
					})
					if _, err := c.SpawnNamed(props, name); err != nil {
						t.Error(err)
					}
				}
			}
		}))
		if err := sys.Root.StopFuture(pid).Wait(); err != nil {
			t.Error(err)
		}
		r.expect(t, "store", "overlay", "accounts", "listener")
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			var r record
			node := stage.Spawn(t, spec("node", funcs{
				started: func(c *kernel.Context) error {
					for i, name := range names {
						s := spec(name, funcs{stopping: func(*kernel.Context) {
							virtual.Sleep(time.Duration(len(names)-i) * time.Second)
							r.add("%s", name)
						}})
						if _, err := c.Spawn(s); err != nil {
							return err
						}
					}
					return nil
				},
				receive: func(c *kernel.Context, msg any) {
					switch m := msg.(type) {
					case string:
						c.StopChildren([][]string{{"listener"}, {"nobody"}, {"accounts", "overlay"}, {"store"}}, time.Minute, 0)
					case kernel.ChildrenStopped:
						r.add("all, %v", m.Report.OK())
						c.StopSelf(nil)
					}
				},
			}))
			node.Tell("shut down")
			if err := expectStopped(t, stage, "node"); err != nil {
				t.Error(err)
			}
			r.expect(t, "listener", "overlay", "accounts", "store", "all, true")
		})
	})
}

// Trap 19: Children is the live slice, so it changes under a caller that keeps it.
func TestTrap19LiveChildrenSlice(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		quiet := raw(func(actor.Context, any) {})
		var before []*actor.PID
		var first *actor.PID
		changed := false
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg.(type) {
			case *actor.Started:
				first = c.Spawn(quiet)
				c.Spawn(quiet)
				before = c.Children()
				c.Stop(first)
			case *actor.Terminated:
				changed = before[0] != first
			}
		}))
		synctest.Wait()
		if !changed {
			t.Error("the slice is a copy")
		}
		sys.Root.Stop(pid)
	})
	t.Run("kernel", TestChildLookups)
}

// Trap 21: an actor in back-off cannot be stopped by Poison until the back-off is
// over.
func TestTrap21StopInBackoff(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var child *actor.PID
		strategy := actor.NewExponentialBackoffStrategy(time.Hour, 5*time.Second)
		sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				child = c.Spawn(raw(func(_ actor.Context, msg any) {
					if msg == "boom" {
						panic("boom")
					}
				}))
			}
		}, actor.WithSupervisor(strategy)))
		synctest.Wait()
		sys.Root.Send(child, "boom")
		synctest.Wait()
		begin := time.Now()
		if err := sys.Root.PoisonFuture(child).Wait(); err != nil || time.Since(begin) < 5*time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(begin))
		}
	})
	t.Run("kernel", TestStopInBackoffWorksAtOnce)
}

// The library prints on its own unless it is told where to log; through the
// kernel it is heard only when it reports an error.
func TestLibraryLogsThroughSlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var debug, info logBuffer
		for _, log := range []*slog.Logger{debug.logger(slog.LevelDebug), info.logger(slog.LevelInfo)} {
			sys := kernel.NewSystem(kernel.Options{Logger: log.With("part", "x").WithGroup("g")})
			if err := sys.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := debug.count(`"level":"DEBUG","msg":"actor system started","part":"x"`); n != 1 {
			t.Errorf("%d at debug level: %v", n, debug.lines())
		}
		if n := len(info.lines()); n != 0 {
			t.Errorf("%d at info level: %v", n, info.lines())
		}
	})
}

// A supervisor with very many children stops in one go.
func TestManyChildrenStop(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		const many = 20_000
		parent := stage.Spawn(t, spec("parent", funcs{started: func(c *kernel.Context) error {
			for i := range many {
				if _, err := c.Spawn(spec(fmt.Sprint(i), funcs{})); err != nil {
					return err
				}
			}
			return nil
		}}))
		synctest.Wait()
		if st := statsOf(t, stage.System, "test"); st.Live != many+1 {
			t.Errorf("got %+v", st)
		}
		stage.Stop(parent)
		if err := expectStopped(t, stage, "parent"); err != nil {
			t.Error(err)
		}
		if st := statsOf(t, stage.System, "test"); st.Live != 0 {
			t.Errorf("got %+v", st)
		}
	})
}
