// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Options for NewSystem. The zero value is fine.
type Options struct {
	// Logger gets everything the kernel and the library have to say; nil means
	// slog.Default.
	Logger *slog.Logger
	// BeforeReceive, when set, runs before every message is handled, in the
	// actor's turn: tests inject panics here. It is not called for Started and
	// Stopping.
	BeforeReceive func(actor Ref, msg any)
}

// System is one tree of actors.
type System struct {
	log    *slog.Logger
	before func(Ref, any)
	lib    *actor.ActorSystem
	lost   atomic.Uint64
	done   chan struct{} // closed when the root is gone, or was never spawned

	mu      sync.Mutex
	kinds   map[string]*kindStats
	root    *cell
	stopped bool // no root any more
	err     error

	spawnMu  sync.Mutex // taken after mu
	spawning *cell
	props    *actor.Props // makes spawning; fixed

	leftMu  sync.Mutex         // taken last
	left    map[*task]struct{} // goroutines that outlived their actor
	changed chan struct{}      // closed and replaced when left shrinks
}

var errSecondRoot = errors.New("the system has its root actor already")

// NewSystem makes a system without actors. It holds no goroutine and needs no
// closing while Spawn was not called.
func NewSystem(opts Options) *System {
	log := opts.Logger
	if log == nil {
		log = slog.Default()
	}
	s := &System{
		log:     log,
		before:  opts.BeforeReceive,
		lib:     newLibrary(log),
		done:    make(chan struct{}),
		kinds:   make(map[string]*kindStats),
		left:    make(map[*task]struct{}),
		changed: make(chan struct{}),
	}
	s.props = actor.PropsFromProducer(
		func() actor.Actor { return s.spawning },
		actor.WithMailbox(func() actor.Mailbox { return s.spawning }),
	)
	return s
}

// registryBuckets of 32 maps each. The library makes 1024, which take 3 MiB when
// they are empty and 200 bytes per actor when each holds a few.
const registryBuckets = 32

func newLibrary(log *slog.Logger) *actor.ActorSystem {
	lib := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(&libraryHandler{log.Handler()})
		}),
		// The kernel has no dead letters in the library's sense. If there ever
		// is one, the throttle's goroutine must not outlive the system.
		actor.WithDeadLetterThrottleInterval(time.Microsecond),
	)
	pids := lib.ProcessRegistry.LocalPIDs
	pids.LocalPIDs = slices.Clone(pids.LocalPIDs[:registryBuckets])
	return lib
}

// Spawn starts the root actor, of which a system has one.
func (s *System) Spawn(spec Spec) (Ref, error) {
	c, err := s.newCell(nil, spec)
	if err != nil {
		return Ref{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return Ref{}, fmt.Errorf("spawn %q: %w", spec.Name, ErrStopped)
	case s.root != nil:
		return Ref{}, fmt.Errorf("spawn %q: %w", spec.Name, errSecondRoot)
	}
	if err := s.spawn(c, s.lib.Root, spec.Name); err != nil {
		return Ref{}, err
	}
	s.root = c
	return c.ref(), nil
}

// spawner is what the library spawns with: its root, or an actor's context.
type spawner interface {
	SpawnNamed(props *actor.Props, name string) (*actor.PID, error)
}

// spawn has the library start an actor. All actors share one value of Props,
// which is a fifth of an idle actor, so the cell is passed beside it.
func (s *System) spawn(c *cell, by spawner, name string) error {
	s.spawnMu.Lock()
	defer s.spawnMu.Unlock()
	s.spawning = c
	c.kind.live.Add(1)
	_, err := by.SpawnNamed(s.props, name)
	s.spawning = nil
	if err != nil {
		c.kind.live.Add(-1)
		if errors.Is(err, actor.ErrNameExists) {
			err = ErrNameTaken
		}
		return fmt.Errorf("spawn %q: %w", name, err)
	}
	c.kind.spawned.Add(1)
	return nil
}

// Done is closed when the root actor has ended for good, because of Stop or by
// itself, and with it every other actor. Goroutines left behind may still run.
func (s *System) Done() <-chan struct{} { return s.done }

// Err returns why the root actor ended, as ChildStopped.Err would say. It is nil
// before Done and after a plain Stop.
func (s *System) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop stops the root actor and everything below, children before the end of
// their parent, and waits until all actors are gone and all their goroutines have
// ended, also those that overran. When ctx ends first, the error wraps its cause
// and a StopReport that names what did not stop. It may be called several times
// and at the same time; each call waits. Never call it in a turn, which it would
// wait for. For an order among siblings, let the root do Context.StopChildren and
// StopSelf before.
func (s *System) Stop(ctx context.Context) error {
	s.mu.Lock()
	root := s.root
	if root == nil && !s.stopped {
		s.stopped = true
		close(s.done)
	}
	s.mu.Unlock()
	if root != nil {
		root.stop(nil)
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return s.stopError(ctx)
	}
	for {
		s.leftMu.Lock()
		left, changed := len(s.left), s.changed
		s.leftMu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s.stopError(ctx)
		}
	}
}

func (s *System) stopError(ctx context.Context) error {
	var report StopReport
	s.leftMu.Lock()
	for t := range s.left {
		c := t.ctx.cell
		report.Unstopped = append(report.Unstopped, Unstopped{Path: c.path(), Kind: c.kind.name, Tasks: []string{t.name}})
	}
	s.leftMu.Unlock()
	s.mu.Lock()
	root := s.root
	s.mu.Unlock()
	if root != nil {
		report.Unstopped = append(report.Unstopped, root.unstopped()...)
	}
	return fmt.Errorf("stop actors: %w: %w", context.Cause(ctx), report)
}

// rootGone is called in the root's last turn.
func (s *System) rootGone(err error) {
	s.mu.Lock()
	s.root, s.stopped, s.err = nil, true, err
	s.mu.Unlock()
	close(s.done)
}

func (s *System) abandon(t *task) {
	s.leftMu.Lock()
	defer s.leftMu.Unlock()
	s.left[t] = struct{}{}
}

func (s *System) forget(t *task) {
	s.leftMu.Lock()
	defer s.leftMu.Unlock()
	delete(s.left, t)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *System) refuseNil(to, from Ref) {
	s.lost.Add(1)
	s.log.Error("refusing a nil message", "actor", to, "sender", from)
}

// libraryHandler forwards the library's records: its errors as they are, the
// rest, which nobody asked for, at debug level.
type libraryHandler struct{ next slog.Handler }

func quiet(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return slog.LevelDebug
	}
	return level
}

func (h *libraryHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, quiet(level))
}

func (h *libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = quiet(r.Level)
	return h.next.Handle(ctx, r)
}

func (h *libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &libraryHandler{h.next.WithAttrs(attrs)}
}

func (h *libraryHandler) WithGroup(name string) slog.Handler {
	return &libraryHandler{h.next.WithGroup(name)}
}
