// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestAsk(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, msg any) {
			switch msg {
			case "number":
				c.Reply(7)
			case "error":
				c.Reply(errTest)
			case "twice":
				c.Reply("first")
				c.Reply("second")
			}
		}}))
		if got := ask[int](t, ref, "number"); got != 7 {
			t.Errorf("got %v", got)
		}
		if got := ask[any](t, ref, "number"); got != 7 {
			t.Errorf("got %v", got)
		}
		if got := ask[string](t, ref, "twice"); got != "first" {
			t.Errorf("got %v", got)
		}
		for _, question := range []func() error{
			func() error { _, err := kernel.Ask[int](t.Context(), ref, "error"); return err },
			func() error { _, err := kernel.Ask[any](t.Context(), ref, "error"); return err },
			func() error { _, err := kernel.Ask[error](t.Context(), ref, "error"); return err },
		} {
			if err := question(); !errors.Is(err, errTest) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := kernel.Ask[string](t.Context(), ref, "number"); err == nil || !strings.Contains(err.Error(), "int, not string") {
			t.Errorf("got %v", err)
		}
		if _, err := kernel.Ask[string](t.Context(), kernel.Ref{}, "x"); !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if n := stage.System.Lost(); n == 0 {
			t.Error("the second reply was not counted")
		}
	})
}

func TestAskEndsWithContext(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var late kernel.Ref
		ref := stage.Spawn(t, spec("a", funcs{receive: func(c *kernel.Context, _ any) { late = c.Sender() }}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := kernel.Ask[string](ctx, ref, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		lost := stage.System.Lost()
		late.Tell("too late")
		if n := stage.System.Lost() - lost; n != 1 {
			t.Errorf("%d lost", n)
		}
		if late.IsZero() || late.Path() != "ask" {
			t.Errorf("got %q", late.Path())
		}
		if _, err := kernel.Ask[string](t.Context(), late, "x"); !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("asking an asker: %v", err)
		}
	})
}

func TestAskOfAnActorInBackoffWaits(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		s := spec("a", funcs{receive: func(c *kernel.Context, msg any) {
			if msg == "boom" {
				panic("boom")
			}
			c.Reply("pong")
		}})
		s.Backoff = kernel.Backoff{Min: time.Hour, Max: time.Hour}
		ref := stage.Spawn(t, s)
		ref.Tell("boom")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := kernel.Ask[string](ctx, ref, "ping"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("ended with %v after %v", err, time.Since(begin))
		}
		patient, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if got, err := kernel.Ask[string](patient, ref, "ping"); err != nil || got != "pong" || time.Since(begin) > time.Hour {
			t.Errorf("got %q, %v after %v", got, err, time.Since(begin))
		}
	})
}

func TestAskOfTheFailingMessageEndsAtOnce(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{receive: func(*kernel.Context, any) { panic(errTest) }}))
		_, err := kernel.Ask[string](t.Context(), ref, "x")
		if !errors.Is(err, kernel.ErrFailed) || !errors.Is(err, errTest) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAskEndsWhenTheActorStopsBeforeItReplied(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{
			receive: func(c *kernel.Context, _ any) {
				if c.Sender().IsZero() {
					c.StopSelf(nil)
				}
			},
		}))
		ended := make(chan error)
		go func() {
			_, err := kernel.Ask[string](t.Context(), ref, "never answered")
			ended <- err
		}()
		synctest.Wait()
		ref.Tell("stop")
		if err := <-ended; !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}
		if _, err := kernel.Ask[string](t.Context(), ref, "x"); !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAskOfAClosingActorEndsAtOnce(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{
			started: func(c *kernel.Context) error {
				c.Go("slow", func(ctx context.Context) error {
					<-ctx.Done()
					virtual.Sleep(4 * time.Second)
					return nil
				})
				return nil
			},
			receive: func(_ *kernel.Context, msg any) { panic(msg) },
		}))
		synctest.Wait()
		ref.Tell("boom")
		ended := make(chan error)
		go func() {
			_, err := kernel.Ask[string](t.Context(), ref, "for the next one")
			ended <- err
		}()
		synctest.Wait()
		begin := time.Now()
		stage.Stop(ref) // while it closes for its restart
		if err := <-ended; !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}
		if _, err := kernel.Ask[string](t.Context(), ref, "late"); !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("took %v", d)
		}
		if err := expectStopped(t, stage, "a"); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestStoppingMayStillReply(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var asker kernel.Ref
		ref := stage.Spawn(t, spec("a", funcs{
			receive:  func(c *kernel.Context, _ any) { asker = c.Sender() },
			stopping: func(c *kernel.Context) { c.Tell(asker, "just in time") },
		}))
		ended := make(chan string)
		go func() {
			got, _ := kernel.Ask[string](t.Context(), ref, "x")
			ended <- got
		}()
		synctest.Wait()
		stage.Stop(ref)
		if got := <-ended; got != "just in time" {
			t.Errorf("got %q", got)
		}
	})
}

