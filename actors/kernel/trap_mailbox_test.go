// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
)

// Trap 3: Stop throws the rest of the mailbox away without a dead letter, and
// requests in it time out.
func TestTrap03StopLosesTheMailbox(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		var dead, handled atomic.Int32
		sys.EventStream.Subscribe(func(event any) {
			if _, ok := event.(*actor.DeadLetterEvent); ok {
				dead.Add(1)
			}
		})
		release := make(chan struct{})
		pid := sys.Root.Spawn(raw(func(_ actor.Context, msg any) {
			if _, ok := msg.(int); ok {
				handled.Add(1)
				<-release
			}
		}))
		for i := range 10 {
			sys.Root.Send(pid, i)
		}
		synctest.Wait()
		future := sys.Root.RequestFuture(pid, 11, time.Minute)
		sys.Root.Stop(pid)
		close(release)
		begin := time.Now()
		if _, err := future.Result(); !errors.Is(err, actor.ErrTimeout) || time.Since(begin) != time.Minute {
			t.Errorf("the request ended with %v after %v", err, time.Since(begin))
		}
		if handled.Load() != 1 || dead.Load() != 0 {
			t.Errorf("%d handled, %d dead letters", handled.Load(), dead.Load())
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			release := make(chan struct{})
			ref := stage.Spawn(t, spec("a", funcs{receive: func(*kernel.Context, any) { <-release }}))
			for i := range 10 {
				ref.Tell(i)
			}
			synctest.Wait()
			ended := make(chan error)
			go func() {
				_, err := kernel.Ask[string](t.Context(), ref, "queued")
				ended <- err
			}()
			synctest.Wait()
			stage.Stop(ref)
			synctest.Wait()
			close(release)
			begin := time.Now()
			if err := <-ended; !errors.Is(err, kernel.ErrStopped) || time.Since(begin) != 0 {
				t.Errorf("the question ended with %v after %v", err, time.Since(begin))
			}
			if err := expectStopped(t, stage, "a"); err != nil {
				t.Error(err)
			}
			if st := statsOf(t, stage.System, "test"); st.Messages != 1 || st.Dropped != 10 || st.DepthMax != 10 {
				t.Errorf("got %+v", st)
			}
		})
	})
}

// Trap 4: a nil message makes the mailbox's goroutine spin for ever.
func TestTrap04NilMessage(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		guard := &spinGuard{}
		pid := sys.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {}, actor.WithDispatcher(guard)))
		synctest.Wait()
		if guard.spun() {
			t.Fatal("an idle mailbox spins")
		}
		sys.Root.Send(pid, nil)
		synctest.Wait()
		if !guard.spun() {
			t.Error("the mailbox does not spin")
		}
	})
	t.Run("kernel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			var r record
			stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelError)})
			ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, msg any) {
				r.add("%v", msg)
				c.Tell(c.Self(), nil)
				c.Forward(c.Self(), nil)
				c.Inbox().Tell(nil)
				c.After(0, nil).Stop()
				c.Every(time.Second, nil).Stop()
			}}))
			ref.Tell(nil)
			ref.Tell("one")
			if _, err := kernel.Ask[string](t.Context(), ref, nil); err == nil {
				t.Error("a nil question was asked")
			}
			pass(time.Minute)
			r.expect(t, "one")
			if n := stage.System.Lost(); n < 7 {
				t.Errorf("%d lost", n)
			}
			if n := log.count("refusing a nil message"); n != 7 {
				t.Errorf("%d logged", n)
			}
		})
	})
}

// Trap 5: the library's dropping mailbox spins for ever after its first overflow.
// The kernel has no bounded mailbox; Credits bound what is under way.
//
// Bar R26: the mailbox is never deeper than the window.
func TestTrap05BoundedMailbox(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		guard := &spinGuard{}
		release := make(chan struct{})
		pid := sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(int); ok {
				<-release
			}
		}, actor.WithDispatcher(guard), actor.WithMailbox(actor.BoundedDropping(4))))
		for i := range 20 {
			sys.Root.Send(pid, i)
		}
		close(release)
		synctest.Wait()
		if !guard.spun() {
			t.Error("the mailbox does not spin")
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			const window, frames = 8, 1000
			credits := kernel.NewCredits(window, 1<<20)
			handled := 0
			stage.Spawn(t, spec("a", funcs{
				started: func(c *kernel.Context) error {
					inbox := c.Inbox()
					c.Go("reader", func(ctx context.Context) error {
						for i := range frames {
							if err := credits.Acquire(ctx, 100); err != nil {
								return err
							}
							inbox.Tell(i)
						}
						return nil
					})
					return nil
				},
				receive: func(c *kernel.Context, msg any) {
					if i, ok := msg.(int); ok {
						if i != handled {
							t.Errorf("got %d, want %d", i, handled)
						}
						handled++
						credits.Release(100)
					}
				},
			}))
			synctest.Wait()
			if handled != frames {
				t.Errorf("%d handled", handled)
			}
			if st := statsOf(t, stage.System, "test"); st.DepthMax > window+1 {
				t.Errorf("the mailbox was %d deep", st.DepthMax)
			}
		})
	})
}

