// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
)

// Trap 1: a panic in Stopping brings the actor back to life, and one in Stopped
// leaves its parent waiting for ever.
func TestTrap01PanicInLifecycleHandler(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		starts := 0
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg.(type) {
			case *actor.Started:
				starts++
			case *actor.Stopping:
				panic("in Stopping")
			case string:
				c.Respond("pong")
			}
		}))
		if err := sys.Root.StopFuture(pid).Wait(); !errors.Is(err, actor.ErrTimeout) {
			t.Errorf("stop ended with %v", err)
		}
		synctest.Wait()
		if starts != 2 || !answers(sys, pid) {
			t.Errorf("%d starts; it did not come back to life", starts)
		}
	})
	t.Run("library, Stopped", func(t *testing.T) {
		inLibrary(t, func(t *testing.T, sys *actor.ActorSystem) {
			parent := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
				if _, ok := msg.(*actor.Started); ok {
					c.Spawn(raw(func(_ actor.Context, msg any) {
						if _, ok := msg.(*actor.Stopped); ok {
							panic("in Stopped")
						}
					}))
				}
			}))
			if err := sys.Root.StopFuture(parent).Wait(); !errors.Is(err, actor.ErrTimeout) {
				t.Errorf("the parent's stop ended with %v", err)
			}
		})
	})
	for name, leave := range map[string]func(){
		"panic":  func() { panic("in Stopping") },
		"goexit": runtime.Goexit,
	} {
		t.Run("kernel, "+name, func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				var r record
				child := spec("child", funcs{
					started:  func(*kernel.Context) error { r.add("child started"); return nil },
					stopping: func(*kernel.Context) { r.add("child stopping"); leave() },
				})
				parent := stage.Spawn(t, spec("parent", funcs{
					started: func(c *kernel.Context) error {
						r.add("started")
						_, err := c.Spawn(child)
						return err
					},
					stopping: func(*kernel.Context) { r.add("stopping"); leave() },
					receive: func(_ *kernel.Context, msg any) {
						if msg == "fail" {
							leave()
						}
						r.add("%v", msg)
					},
				}))
				synctest.Wait()
				parent.Tell("fail")
				pass(time.Second)
				parent.Tell("works")
				synctest.Wait()
				stage.Stop(parent)
				if err := expectStopped(t, stage, "parent"); err != nil {
					t.Errorf("ended with %v", err)
				}
				r.expect(t, "started", "child started", "stopping", "child stopping",
					"started", "child started", "works", "stopping", "child stopping")
			})
		})
	}
}

// Trap 2: after Stopping, the old instance still gets user messages until its
// children are gone.
func TestTrap02MessagesAfterStopping(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var r record
		release := make(chan struct{})
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch m := msg.(type) {
			case *actor.Started:
				c.Spawn(raw(func(_ actor.Context, msg any) {
					if _, ok := msg.(*actor.Stopping); ok {
						<-release
					}
				}))
			case *actor.Stopping:
				r.add("stopping")
			case string:
				r.add("%s", m)
			}
		}))
		sys.Root.Stop(pid)
		synctest.Wait()
		sys.Root.Send(pid, "late")
		synctest.Wait()
		close(release)
		synctest.Wait()
		r.expect(t, "stopping", "late")
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			var r record
			release := make(chan struct{})
			child := spec("child", funcs{stopping: func(*kernel.Context) { <-release }})
			ref := stage.Spawn(t, spec("a", funcs{
				started: func(c *kernel.Context) error {
					_, err := c.Spawn(child)
					return err
				},
				receive: func(_ *kernel.Context, msg any) {
					if msg == "boom" {
						panic("boom")
					}
					r.add("%v", msg)
				},
				stopping: func(*kernel.Context) { r.add("stopping") },
			}))
			ref.Tell("boom")
			ref.Tell("for the next one")
			pass(time.Second)
			r.expect(t, "stopping")
			close(release)
			pass(time.Second)
			r.expect(t, "stopping", "for the next one")

			release = make(chan struct{})
			stage.Stop(ref)
			synctest.Wait()
			ref.Tell("late")
			synctest.Wait()
			close(release)
			synctest.Wait()
			r.expect(t, "stopping", "for the next one", "stopping")
		})
	})
}

