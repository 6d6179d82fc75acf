// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestTaskDoneComesAfterEverythingTheTaskSent(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				inbox := c.Inbox()
				c.Go("count", func(context.Context) error {
					for i := range 3 {
						inbox.Tell(i)
					}
					return errTest
				})
				return nil
			},
			receive: func(_ *kernel.Context, msg any) { r.add("%v", msg) },
		}))
		synctest.Wait()
		r.expect(t, "0", "1", "2", "{count test failure}")
	})
}

func TestTaskPanicAndGoexitBecomeErrors(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { explode() },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				probe := kerneltest.NewProbe(func(c *kernel.Context, msg any) {
					if msg == "go" {
						c.Go("task", func(context.Context) error { leave(); return nil })
					}
				})
				stage.Spawn(t, probe.Spec("a"))
				probe.Ref().Tell("go")
				done := kerneltest.Await[kernel.TaskDone](t, probe, soon)
				var p *kernel.PanicError
				if !errors.As(done.Err, &p) || len(p.Stack) == 0 || done.Name != "task" {
					t.Fatalf("got %+v", done)
				}
				if name == "panic" && (!errors.Is(done.Err, errTest) || !strings.Contains(string(p.Stack), "explode")) {
					t.Errorf("got %v with stack %s", done.Err, p.Stack)
				}
			})
		})
	}
}

func TestTaskFailurePassedToFailIsLoggedWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelWarn)})
		stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				c.Go("task", func(context.Context) error { explode(); return nil })
				return nil
			},
			receive: func(c *kernel.Context, msg any) {
				c.StopSelf(nil)
				c.Fail(msg.(kernel.TaskDone).Err)
			},
		}))
		synctest.Wait()
		if n := log.count("explode"); n != 1 || len(log.lines()) != 1 {
			t.Errorf("got %v", log.lines())
		}
	})
}

func TestRestartWaitsForTasksAndDropsWhatTheySendLate(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		incarnation := 0
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				incarnation++
				n, inbox := incarnation, c.Inbox()
				r.add("started %d", n)
				c.Go("reader", func(ctx context.Context) error {
					inbox.Tell("hello")
					<-ctx.Done()
					virtual.Sleep(3 * time.Second) // slow to end, and it still sends
					if inbox.Tell("late") {
						r.add("late message was taken")
					}
					r.add("ended %d", n)
					return nil
				})
				return nil
			},
			receive: func(_ *kernel.Context, msg any) {
				if msg == "boom" {
					panic("boom")
				}
				r.add("%v", msg)
			},
		}))
		synctest.Wait()
		ref.Tell("boom")
		ref.Tell("kept")
		pass(4 * time.Second)
		r.expect(t, "started 1", "hello", "ended 1", "started 2", "kept", "hello")
	})
}

func TestQueuedInboxMessagesOfAnOldIncarnationAreDropped(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		gate := make(chan struct{})
		sent := make(chan struct{})
		first := true
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				if !first {
					return nil
				}
				first = false
				inbox := c.Inbox()
				c.After(time.Second, "timer of the old one")
				c.Go("reader", func(context.Context) error {
					defer close(sent)
					if !inbox.Tell("frame of the old one") {
						r.add("refused")
					}
					return errTest
				})
				return nil
			},
			receive: func(_ *kernel.Context, msg any) {
				if msg == "boom" {
					<-gate
					panic("boom")
				}
				r.add("%v", msg)
			},
		}))
		ref.Tell("boom") // is handled while the frame, the TaskDone and the timer are queued
		<-sent
		pass(2 * time.Second)
		// The reader's frame may have come before "boom"; then it is not late.
		early := r.count("frame of the old one")
		ref.Tell("kept")
		close(gate)
		pass(time.Minute)
		if got := r.all(); got[len(got)-1] != "kept" || len(got)-early > 2 || r.count("timer of the old one") > 0 {
			t.Errorf("got %v", got)
		}
	})
}

func TestOverrunningTaskIsLoggedAndLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		var r record
		stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelError)})
		release := make(chan struct{})
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				r.add("started")
				inbox := c.Inbox()
				c.Go("stubborn", func(context.Context) error {
					waitStubbornly(release)
					inbox.Tell("late")
					return nil
				})
				c.Go("obedient", func(ctx context.Context) error { <-ctx.Done(); return nil })
				return nil
			},
			receive: func(_ *kernel.Context, msg any) { r.add("%v", msg) },
		}))
		synctest.Wait()
		begin := time.Now()
		stage.Stop(ref)
		if err := expectStopped(t, stage, "a"); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("took %v", d)
		}
		if log.count("left behind") != 1 || log.count(`"task":"stubborn"`) != 1 || log.count("waitStubbornly") != 1 {
			t.Errorf("got %v", log.lines())
		}

		// The system still waits for it, and says so.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := stage.System.Stop(ctx)
		var report kernel.StopReport
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &report) {
			t.Fatalf("got %v", err)
		}
		if len(report.Unstopped) != 1 || report.Unstopped[0].String() != "stage/a (goroutines: stubborn)" {
			t.Errorf("got %v", report)
		}
		ended := make(chan error)
		go func() { ended <- stage.System.Stop(t.Context()) }()
		synctest.Wait()
		close(release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.expect(t, "started")
	})
}