// Trap 6: the library's mailbox keeps the memory of its largest burst.
func TestTrap06BurstMemory(t *testing.T) {
	const burst = 200_000
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		release := make(chan struct{})
		pid := sys.Root.Spawn(raw(func(actor.Context, any) { <-release }))
		before := heapInUse()
		for range burst {
			sys.Root.Send(pid, "x")
		}
		close(release)
		synctest.Wait()
		if kept := heapInUse() - before; kept < burst*8 {
			t.Errorf("keeps only %d bytes", kept)
		}
		runtime.KeepAlive(sys)
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			release := make(chan struct{})
			ref := stage.Spawn(t, spec("a", funcs{receive: func(*kernel.Context, any) { <-release }}))
			before := heapInUse()
			for range burst {
				ref.Tell("x")
			}
			close(release)
			synctest.Wait()
			if kept := heapInUse() - before; kept > 64<<10 {
				t.Errorf("keeps %d bytes", kept)
			}
			if st := statsOf(t, stage.System, "test"); st.Messages != burst || st.Depth != 0 {
				t.Errorf("got %+v", st)
			}
		})
	})
}

// Trap 11: runtime.Goexit in Receive, which is what t.Fatal does, wedges the
// mailbox: no more messages, no stop.
func TestTrap11Goexit(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg {
			case "exit":
				runtime.Goexit()
			case "ping":
				c.Respond("pong")
			}
		}))
		sys.Root.Send(pid, "exit")
		synctest.Wait()
		if answers(sys, pid) {
			t.Error("it still answers")
		}
		if err := sys.Root.StopFuture(pid).Wait(); !errors.Is(err, actor.ErrTimeout) {
			t.Errorf("stop ended with %v", err)
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, msg any) {
				if msg == "exit" {
					runtime.Goexit()
				}
				c.Reply("pong")
			}}))
			for range 3 {
				ref.Tell("exit")
			}
			if got := ask[string](t, ref, "ping"); got != "pong" {
				t.Errorf("got %q", got)
			}
			if st := statsOf(t, stage.System, "test"); st.Failures != 3 || st.Restarts != 3 {
				t.Errorf("got %+v", st)
			}
		})
	})
}

// Trap 20: a MessageBatch is unpacked and delivered as a whole too.
func TestTrap20MessageBatch(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		got := 0
		pid := sys.Root.Spawn(raw(func(_ actor.Context, msg any) {
			switch msg.(type) {
			case string, batch:
				got++
			}
		}))
		sys.Root.Send(pid, batch{"a", "b"})
		synctest.Wait()
		if got != 3 {
			t.Errorf("%d messages", got)
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			probe := stage.SpawnProbe(t, "probe", nil)
			probe.Ref().Tell(batch{"a", "b"})
			if got := kerneltest.Expect[batch](t, probe, soon); !slices.Equal(got, batch{"a", "b"}) {
				t.Errorf("got %v", got)
			}
			probe.ExpectNone(t, time.Second)
		})
	})
}

type batch []any

func (b batch) GetMessages() []any { return b }

// Also of the library: messages of its own types are obeyed, from any sender.
// To the kernel they are messages like any other.
func TestTrapLibraryMessagesAreObeyed(t *testing.T) {
	library(t, func(t *testing.T, sys *actor.ActorSystem) {
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if msg == "ping" {
				c.Respond("pong")
			}
		}))
		sys.Root.Send(pid, &actor.PoisonPill{})
		synctest.Wait()
		if answers(sys, pid) {
			t.Error("it lives")
		}
	})
	t.Run("kernel", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			probe := stage.SpawnProbe(t, "probe", nil)
			for _, msg := range []any{&actor.PoisonPill{}, &actor.Stop{}, &actor.Restart{}, &actor.Terminated{}, &actor.Touch{}} {
				probe.Ref().Tell(msg)
				if r := probe.Next(t, soon); r.Msg != msg {
					t.Errorf("got %T, want %T", r.Msg, msg)
				}
			}
		})
	})
}
