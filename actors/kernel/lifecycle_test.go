// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestTellAndReply(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		probe := stage.SpawnProbe(t, "probe", nil)
		echo := stage.SpawnProbe(t, "echo", func(c *kernel.Context, msg any) { c.Reply(msg) })
		probe.Tell(echo.Ref(), "hello")
		if r := probe.Next(t, soon); r.Msg != "hello" || r.Sender != echo.Ref() {
			t.Errorf("got %+v", r)
		}
		if r := echo.Next(t, soon); r.Sender != probe.Ref() {
			t.Errorf("sender %v", r.Sender)
		}
		if got := echo.Ref().Path(); got != "stage/echo" {
			t.Errorf("path %q", got)
		}
	})
}

func TestRestartKeepsMailboxAndOrderAndDropsTheFailingMessage(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		ref := stage.Spawn(t, recording("a", &r))
		for _, msg := range []string{"1", "2", "boom", "3", "4"} {
			ref.Tell(msg)
		}
		pass(time.Second)
		ref.Tell("5")
		synctest.Wait()
		r.expect(t, "started", "1", "2", "stopping", "started", "3", "4", "5")
	})
}

func TestEveryKindOfFailureRestarts(t *testing.T) {
	fails := map[string]func(c *kernel.Context){
		"panic":       func(*kernel.Context) { panic("boom") },
		"panic nil":   func(*kernel.Context) { panic(nil) },
		"panic error": func(*kernel.Context) { panic(errTest) },
		"runtime":     func(*kernel.Context) { var p *kernel.Spec; p.Name = "x" },
		"fail":        func(c *kernel.Context) { c.Fail(errTest) },
		"fail nil":    func(c *kernel.Context) { c.Fail(nil) },
		"goexit":      func(*kernel.Context) { runtime.Goexit() },
	}
	for name, fail := range fails {
		t.Run(name+" in Receive", func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				var r record
				ref := stage.Spawn(t, spec("a", funcs{
					started:  func(*kernel.Context) error { r.add("started"); return nil },
					stopping: func(*kernel.Context) { r.add("stopping") },
					receive: func(c *kernel.Context, msg any) {
						if msg == "fail" {
							fail(c)
						}
						r.add("%v", msg)
					},
				}))
				ref.Tell("fail")
				ref.Tell("after")
				pass(time.Second)
				r.expect(t, "started", "stopping", "started", "after")
			})
		})
		t.Run(name+" in Started", func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				var r record
				first := true
				ref := stage.Spawn(t, spec("a", funcs{
					started: func(c *kernel.Context) error {
						r.add("started")
						if first {
							first = false
							fail(c)
						}
						return nil
					},
					stopping: func(*kernel.Context) { r.add("stopping") },
					receive:  func(_ *kernel.Context, msg any) { r.add("%v", msg) },
				}))
				ref.Tell("kept")
				pass(time.Second)
				r.expect(t, "started", "stopping", "started", "kept")
			})
		})
	}
}

func TestStartedErrorIsAFailure(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		tries := 0
		stage.Spawn(t, spec("a", funcs{
			started: func(*kernel.Context) error {
				if tries++; tries < 3 {
					return errTest
				}
				r.add("up after %d", tries)
				return nil
			},
			stopping: func(*kernel.Context) { r.add("stopping") },
		}))
		pass(time.Second)
		r.expect(t, "stopping", "stopping", "up after 3")
	})
}

func TestPanickingOrEmptyNewCostsOnlyTheChild(t *testing.T) {
	for name, fresh := range map[string]func() kernel.Actor{
		"panic":  func() kernel.Actor { panic("boom") },
		"nil":    func() kernel.Actor { return nil },
		"goexit": func() kernel.Actor { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				s := kernel.Spec{Name: "a", Kind: "test", New: fresh, Backoff: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond}}
				stage.Spawn(t, s)
				if err := expectStopped(t, stage, "a"); !errors.Is(err, kernel.ErrRestartStorm) {
					t.Errorf("got %v", err)
				}
				if st := statsOf(t, stage.System, "probe"); st.Failures != 0 {
					t.Errorf("the parent failed too: %+v", st)
				}
			})
		})
	}
}