func TestForward(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		worker := stage.Spawn(t, spec("worker", funcs{receive: func(c *kernel.Context, msg any) {
			if msg != "keep" {
				c.Reply("worker: " + msg.(string))
			}
		}}))
		to := worker
		front := stage.Spawn(t, spec("front", funcs{receive: func(c *kernel.Context, msg any) { c.Forward(to, msg) }}))
		if got := ask[string](t, front, "a question"); got != "worker: a question" {
			t.Errorf("got %q", got)
		}
		probe := stage.SpawnProbe(t, "probe", nil)
		probe.Tell(front, "from an actor")
		if r := probe.Next(t, soon); r.Msg != "worker: from an actor" || r.Sender != worker {
			t.Errorf("got %+v", r)
		}

		// The question now depends on the worker, and on the front no more.
		ended := make(chan error)
		go func() {
			_, err := kernel.Ask[string](t.Context(), front, "keep")
			ended <- err
		}()
		synctest.Wait()
		stage.Stop(front)
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("ended with %v when the front stopped", err)
		default:
		}
		stage.Stop(worker)
		if err := <-ended; !errors.Is(err, kernel.ErrStopped) {
			t.Errorf("got %v", err)
		}

		for _, to = range []kernel.Ref{{}, worker} {
			front = stage.Spawn(t, spec("front"+to.Path()[min(len(to.Path()), 6):], funcs{receive: func(c *kernel.Context, msg any) { c.Forward(to, msg) }}))
			if _, err := kernel.Ask[string](t.Context(), front, "x"); !errors.Is(err, kernel.ErrStopped) {
				t.Errorf("forwarded to %q: %v", to.Path(), err)
			}
		}
	})
}

func TestManyAsksAgainstStopsAndRestarts(t *testing.T) {
	stage := kerneltest.NewStage(t, kernel.Options{Logger: discard})
	refs := make(chan kernel.Ref, 1)
	fresh := func(i int) kernel.Ref {
		return stage.Spawn(t, kernel.Spec{
			Name: "a" + string(rune('a'+i)), Kind: "test", Backoff: quick,
			New: func() kernel.Actor {
				return &funcs{receive: func(c *kernel.Context, msg any) {
					switch n := msg.(int); {
					case n%97 == 0:
						panic("boom")
					case n%501 == 0:
						c.StopSelf(nil)
					default:
						c.Reply(n)
					}
				}}
			},
		})
	}
	current := fresh(0)
	refs <- current
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				ref := <-refs
				refs <- ref
				n := worker*1000 + i
				got, err := kernel.Ask[int](t.Context(), ref, n)
				switch {
				case err == nil && got != n:
					t.Errorf("asked %d, got %d", n, got)
				case err != nil && !errors.Is(err, kernel.ErrStopped) && !errors.Is(err, kernel.ErrFailed):
					t.Errorf("asked %d, got %v", n, err)
				}
			}
		})
	}
	for i := range 10 {
		ref := fresh(i + 1)
		stage.Stop(<-refs)
		refs <- ref
	}
	wg.Wait()
}