// Trap 7: the default strategy restarts ten times without a pause and then stops
// the actor without a word.
func TestTrap07SilentStopAfterTenRestarts(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		begin, starts, told := time.Now(), 0, 0
		var pid *actor.PID
		sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg.(type) {
			case *actor.Started:
				pid = c.Spawn(raw(func(_ actor.Context, msg any) {
					if _, ok := msg.(*actor.Started); ok {
						starts++
						panic("in Started")
					}
				}))
			case *actor.Terminated:
				told++
			}
		}))
		synctest.Wait()
		if starts != 11 || answers(sys, pid) || told != 1 {
			t.Errorf("%d starts, %d Terminated", starts, told)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("it took %v", d)
		}
	})
	t.Run("kernel", TestRestartStormStops)
}

// Trap 8: the library's exponential back-off is linear and has no cap.
func TestTrap08LinearBackoff(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var starts []time.Time
		strategy := actor.NewExponentialBackoffStrategy(24*time.Hour, time.Second)
		sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				c.Spawn(raw(func(_ actor.Context, msg any) {
					if _, ok := msg.(*actor.Started); ok {
						if starts = append(starts, time.Now()); len(starts) < 10 {
							panic("in Started")
						}
					}
				}))
			}
		}, actor.WithSupervisor(strategy)))
		pass(time.Hour)
		if len(starts) != 10 {
			t.Fatalf("%d starts", len(starts))
		}
		for i := 1; i < len(starts); i++ {
			gap, linear := starts[i].Sub(starts[i-1]), time.Duration(i)*time.Second
			if gap < linear || gap > linear+time.Microsecond {
				t.Errorf("restart %d after %v, want about %v", i, gap, linear)
			}
		}
	})
	t.Run("kernel", TestBackoffInVirtualTime)
}

// Trap 9: when a failure is escalated and the grandparent resumes, the child that
// failed stays suspended for ever.
func TestTrap09EscalateAndResume(t *testing.T) {
	always := func(d actor.Directive) actor.SupervisorStrategy {
		return actor.NewOneForOneStrategy(1, time.Second, func(any) actor.Directive { return d })
	}
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var child *actor.PID
		parent := actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				child = c.Spawn(raw(func(c actor.Context, msg any) {
					switch msg {
					case "boom":
						panic("boom")
					case "ping":
						c.Respond("pong")
					}
				}))
			}
		}, actor.WithSupervisor(always(actor.EscalateDirective)))
		sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				c.Spawn(parent)
			}
		}, actor.WithSupervisor(always(actor.ResumeDirective))))
		synctest.Wait()
		if !answers(sys, child) {
			t.Fatal("the child does not work")
		}
		sys.Root.Send(child, "boom")
		synctest.Wait()
		if answers(sys, child) {
			t.Error("the child was resumed")
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			// There is nothing to escalate: a child that is beyond restarting is
			// stopped, and the parent decides in its own turn, here to fail too.
			var r record
			child := spec("child", funcs{receive: func(c *kernel.Context, msg any) {
				if msg == "boom" {
					c.Fail(kernel.Fatal(errTest))
				}
				c.Reply("pong")
			}})
			var ref kernel.Ref
			stage.Spawn(t, spec("parent", funcs{
				started: func(c *kernel.Context) (err error) {
					r.add("started")
					ref, err = c.Spawn(child)
					return err
				},
				receive: func(c *kernel.Context, msg any) {
					if m, ok := msg.(kernel.ChildStopped); ok {
						c.Fail(m.Err)
					}
				},
			}))
			synctest.Wait()
			ref.Tell("boom")
			// The child's error is fatal for the parent too, as it is passed on.
			if err := expectStopped(t, stage, "parent"); !errors.Is(err, errTest) {
				t.Errorf("got %v", err)
			}
		})
	})
}