func TestFatalStops(t *testing.T) {
	cases := map[string]funcs{
		"Fail":    {receive: func(c *kernel.Context, _ any) { c.Fail(fmt.Errorf("wrapped: %w", kernel.Fatal(errTest))) }},
		"panic":   {receive: func(*kernel.Context, any) { panic(kernel.Fatal(errTest)) }},
		"Started": {started: func(*kernel.Context) error { return kernel.Fatal(errTest) }},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				ref := stage.Spawn(t, spec("a", f))
				ref.Tell("x")
				if err := expectStopped(t, stage, "a"); !errors.Is(err, errTest) {
					t.Errorf("got %v", err)
				}
				if st := statsOf(t, stage.System, "test"); st.Restarts != 0 || st.Live != 0 {
					t.Errorf("got %+v", st)
				}
			})
		})
	}
	if kernel.Fatal(nil) != nil {
		t.Error("Fatal(nil) is not nil")
	}
}

func TestChildFailed_EveryRestart_ParentIsTold(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		s := recording("a", &r)
		s.Backoff = kernel.Backoff{Min: time.Second, Max: time.Second, StormRestarts: 2}
		ref := stage.Spawn(t, s)
		for range 3 {
			ref.Tell("boom")
		}
		for range 2 {
			got := kerneltest.Expect[kernel.ChildFailed](t, stage.Probe, soon)
			var p *kernel.PanicError
			if got.Child != ref || got.Name != "a" || got.Kind != "test" || !errors.As(got.Err, &p) {
				t.Errorf("got %+v", got)
			}
			if got.RestartIn < time.Second/2 || got.RestartIn > time.Second {
				t.Errorf("restart in %v", got.RestartIn)
			}
		}
		// The third is the end, which is told as such only.
		if got := kerneltest.Expect[kernel.ChildStopped](t, stage.Probe, soon); !errors.Is(got.Err, kernel.ErrRestartStorm) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestChildFailed_OnlySpawningIncarnation_IsTold(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		gate := make(chan struct{})
		var child kernel.Ref
		parent := stage.Spawn(t, spec("parent", funcs{
			started: func(c *kernel.Context) (err error) {
				r.add("started")
				child, err = c.Spawn(spec("child", funcs{receive: func(*kernel.Context, any) { panic("boom") }}))
				return err
			},
			receive: func(_ *kernel.Context, msg any) {
				if msg == "boom" {
					<-gate
					panic("boom")
				}
				r.add("%T", msg)
			},
		}))
		synctest.Wait()
		parent.Tell("boom")
		synctest.Wait()
		child.Tell("boom") // its ChildFailed is queued when the parent fails
		synctest.Wait()
		close(gate)
		pass(time.Second)
		r.expect(t, "started", "started")
	})
}

func TestOnceStopsAtAnyFailure(t *testing.T) {
	cases := map[string]struct {
		f     funcs
		level string
	}{
		"error": {funcs{receive: func(c *kernel.Context, _ any) { c.Fail(errTest) }}, "WARN"},
		"start": {funcs{started: func(*kernel.Context) error { return errTest }}, "WARN"},
		"panic": {funcs{receive: func(*kernel.Context, any) { panic(errTest) }}, "ERROR"},
		"fatal": {funcs{receive: func(c *kernel.Context, _ any) { c.Fail(kernel.Fatal(errTest)) }}, "ERROR"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBuffer
				stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelInfo)})
				s := spec("a", test.f)
				s.Once = true
				stage.Spawn(t, s).Tell("x")
				got := kerneltest.Expect[kernel.ChildStopped](t, stage.Probe, soon)
				if !errors.Is(got.Err, errTest) {
					t.Errorf("got %+v", got)
				}
				if st := statsOf(t, stage.System, "test"); st.Restarts != 0 || st.Failures != 1 {
					t.Errorf("got %+v", st)
				}
				if log.count(`"level":"`+test.level+`"`) != 1 || len(log.lines()) != 1 {
					t.Errorf("got %v", log.lines())
				}
			})
		})
	}
}

