// SPDX-License-Identifier: MPL-2.0

package kerneltest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

// stopPatience is how long a stage may take to stop.
const stopPatience = 30 * time.Second

// Stage is an actor system for one test. Its root is a Probe: it records what its
// children tell it, and their ChildStopped.
type Stage struct {
	*Probe
	System *kernel.System
}

// NewStage starts a system that is stopped in the test's Cleanup, where anything
// that does not stop fails the test. A nil Logger logs to the test's output.
func NewStage(tb testing.TB, opts kernel.Options) *Stage {
	tb.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s := &Stage{Probe: NewProbe(direct), System: kernel.NewSystem(opts)}
	if _, err := s.System.Spawn(s.Spec("stage")); err != nil {
		tb.Fatalf("start the stage: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
		defer cancel()
		if err := s.System.Stop(ctx); err != nil {
			tb.Errorf("the stage did not stop: %v", err)
		}
	})
	return s
}

// Spawn starts an actor as a child of the stage.
func (s *Stage) Spawn(tb testing.TB, spec kernel.Spec) kernel.Ref {
	tb.Helper()
	ref, err := s.TrySpawn(tb.Context(), spec)
	if err != nil {
		tb.Fatalf("spawn %q on the stage: %v", spec.Name, err)
	}
	return ref
}

// TrySpawn is Spawn for specs that are expected to be refused.
func (s *Stage) TrySpawn(ctx context.Context, spec kernel.Spec) (kernel.Ref, error) {
	return kernel.Ask[kernel.Ref](ctx, s.Ref(), spawn{spec})
}

// SpawnProbe starts a probe as a child of the stage; react is as in NewProbe.
func (s *Stage) SpawnProbe(tb testing.TB, name string, react func(c *kernel.Context, msg any)) *Probe {
	tb.Helper()
	p := NewProbe(react)
	s.Spawn(tb, p.Spec(name))
	return p
}

// Stop stops a child of the stage, which then records ChildStopped.
func (s *Stage) Stop(child kernel.Ref) { s.Ref().Tell(stop{child}) }

// What the test has the stage's root do.
type (
	spawn struct{ spec kernel.Spec }
	stop  struct{ child kernel.Ref }
)

func direct(c *kernel.Context, msg any) {
	switch m := msg.(type) {
	case spawn:
		ref, err := c.Spawn(m.spec)
		if err != nil {
			c.Reply(err)
			return
		}
		c.Reply(ref)
	case stop:
		c.Stop(m.child)
	}
}
