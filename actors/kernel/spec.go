// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"errors"
	"fmt"
	"time"
)

// Actor handles its messages one at a time. Receive must not block, must not
// keep c beyond its incarnation, and must not use c in other goroutines except
// for the methods that say so.
type Actor interface {
	Receive(c *Context, msg any)
}

// Starter is implemented by actors that have work to do before their first
// message: reading their state, starting goroutines, spawning children. An error
// is a supervised failure; Stopping is called also then.
type Starter interface {
	Started(c *Context) error
}

// Stopper is implemented by actors that hold something to be released, such as
// a socket whose closing ends a blocked goroutine. Stopping is called once per
// incarnation, before a stop and before a restart, after Lifetime was cancelled
// and before the goroutines are waited for. It must not block. It may still
// reply and tell others; it cannot spawn, start goroutines or tell itself. A
// panic in it is logged and changes nothing.
type Stopper interface {
	Stopping(c *Context)
}

// Spec says how an actor is created, also after a failure.
type Spec struct {
	// Name is unique among siblings: 1 to 128 printable ASCII bytes, no '/', no space.
	Name string
	// Kind is the fixed label for statistics and logs, such as "session": a
	// lower-case word, never derived from data. A system takes at most 64 kinds.
	Kind string
	// New returns a fresh actor for each incarnation. It allocates only; the work
	// is done in Started. It runs in the new actor's own first turn.
	New func() Actor
	// Backoff says when a failed actor is started again, and when it is given up.
	// Its zero fields have the defaults.
	Backoff Backoff
	// Once is for actors that cannot live twice, such as the owner of a socket: any
	// failure stops them, as if it were Fatal, and Backoff does not matter.
	Once bool
	// Resident is for the one actor that many wait for: it keeps a goroutine while
	// it has nothing to do, instead of getting one with its next message, and lets
	// others run before it rests, so that who was answered and asks again meets it
	// awake. It costs a goroutine and its stack.
	Resident bool
}

const (
	maxNameLen = 128
	maxKindLen = 32
	maxKinds   = 64
)

var errBadSpec = errors.New("bad actor spec")

func (s *Spec) validate() error {
	switch {
	case s.New == nil:
		return fmt.Errorf("%w: New is missing", errBadSpec)
	case !validName(s.Name):
		return fmt.Errorf("%w: name %.64q", errBadSpec, s.Name)
	case !validKind(s.Kind):
		return fmt.Errorf("%w: kind %.64q", errBadSpec, s.Kind)
	}
	return s.Backoff.validate()
}

func validName(name string) bool {
	if name == "" || len(name) > maxNameLen {
		return false
	}
	for i := range len(name) {
		if b := name[i]; b <= ' ' || b > '~' || b == '/' {
			return false
		}
	}
	return true
}

func validKind(kind string) bool {
	if kind == "" || len(kind) > maxKindLen {
		return false
	}
	for i := range len(kind) {
		if b := kind[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '_' {
			return false
		}
	}
	return true
}

// ChildStopped tells the parent that a child has ended for good and that its
// name is free. It comes after everything the child told the parent.
type ChildStopped struct {
	Child Ref
	Name  string
	Kind  string
	// Err is nil after Stop and StopSelf(nil). Otherwise it is the reason given
	// to StopSelf, the fatal error, or one that wraps ErrRestartStorm and the
	// last failure.
	Err error
}

// ChildFailed tells the parent that a child has failed and will be restarted. It
// is for statistics and alarms; the parent need not act on it.
type ChildFailed struct {
	Child Ref
	Name  string
	Kind  string
	Err   error
	// RestartIn is the back-off, which begins when the failed incarnation's
	// children and goroutines are gone.
	RestartIn time.Duration
}

// TaskDone tells an actor that a goroutine it started with Context.Go has ended,
// after everything that goroutine sent to the actor's inbox. A panic is a
// *PanicError.
type TaskDone struct {
	Name string
	Err  error
}

// ChildrenStopped tells an actor that the sequence it began with
// Context.StopChildren is through.
type ChildrenStopped struct {
	Report StopReport
}