// Bar R16: a restart storm is capped, and its end is reported.
func TestRestartStormStops(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		starts := 0
		stage.Spawn(t, kernel.Spec{
			Name: "a", Kind: "test", Backoff: kernel.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
			New: func() kernel.Actor {
				return &funcs{started: func(*kernel.Context) error { starts++; return errTest }}
			},
		})
		err := expectStopped(t, stage, "a")
		if !errors.Is(err, kernel.ErrRestartStorm) || !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
		if starts != 11 {
			t.Errorf("%d starts, want the first and 10 restarts", starts)
		}
	})
}

func TestBackoffInVirtualTime(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		begin := time.Now()
		var starts []time.Duration
		stage.Spawn(t, kernel.Spec{
			Name: "a", Kind: "test", Backoff: kernel.Backoff{Forever: true},
			New: func() kernel.Actor {
				return &funcs{started: func(*kernel.Context) error {
					starts = append(starts, time.Since(begin))
					return errTest
				}}
			},
		})
		pass(time.Hour)
		if len(starts) < 30 || len(starts) > 70 {
			t.Fatalf("%d starts in an hour", len(starts))
		}
		for i := 1; i < len(starts); i++ {
			full := min(time.Second<<(min(i, 8)-1), 2*time.Minute)
			if gap := starts[i] - starts[i-1]; gap < full/2 || gap > full {
				t.Errorf("restart %d after %v, want %v to %v", i, gap, full/2, full)
			}
		}
	})
}

func TestBackoffIsForgottenAfterHealth(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		s := recording("a", &r)
		s.Backoff = kernel.Backoff{Min: time.Second, Max: time.Hour, Reset: 5 * time.Minute}
		ref := stage.Spawn(t, s)
		for range 5 {
			ref.Tell("boom")
			pass(2 * time.Minute)
		}
		pass(6 * time.Minute)
		ref.Tell("boom")
		ref.Tell("back")
		pass(1100 * time.Millisecond)
		if got := r.all(); got[len(got)-1] != "back" {
			t.Errorf("still in a long back-off: %v", got)
		}
	})
}

func TestStopInBackoffWorksAtOnce(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		s := recording("a", &r)
		s.Backoff = kernel.Backoff{Min: time.Hour}
		ref := stage.Spawn(t, s)
		ref.Tell("boom")
		synctest.Wait()
		ref.Tell("queued")
		begin := time.Now()
		stage.Stop(ref)
		if err := expectStopped(t, stage, "a"); err != nil {
			t.Errorf("got %v", err)
		}
		ref.Tell("late")
		if st := statsOf(t, stage.System, "test"); st.Dropped != 2 || st.Depth != 0 {
			t.Errorf("got %+v", st)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("took %v", d)
		}
		r.expect(t, "started", "stopping")
	})
}

func TestStopSelf(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		ref := stage.Spawn(t, spec("a", funcs{
			receive: func(c *kernel.Context, msg any) {
				c.StopSelf(errTest)
				c.StopSelf(nil)
				c.Tell(c.Parent(), "last words")
				r.add("%v", msg)
			},
			stopping: func(*kernel.Context) { r.add("stopping") },
		}))
		ref.Tell("1")
		ref.Tell("2")
		if got := kerneltest.Expect[string](t, stage.Probe, soon); got != "last words" {
			t.Errorf("got %q", got)
		}
		if err := expectStopped(t, stage, "a"); !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
		r.expect(t, "1", "stopping")
	})
}

func TestTheFirstReasonToStopCounts(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				c.Go("slow", func(ctx context.Context) error {
					<-ctx.Done()
					virtual.Sleep(time.Second)
					return nil
				})
				return nil
			},
			receive: func(c *kernel.Context, _ any) { c.StopSelf(errTest) },
		}))
		ref.Tell("stop")
		synctest.Wait()
		stage.Stop(ref)
		stage.Stop(ref)
		if err := expectStopped(t, stage, "a"); !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStopSelfThenFailureStillStops(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, _ any) {
			c.StopSelf(nil)
			panic("boom")
		}}))
		ref.Tell("1")
		var p *kernel.PanicError
		if err := expectStopped(t, stage, "a"); !errors.As(err, &p) || p.Value != "boom" {
			t.Errorf("got %v", err)
		}
	})
}

