// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestSystemWithoutRootStops(t *testing.T) {
	sys := kernel.NewSystem(kernel.Options{Logger: discard})
	for range 2 {
		if err := sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	<-sys.Done()
	if _, err := sys.Spawn(spec("root", funcs{})); !errors.Is(err, kernel.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

func TestSystemHasOneRoot(t *testing.T) {
	sys := kernel.NewSystem(kernel.Options{})
	if _, err := sys.Spawn(kernel.Spec{Name: "root"}); err == nil {
		t.Error("a bad spec was taken")
	}
	root, err := sys.Spawn(spec("root", funcs{}))
	if err != nil || root.IsZero() || root.String() != "root" {
		t.Fatalf("got %v, %v", root, err)
	}
	if _, err := sys.Spawn(spec("other", funcs{})); err == nil {
		t.Error("a second root was taken")
	}
	if err := sys.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := sys.Spawn(spec("other", funcs{})); !errors.Is(err, kernel.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

func TestSystemTellsWhyTheRootEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		sys := kernel.NewSystem(kernel.Options{Logger: discard})
		root, err := sys.Spawn(spec("root", funcs{
			started: func(c *kernel.Context) error {
				if !c.Parent().IsZero() {
					t.Error("the root has a parent")
				}
				_, err := c.Spawn(spec("child", funcs{stopping: func(*kernel.Context) { r.add("child stopping") }}))
				return err
			},
			receive: func(c *kernel.Context, _ any) { c.Fail(kernel.Fatal(errTest)) },
		}))
		if err != nil {
			t.Fatal(err)
		}
		if sys.Err() != nil {
			t.Error("an error before the end")
		}
		root.Tell("end")
		<-sys.Done()
		if !errors.Is(sys.Err(), errTest) {
			t.Errorf("got %v", sys.Err())
		}
		r.expect(t, "child stopping")
		if err := sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStopNamesWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		sys := kernel.NewSystem(kernel.Options{Logger: discard})
		if _, err := sys.Spawn(spec("root", funcs{started: func(c *kernel.Context) error {
			for _, s := range []kernel.Spec{
				spec("in-stopping", funcs{stopping: func(*kernel.Context) { <-release }}),
				spec("in-receive", funcs{
					started: func(c *kernel.Context) error {
						c.Go("innocent", func(ctx context.Context) error { <-ctx.Done(); return nil })
						return nil
					},
					receive: func(*kernel.Context, any) { <-release },
				}),
				spec("in-task", funcs{started: func(c *kernel.Context) error {
					c.Go("task", func(context.Context) error { <-release; return nil })
					return nil
				}}),
				spec("fine", funcs{}),
			} {
				ref, err := c.Spawn(s)
				if err != nil {
					return err
				}
				c.Tell(ref, "go")
			}
			return nil
		}})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		why := errors.New("second signal")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		err := sys.Stop(ctx)
		var report kernel.StopReport
		if !errors.Is(err, why) || !errors.As(err, &report) || report.OK() {
			t.Fatalf("got %v", err)
		}
		want := "did not stop: root/in-receive (in a turn); root/in-stopping (in a turn); root/in-task (goroutines: task)"
		if report.Error() != want {
			t.Errorf("got  %s\nwant %s", report, want)
		}
		for _, u := range report.Unstopped {
			if u.Kind != "test" {
				t.Errorf("got %+v", u)
			}
		}
		close(release)
		if err := sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStopChildrenPassesAnOverrunningStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		var r record
		stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelError)})
		release := make(chan struct{})
		begin := time.Now()
		node := stage.Spawn(t, spec("node", funcs{
			started: func(c *kernel.Context) error {
				for _, s := range []kernel.Spec{
					spec("stuck", funcs{stopping: func(*kernel.Context) { waitStubbornly(release) }}),
					spec("store", funcs{stopping: func(*kernel.Context) { r.add("store after %v", time.Since(begin)) }}),
				} {
					if _, err := c.Spawn(s); err != nil {
						return err
					}
				}
				return nil
			},
			receive: func(c *kernel.Context, msg any) {
				switch m := msg.(type) {
				case string:
					c.StopChildren([][]string{{"stuck"}, {"store"}}, 0, 0)
					c.StopChildren([][]string{{"store"}}, 0, 0) // refused
				case kernel.ChildStopped:
					r.add("gone: %s", m.Name)
				case kernel.ChildrenStopped:
					r.add("%v", m.Report)
				}
			},
		}))
		node.Tell("stop")
		pass(time.Minute)
		r.expect(t, "store after 10s", "gone: store", "did not stop: stage/node/stuck (in a turn)")
		if log.count("waitStubbornly") != 1 || log.count("already being stopped") != 1 {
			t.Errorf("got %v", log.lines())
		}
		close(release)
		synctest.Wait()
		if r.count("gone: stuck") != 1 {
			t.Errorf("got %v", r.all())
		}
	})
}

func TestStopChildren_NoChildren_EndsAtOnce(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		probe := stage.SpawnProbe(t, "probe", func(c *kernel.Context, msg any) {
			if msg == "stop" {
				c.StopChildren([][]string{{"nobody"}, nil}, time.Second, 0)
			}
		})
		for range 2 {
			probe.Ref().Tell("stop")
			if got := kerneltest.Await[kernel.ChildrenStopped](t, probe, soon); !got.Report.OK() || got.Report.Error() == "" {
				t.Errorf("got %+v", got)
			}
		}
	})
}

