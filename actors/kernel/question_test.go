// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

// pose has an asker put a question.
type pose struct {
	to       kernel.Ref
	question any
	within   time.Duration
}

// asker records what comes of its questions.
func asker() (*kerneltest.Probe, kernel.Spec) {
	p := kerneltest.NewProbe(func(c *kernel.Context, msg any) {
		if q, ok := msg.(pose); ok {
			c.Ask(q.to, q.question, q.within)
		}
	})
	return p, p.Spec("asker")
}

// outcome waits for what comes of a question.
func outcome(t *testing.T, p *kerneltest.Probe, within time.Duration) kerneltest.Received {
	t.Helper()
	for {
		r := p.Next(t, within)
		if _, ok := r.Msg.(pose); !ok {
			return r
		}
	}
}

func expectUnanswered(t *testing.T, p *kerneltest.Probe, question any, want error) {
	t.Helper()
	r := outcome(t, p, time.Hour)
	u, ok := r.Msg.(kernel.Unanswered)
	if !ok || u.Question != question || !errors.Is(u.Err, want) {
		t.Errorf("got %+v, want %v to be unanswered with %v", r.Msg, question, want)
	}
	p.ExpectNone(t, time.Hour)
}

func TestContextAsk_ReplyArrivesOnce(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		p, s := asker()
		stage.Spawn(t, s)
		target := stage.Spawn(t, spec("target", funcs{receive: func(c *kernel.Context, _ any) {
			c.Reply("first")
			c.Reply("second")
		}}))
		lost := stage.System.Lost()
		p.Ref().Tell(pose{target, "x", time.Minute})
		if r := outcome(t, p, time.Minute); r.Msg != "first" || r.Sender != target {
			t.Errorf("got %+v", r)
		}
		p.ExpectNone(t, time.Hour)
		if n := stage.System.Lost() - lost; n != 1 {
			t.Errorf("%d lost, the second reply was not counted", n)
		}
	})
}

func TestContextAsk_DeadlineIsTheAskers(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		p, s := asker()
		stage.Spawn(t, s)
		var late kernel.Ref
		target := stage.Spawn(t, spec("target", funcs{receive: func(c *kernel.Context, _ any) { late = c.Sender() }}))
		begin := time.Now()
		p.Ref().Tell(pose{target, "x", time.Minute})
		expectUnanswered(t, p, "x", kernel.ErrNoAnswer)
		if waited := time.Since(begin) - time.Hour; waited != time.Minute {
			t.Errorf("waited %v", waited)
		}
		late.Tell("too late")
		p.ExpectNone(t, time.Hour)
	})
}

// An actor that panics, stops, or was gone before, answers the question by that.
func TestContextAsk_EndOfTheAskedAnswers(t *testing.T) {
	slow := kernel.Backoff{Min: time.Hour, Max: time.Hour}
	for name, test := range map[string]struct {
		receive func(c *kernel.Context, msg any)
		then    any // told after the question
		want    error
	}{
		"panics at the question": {func(*kernel.Context, any) { panic(errTest) }, nil, kernel.ErrFailed},
		"panics later": {func(_ *kernel.Context, msg any) {
			if msg == "boom" {
				panic(errTest)
			}
		}, "boom", kernel.ErrFailed},
		"stops at the question": {func(c *kernel.Context, _ any) { c.StopSelf(nil) }, nil, kernel.ErrStopped},
		"stops later": {func(c *kernel.Context, msg any) {
			if msg == "stop" {
				c.StopSelf(nil)
			}
		}, "stop", kernel.ErrStopped},
		"answers with an error": {func(c *kernel.Context, _ any) { c.Reply(errTest) }, nil, errTest},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
				p, s := asker()
				stage.Spawn(t, s)
				s = spec("target", funcs{receive: test.receive})
				s.Backoff = slow
				target := stage.Spawn(t, s)
				p.Ref().Tell(pose{target, "x", 24 * time.Hour})
				synctest.Wait()
				if test.then != nil {
					target.Tell(test.then)
				}
				begin := time.Now()
				if r := outcome(t, p, time.Hour); time.Since(begin) > time.Second {
					t.Errorf("%+v came after %v", r, time.Since(begin))
				} else if u, ok := r.Msg.(kernel.Unanswered); !ok || u.Question != "x" || !errors.Is(u.Err, test.want) {
					t.Errorf("got %+v", r.Msg)
				}
			})
		})
	}
	t.Run("was gone before", func(t *testing.T) {
		onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
			p, s := asker()
			stage.Spawn(t, s)
			target := stage.Spawn(t, spec("target", funcs{receive: func(c *kernel.Context, _ any) { c.StopSelf(nil) }}))
			target.Tell("go")
			synctest.Wait()
			p.Ref().Tell(pose{target, "x", time.Minute})
			expectUnanswered(t, p, "x", kernel.ErrStopped)
			p.Ref().Tell(pose{kernel.Ref{}, "y", time.Minute})
			expectUnanswered(t, p, "y", kernel.ErrStopped)
		})
	})
}

// A question that waits in the mailbox of an actor in back-off is answered by the
// next incarnation.
func TestContextAsk_QueuedQuestionOutlivesARestart(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		p, s := asker()
		stage.Spawn(t, s)
		s = spec("target", funcs{receive: func(c *kernel.Context, msg any) {
			if msg == "boom" {
				panic("boom")
			}
			c.Reply("pong")
		}})
		s.Backoff = kernel.Backoff{Min: time.Minute, Max: time.Minute}
		target := stage.Spawn(t, s)
		target.Tell("boom")
		synctest.Wait()
		p.Ref().Tell(pose{target, "ping", time.Hour})
		if r := outcome(t, p, 10*time.Minute); r.Msg != "pong" {
			t.Errorf("got %+v", r)
		}
	})
}

// A question of an incarnation that is over bothers nobody.
func TestContextAsk_EndsWithItsIncarnation(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		var questioner kernel.Ref
		target := stage.Spawn(t, spec("target", funcs{receive: func(c *kernel.Context, _ any) { questioner = c.Sender() }}))
		var mu sync.Mutex
		var got []any
		ref := stage.Spawn(t, spec("asker", funcs{receive: func(c *kernel.Context, msg any) {
			switch msg {
			case "ask":
				c.Ask(target, "x", time.Minute)
			case "boom":
				panic("boom")
			default:
				mu.Lock()
				got = append(got, msg)
				mu.Unlock()
			}
		}}))
		ref.Tell("ask")
		synctest.Wait()
		ref.Tell("boom")
		virtual.Sleep(time.Hour)
		questioner.Tell("late")
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
}

// Ask ends by itself with a context that has no deadline, and when the incarnation
// that has the question fails at something else.
func TestAsk_AlwaysEnds(t *testing.T) {
	onStage(t, func(t *testing.T, stage *kerneltest.Stage) {
		ref := stage.Spawn(t, spec("a", funcs{receive: func(_ *kernel.Context, msg any) {
			if msg == "boom" {
				panic("boom")
			}
		}}))
		begin := time.Now()
		if _, err := kernel.Ask[string](t.Context(), ref, "x"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != kernel.AskPatience {
			t.Errorf("ended with %v after %v", err, time.Since(begin))
		}
		ended := make(chan error, 1)
		go func() {
			_, err := kernel.Ask[string](t.Context(), ref, "x")
			ended <- err
		}()
		synctest.Wait()
		begin = time.Now()
		ref.Tell("boom")
		if err := <-ended; !errors.Is(err, kernel.ErrFailed) || time.Since(begin) > time.Second {
			t.Errorf("ended with %v after %v", err, time.Since(begin))
		}
	})
}