func TestStopSelfInStarted(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		stage.Spawn(t, spec("a", funcs{
			started:  func(c *kernel.Context) error { c.Tell(c.Self(), "never"); c.StopSelf(nil); return nil },
			receive:  func(_ *kernel.Context, msg any) { r.add("%v", msg) },
			stopping: func(*kernel.Context) { r.add("stopping") },
		}))
		if err := expectStopped(t, stage, "a"); err != nil {
			t.Errorf("got %v", err)
		}
		r.expect(t, "stopping")
	})
}

func TestChildrenAreStoppedBeforeARestartAndStartedByTheNewIncarnation(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		child := spec("child", funcs{
			started:  func(*kernel.Context) error { r.add("child started"); return nil },
			stopping: func(*kernel.Context) { r.add("child stopping") },
		})
		var refs []kernel.Ref
		ref := stage.Spawn(t, spec("parent", funcs{
			started: func(c *kernel.Context) error {
				r.add("parent started")
				ref, err := c.Spawn(child)
				refs = append(refs, ref)
				return err
			},
			receive: func(*kernel.Context, any) { panic("boom") },
		}))
		synctest.Wait()
		ref.Tell("boom")
		pass(time.Second)
		r.expect(t, "parent started", "child started", "child stopping", "parent started", "child started")
		if refs[0] == refs[1] {
			t.Error("the old child's Ref became the new child's")
		}
		refs[0].Tell("late")
		if st := statsOf(t, stage.System, "test"); st.Dropped != 1 || st.Live != 2 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestStoppingMayTellOthersButNotSpawnOrTellItself(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		ref := stage.Spawn(t, spec("a", funcs{
			receive: func(_ *kernel.Context, msg any) {
				if msg == "boom" {
					panic("boom")
				}
				r.add("%v", msg)
			},
			stopping: func(c *kernel.Context) {
				if c.Lifetime().Err() == nil {
					r.add("lifetime goes on")
				}
				if _, err := c.Spawn(recording("b", &r)); !errors.Is(err, kernel.ErrStopped) {
					r.add("spawned: %v", err)
				}
				c.Tell(c.Self(), "to myself")
				c.Go("late", func(context.Context) error { r.add("ran"); return nil })
				c.After(0, "timer")
				c.StopChildren([][]string{{"x"}}, 0, 0)
				if c.Inbox().Tell("inbox") {
					r.add("inbox took it")
				}
				c.Tell(c.Parent(), "bye")
			},
		}))
		ref.Tell("boom")
		if got := kerneltest.Await[string](t, stage.Probe, soon); got != "bye" {
			t.Errorf("got %q", got)
		}
		pass(time.Minute)
		r.expect(t)
	})
}

func TestChildLookups(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		parent := stage.Spawn(t, spec("p", funcs{
			started: func(c *kernel.Context) error {
				for _, name := range []string{"a", "b", "c"} {
					if _, err := c.Spawn(spec(name, funcs{})); err != nil {
						return err
					}
				}
				return nil
			},
			receive: func(c *kernel.Context, _ any) {
				children := c.Children()
				paths := []string{}
				for i, child := range children {
					paths = append(paths, child.Path())
					children[i] = kernel.Ref{} // the slice is ours
				}
				slices.Sort(paths)
				b, ok := c.Child("b")
				_, none := c.Child("x")
				r.add("%v %v %v %v %v", paths, len(c.Children()), b, ok, none)
			},
		}))
		parent.Tell("look")
		synctest.Wait()
		r.expect(t, "[stage/p/a stage/p/b stage/p/c] 3 stage/p/b true false")
	})
}