// All groups together take no longer than total, and those that were not reached are
// told to stop all the same.
func TestStopChildren_Total_BoundsAllGroups(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		names := []string{"a", "b", "c", "d", "e"}
		probe := kerneltest.NewProbe(func(c *kernel.Context, msg any) {
			if msg != "stop" {
				return
			}
			var order [][]string
			for _, name := range names {
				if _, err := c.Spawn(spec(name, funcs{stopping: func(*kernel.Context) { virtual.Sleep(4 * time.Second) }})); err != nil {
					c.Fail(err)
				}
				order = append(order, []string{name})
			}
			c.StopChildren(order, 3*time.Second, 8*time.Second)
		})
		ref := stage.Spawn(t, probe.Spec("parent"))
		begun := time.Now()
		ref.Tell("stop")
		if got := kerneltest.Await[kernel.ChildrenStopped](t, probe, time.Minute); got.Report.OK() || time.Since(begun) != 8*time.Second {
			t.Errorf("%v after %v", got.Report, time.Since(begun))
		}
		for range names[2:] { // two were gone before
			kerneltest.Await[kernel.ChildStopped](t, probe, 5*time.Second)
		}
	})
}

func TestStopSequenceEndsWithItsIncarnation(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var r record
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				_, err := c.Spawn(spec("slow", funcs{stopping: func(*kernel.Context) { virtual.Sleep(5 * time.Second) }}))
				return err
			},
			receive: func(c *kernel.Context, msg any) {
				if msg == "stop" {
					c.StopChildren([][]string{{"slow"}}, time.Second, 0)
					panic("boom")
				}
				r.add("%T", msg)
			},
		}))
		ref.Tell("stop")
		pass(time.Minute)
		r.expect(t)
	})
}

func TestZeroRef(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var none kernel.Ref
		lost := stage.System.Lost()
		none.Tell("x")
		none.Tell(nil)
		if (kernel.Inbox{}).Tell("x") {
			t.Error("the zero Inbox took a message")
		}
		ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, _ any) {
			c.Tell(none, "x")
			c.Forward(none, "x")
			c.Reply("x")
		}}))
		ref.Tell("go")
		synctest.Wait()
		if n := stage.System.Lost() - lost; n != 6 {
			t.Errorf("%d lost", n)
		}
		if !none.IsZero() || none.Path() != "" || ref.IsZero() || none == ref {
			t.Error("the zero Ref is not zero")
		}
	})
}

func TestStats(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		release := make(chan struct{})
		ref := stage.Spawn(t, spec("a", funcs{receive: func(_ *kernel.Context, msg any) {
			switch msg {
			case "boom":
				panic("boom")
			case "wait":
				<-release
			case "work":
				virtual.Sleep(3 * time.Second)
			}
		}}))
		ref.Tell("work")
		ref.Tell("boom")
		pass(time.Minute)
		ref.Tell("wait")
		synctest.Wait()
		for range 5 {
			ref.Tell("queued")
		}
		synctest.Wait()
		if st := statsOf(t, stage.System, "test"); st.Depth != 5 || st.DepthMax != 5 {
			t.Errorf("got %+v", st)
		}
		close(release)
		synctest.Wait()
		stage.Stop(ref)
		if err := expectStopped(t, stage, "a"); err != nil {
			t.Error(err)
		}
		ref.Tell("too late")
		want := kernel.ActorStats{
			Kind: "test", Spawned: 1, Failures: 1, Restarts: 1, Messages: 8, Dropped: 1, DepthMax: 5, Busy: 3 * time.Second,
		}
		if st := statsOf(t, stage.System, "test"); st != want {
			t.Errorf("got  %+v\nwant %+v", st, want)
		}
		all := stage.System.Stats()
		if len(all) != 2 || all[0].Kind != "probe" || all[1].Kind != "test" {
			t.Errorf("got %+v", all)
		}
	})
}

// Bar S22: what comes from outside cannot forge a log line.
func TestLogCarriesTheActorAndStaysOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		stage := kerneltest.NewStage(t, kernel.Options{Logger: log.logger(slog.LevelInfo)})
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				logger := c.Log()
				c.Go("task", func(context.Context) error { c.Log().Info("from the task"); return nil })
				logger.Info("started", "to", c.Self())
				return nil
			},
			receive: func(c *kernel.Context, msg any) {
				if text, ok := msg.(string); ok {
					c.Fail(errors.New(text))
				}
			},
		}))
		synctest.Wait()
		ref.Tell("evil\n{\"level\":\"ERROR\"}\x1b[31m")
		synctest.Wait()
		lines := log.lines()
		if len(lines) < 3 {
			t.Fatalf("got %v", lines)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, `{"time":`) || strings.Contains(line, "\x1b") {
				t.Errorf("got %q", line)
			}
		}
		if log.count(`"actor":"stage/a","kind":"test","to":"stage/a"`) != 1 || log.count(`"msg":"from the task","actor":"stage/a"`) != 1 {
			t.Errorf("got %v", lines)
		}
	})
}
