// SPDX-License-Identifier: MPL-2.0

package kerneltest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 10 * time.Second

func TestProbeRecordsInOrderAndReacts(t *testing.T) {
	stage := kerneltest.NewStage(t, kernel.Options{})
	a := stage.SpawnProbe(t, "a", nil)
	b := stage.SpawnProbe(t, "b", func(c *kernel.Context, msg any) { c.Reply(fmt.Sprint("got ", msg)) })
	for i := range 3 {
		a.Tell(b.Ref(), i)
	}
	for i := range 3 {
		if r := b.Next(t, soon); r.Msg != i || r.Sender != a.Ref() {
			t.Errorf("got %+v, want %d", r, i)
		}
	}
	if got := kerneltest.Expect[string](t, a, soon); got != "got 0" {
		t.Errorf("got %q", got)
	}
	b.Ref().Tell(errors.New("x"))
	if got := kerneltest.Await[error](t, b, soon); got.Error() != "x" {
		t.Errorf("got %v", got)
	}
}

func TestStageRecordsTheEndOfItsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stage := kerneltest.NewStage(t, kernel.Options{Logger: slog.New(slog.DiscardHandler)})
		a := stage.SpawnProbe(t, "a", nil)
		stage.ExpectNone(t, time.Hour)
		stage.Stop(a.Ref())
		if got := kerneltest.Expect[kernel.ChildStopped](t, stage.Probe, soon); got.Child != a.Ref() || got.Kind != "probe" {
			t.Errorf("got %+v", got)
		}
		if _, err := stage.TrySpawn(t.Context(), kernel.Spec{}); err == nil {
			t.Error("a bad spec was taken")
		}
	})
}

// fakeTB lets a helper fail without failing the test.
type fakeTB struct {
	testing.TB
	failed  []string
	cleanup []func()
}

func (f *fakeTB) Helper()                  {}
func (f *fakeTB) Output() io.Writer        { return io.Discard }
func (f *fakeTB) Context() context.Context { return context.Background() }
func (f *fakeTB) Cleanup(clean func())     { f.cleanup = append(f.cleanup, clean) }

func (f *fakeTB) Errorf(format string, args ...any) {
	f.failed = append(f.failed, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func failureOf(t *testing.T, helper func(tb testing.TB)) string {
	t.Helper()
	f := &fakeTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, clean := range f.cleanup {
				clean()
			}
		}()
		helper(f)
	}()
	<-done
	return strings.Join(f.failed, "; ")
}

func TestExpectationsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stage := kerneltest.NewStage(t, kernel.Options{})
		p := stage.SpawnProbe(t, "p", nil)
		cases := []struct {
			want   string
			helper func(tb testing.TB)
		}{
			{"no message within 1s", func(tb testing.TB) { p.Next(tb, time.Second) }},
			{"got string hello, expected int", func(tb testing.TB) {
				p.Ref().Tell("hello")
				kerneltest.Expect[int](tb, p, time.Second)
			}},
			{"no error within 1s", func(tb testing.TB) {
				p.Ref().Tell("hello")
				_ = kerneltest.Await[error](tb, p, time.Second)
			}},
			{"unexpected message string hello", func(tb testing.TB) {
				p.Ref().Tell("hello")
				p.ExpectNone(tb, time.Second)
			}},
			{`spawn "" on the stage: bad actor spec: New is missing`, func(tb testing.TB) {
				stage.Spawn(tb, kernel.Spec{})
			}},
			{"the stage did not stop: stop actors: context deadline exceeded: did not stop: stage/stuck (in a turn)", func(tb testing.TB) {
				stage := kerneltest.NewStage(tb, kernel.Options{})
				stuck := stage.SpawnProbe(tb, "stuck", func(*kernel.Context, any) { virtual.Sleep(time.Minute) })
				stuck.Ref().Tell("x")
				synctest.Wait()
			}},
			{"the probe got more than 4096 messages that nobody took", func(tb testing.TB) {
				for range 5000 {
					p.Ref().Tell("x")
				}
				synctest.Wait()
				p.Next(tb, time.Second)
			}},
		}
		for _, c := range cases {
			if got := failureOf(t, c.helper); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		}
		virtual.Sleep(time.Hour) // the stuck one ends
	})
}