// Trap 10: a guardian panics in the actor that reports a failure when its strategy
// wants to know siblings or to escalate; and each strategy value makes a new one.
func TestTrap10Guardian(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		restart := func(any) actor.Directive { return actor.RestartDirective }
		pids := map[string]bool{}
		for range 3 {
			strategy := actor.NewAllForOneStrategy(1, time.Second, restart)
			pid := sys.Root.Copy().WithGuardian(strategy).Self()
			pids[pid.Id] = true
			guardian, _ := sys.ProcessRegistry.Get(pid)
			func() {
				defer func() {
					if value := recover(); value == nil {
						t.Error("the guardian did not panic")
					}
				}()
				guardian.SendSystemMessage(pid, &actor.Failure{Who: pid, RestartStats: actor.NewRestartStatistics()})
			}()
		}
		if len(pids) != 3 {
			t.Errorf("%d guardians for 3 equal strategies", len(pids))
		}
	})
	t.Run("kernel", func(t *testing.T) {
		// The root has no supervisor at all and restarts like any other actor.
		synctest.Test(t, func(t *testing.T) {
			var r record
			sys := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
			root, err := sys.Spawn(recording("root", &r))
			if err != nil {
				t.Fatal(err)
			}
			root.Tell("boom")
			root.Tell("works")
			pass(time.Second)
			if err := sys.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			r.expect(t, "started", "stopping", "started", "works", "stopping")
		})
	})
}

// Trap 12: Stash replays only after a restart, the last message first.
func TestTrap12StashIsReversed(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var r record
		again := false
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch m := msg.(type) {
			case *actor.Restarting:
				again = true
			case string:
				switch {
				case m == "boom":
					panic("boom")
				case again:
					r.add("%s", m)
				default:
					c.Stash()
				}
			}
		}))
		for _, msg := range []string{"1", "2", "3", "boom"} {
			sys.Root.Send(pid, msg)
		}
		synctest.Wait()
		r.expect(t, "3", "2", "1")
	})
	t.Run("kernel", TestRestartKeepsMailboxAndOrderAndDropsTheFailingMessage)
}

// Trap 17: a supervisor gets the panic's value without its stack.
func TestTrap17NoStack(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var reason any
		supervisor := actor.NewOneForOneStrategy(1, time.Second, func(r any) actor.Directive {
			reason = r
			return actor.StopDirective
		})
		sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				c.Spawn(raw(func(actor.Context, any) { panic("boom") }))
			}
		}, actor.WithSupervisor(supervisor)))
		synctest.Wait()
		if reason != "boom" {
			t.Errorf("the reason is %T %v", reason, reason)
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			ref := stage.Spawn(t, kernel.Spec{
				Name: "a", Kind: "test", Backoff: kernel.Backoff{StormRestarts: 1, Min: 1},
				New: func() kernel.Actor {
					return &funcs{receive: func(*kernel.Context, any) { explode() }}
				},
			})
			ref.Tell(1)
			ref.Tell(2)
			var p *kernel.PanicError
			if err := expectStopped(t, stage, "a"); !errors.As(err, &p) || !strings.Contains(string(p.Stack), "explode") {
				t.Errorf("got %v", err)
			}
		})
	})
}

//go:noinline
func explode() { panic(fmt.Errorf("explode: %w", errTest)) }

// Not in the table of traps: a Restart that is queued behind a Stop makes a new
// instance of an actor that has ended and is in no registry any more.
func TestTrapRestartAfterStopResurrects(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var r record
		release := make(chan struct{})
		pid := sys.Root.Spawn(raw(func(_ actor.Context, msg any) {
			switch msg.(type) {
			case *actor.Started:
				r.add("started")
			case *actor.Stopped:
				r.add("stopped")
			case string:
				<-release
			}
		}))
		sys.Root.Send(pid, "block")
		synctest.Wait()
		process, _ := sys.ProcessRegistry.Get(pid)
		process.SendSystemMessage(pid, &actor.Stop{})
		process.SendSystemMessage(pid, &actor.Restart{})
		close(release)
		synctest.Wait()
		r.expect(t, "started", "stopped", "started")
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			var r record
			release := make(chan struct{})
			ref := stage.Spawn(t, spec("a", funcs{
				started:  func(*kernel.Context) error { r.add("started"); return nil },
				stopping: func(*kernel.Context) { r.add("stopping") },
				receive:  func(*kernel.Context, any) { <-release; panic("boom") },
			}))
			ref.Tell("block")
			synctest.Wait()
			stage.Stop(ref)
			synctest.Wait()
			close(release)
			if err := expectStopped(t, stage, "a"); err != nil {
				t.Errorf("got %v", err)
			}
			pass(time.Hour)
			r.expect(t, "started", "stopping")
		})
	})
}