func TestOnlyChildrenCanBeStopped(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		other := stage.Spawn(t, recording("other", &r))
		a := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, _ any) {
			c.Stop(other)
			c.Stop(c.Self())
			c.Stop(c.Parent())
			c.Stop(kernel.Ref{})
		}}))
		a.Tell("go")
		other.Tell("alive")
		synctest.Wait()
		r.expect(t, "started", "alive")
		if st := statsOf(t, stage.System, "test"); st.Live != 2 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestBadSpecsAreRefused(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		good := spec("a", funcs{})
		bad := map[string]func(s *kernel.Spec){
			"no name":         func(s *kernel.Spec) { s.Name = "" },
			"slash":           func(s *kernel.Spec) { s.Name = "a/b" },
			"newline":         func(s *kernel.Spec) { s.Name = "a\nb" },
			"escape":          func(s *kernel.Spec) { s.Name = "a\x1b[31m" },
			"not ASCII":       func(s *kernel.Spec) { s.Name = "ä" },
			"long name":       func(s *kernel.Spec) { s.Name = strings.Repeat("x", 129) },
			"no kind":         func(s *kernel.Spec) { s.Kind = "" },
			"kind with space": func(s *kernel.Spec) { s.Kind = "a b" },
			"long kind":       func(s *kernel.Spec) { s.Kind = strings.Repeat("x", 33) },
			"no New":          func(s *kernel.Spec) { s.New = nil },
			"negative delay":  func(s *kernel.Spec) { s.Backoff.Min = -1 },
			"max below min":   func(s *kernel.Spec) { s.Backoff = kernel.Backoff{Min: time.Hour, Max: time.Second} },
		}
		for name, change := range bad {
			s := good
			change(&s)
			if _, err := stage.TrySpawn(t.Context(), s); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		stage.Spawn(t, good)
	})
}

// Bar S22: the label set cannot grow with the data.
func TestTooManyKindsAreRefused(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var err error
		for i := range 100 {
			s := spec(fmt.Sprint("a", i), funcs{})
			s.Kind = fmt.Sprint("kind", i)
			if _, e := stage.TrySpawn(t.Context(), s); e != nil {
				err = e
			}
		}
		if err == nil || len(stage.System.Stats()) != 64 {
			t.Errorf("%d kinds, error %v", len(stage.System.Stats()), err)
		}
	})
}

func TestBeforeReceiveInjectsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		stage := kerneltest.NewStage(t, kernel.Options{BeforeReceive: func(ref kernel.Ref, msg any) {
			if ref.Path() == "stage/a" && msg == "2" {
				panic("injected")
			}
		}})
		ref := stage.Spawn(t, recording("a", &r))
		for _, msg := range []string{"1", "2", "3"} {
			ref.Tell(msg)
		}
		pass(time.Second)
		r.expect(t, "started", "1", "stopping", "started", "3")
	})
}

func TestFailureIsLoggedOnceWithStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		var r record
		stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelInfo)})
		ref := stage.Spawn(t, recording("a", &r))
		ref.Tell("boom")
		pass(time.Second)
		lines := log.lines()
		if len(lines) != 1 {
			t.Fatalf("%d records: %v", len(lines), lines)
		}
		for _, want := range []string{`"level":"ERROR"`, `"err":"panic: boom"`, `"actor":"stage/a"`, `"kind":"test"`, `"retry_in":`, "helper_test.go"} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("no %s in %s", want, lines[0])
			}
		}
	})
}

// A resident actor is the same goroutine for messages that come one by one, and
// that goroutine ends with the actor.
func TestResidentKeepsItsGoroutine(t *testing.T) {
	for _, resident := range []bool{false, true} {
		t.Run(fmt.Sprint(resident), func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				var goroutines []string
				sp := spec("a", funcs{receive: func(*kernel.Context, any) {
					stack := make([]byte, 64)
					name, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
					goroutines = append(goroutines, name)
				}})
				sp.Resident = resident
				ref := stage.Spawn(t, sp)
				for range 3 {
					ref.Tell("news")
					synctest.Wait()
				}
				slices.Sort(goroutines)
				if n := len(slices.Compact(slices.Clone(goroutines))); len(goroutines) != 3 || (n == 1) != resident {
					t.Errorf("handled by %q", goroutines)
				}
			})
		})
	}
}