//go:noinline
func waitStubbornly(release chan struct{}) { <-release }

func TestStoppingUnblocksATask(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		socket := make(chan struct{})
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				c.Go("reader", func(context.Context) error { <-socket; return nil })
				return nil
			},
			stopping: func(*kernel.Context) { close(socket) },
		}))
		synctest.Wait()
		begin := time.Now()
		stage.Stop(ref)
		if err := expectStopped(t, stage, "a"); err != nil || time.Since(begin) != 0 {
			t.Errorf("ended with %v after %v", err, time.Since(begin))
		}
	})
}

func TestTimers(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		begin := time.Now()
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				c.After(3*time.Second, "once")
				c.After(time.Second, "never").Stop()
				c.Every(2*time.Second, "tick")
				return nil
			},
			receive: func(_ *kernel.Context, msg any) {
				if msg == "boom" {
					panic("boom")
				}
				r.add("%v at %v", msg, time.Since(begin))
			},
		}))
		pass(5 * time.Second)
		r.expect(t, "tick at 2s", "once at 3s", "tick at 4s")
		ref.Tell("boom") // restarts at 5.0005 to 5.001 s
		pass(3500 * time.Millisecond)
		if got := r.all(); len(got) != 5 || !strings.HasPrefix(got[3], "tick at 7.000") || !strings.HasPrefix(got[4], "once at 8.000") {
			t.Errorf("got %v", got)
		}
	})
}

func TestStoppedTimerIsNotDeliveredAlsoWhenQueued(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		var timers []kernel.Timer
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				timers = []kernel.Timer{{}, c.After(time.Second, "once"), c.Every(time.Second, "tick")}
				return nil
			},
			receive: func(_ *kernel.Context, msg any) {
				r.add("%v", msg)
				virtual.Sleep(time.Minute) // both are queued meanwhile
				for _, timer := range timers {
					timer.Stop()
					timer.Stop()
				}
			},
		}))
		ref.Tell("busy")
		pass(time.Hour)
		r.expect(t, "busy")
	})
}

func TestTicksOfABusyActorDoNotPileUp(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ticks := 0
		stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error { c.Every(time.Second, "tick"); return nil },
			receive: func(*kernel.Context, any) { ticks++; virtual.Sleep(10 * time.Second) },
		}))
		pass(105 * time.Second)
		if ticks < 10 || ticks > 11 {
			t.Errorf("%d ticks", ticks)
		}
		if st := statsOf(t, stage.System, "test"); st.DepthMax > 1 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestMissedTicksAreNotMadeUpFor(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		begin := time.Now()
		stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error { c.Every(time.Second, "tick"); return nil },
			receive: func(*kernel.Context, any) {
				r.add("%v", time.Since(begin))
				if len(r.all()) == 1 {
					virtual.Sleep(10 * time.Second)
				}
			},
		}))
		pass(13 * time.Second)
		r.expect(t, "1s", "11s", "12s", "13s")
	})
}

func TestTimersEndWithTheirIncarnation(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		first := true
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				if first {
					c.After(time.Hour, "once")
					c.Every(time.Hour, "tick")
				}
				first = false
				return nil
			},
			receive: func(_ *kernel.Context, msg any) { panic(msg) },
		}))
		ref.Tell("boom")
		pass(24 * time.Hour)
		if st := statsOf(t, stage.System, "test"); st.Failures != 1 || st.Dropped != 0 {
			t.Errorf("they went on: %+v", st)
		}
	})
}

func TestEveryNeedsAPeriod(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		stage.Spawn(t, kernel.Spec{Name: "a", Kind: "test", Backoff: kernel.Backoff{Min: 1, StormRestarts: 1}, New: func() kernel.Actor {
			return &funcs{started: func(c *kernel.Context) error { c.Every(0, "tick"); return nil }}
		}})
		if err := expectStopped(t, stage, "a"); !errors.Is(err, kernel.ErrRestartStorm) {
			t.Errorf("got %v", err)
		}
	})
}

func TestADayOfTicks(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ticks := 0
		stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error { c.Every(time.Minute, "tick"); return nil },
			receive: func(*kernel.Context, any) { ticks++ },
		}))
		pass(24*time.Hour + time.Second)
		if ticks != 24*60 {
			t.Errorf("%d ticks", ticks)
		}
	})
}
