// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
)

// Ref is the address of one actor, or of somebody who waits in Ask. It is
// comparable and safe for use anywhere. It stays with its actor through restarts,
// and never comes to mean another actor that is spawned later under the same
// name. The zero Ref means no actor.
type Ref struct{ to recipient }

// recipient is a *cell or an *ask.
type recipient interface {
	tell(msg any, sender Ref)
	path() string
	home() *System
}

// Tell sends msg without a sender, from anywhere outside an actor; inside, use
// [Context.Tell]. It never blocks and never fails: to an actor that has ended, or
// to the zero Ref, the message is counted and dropped. A nil message is refused:
// it is counted, logged and dropped.
func (r Ref) Tell(msg any) {
	if r.to == nil {
		zeroRefTells.Add(1)
		return
	}
	r.tell(msg, Ref{})
}

func (r Ref) tell(msg any, sender Ref) {
	if msg == nil {
		r.to.home().refuseNil(r, sender)
		return
	}
	r.to.tell(msg, sender)
}

// IsZero reports whether r means no actor.
func (r Ref) IsZero() bool { return r.to == nil }

// Path returns the names from the root actor to this one, joined by '/'; it is
// empty for the zero Ref.
func (r Ref) Path() string {
	if r.to == nil {
		return ""
	}
	return r.to.path()
}

// String returns Path.
func (r Ref) String() string { return r.Path() }

// LogValue makes the log show Path.
func (r Ref) LogValue() slog.Value { return slog.StringValue(r.Path()) }

// Ask sends msg to an actor and waits for its reply. It is for goroutines outside
// actors; inside a turn it would block the actor, which tells and gets a reply
// message instead.
//
// It ends with ctx, and sends nothing when ctx has ended already; at once with
// ErrStopped when the actor is gone or stops before it replied, also while the
// question was still queued; and with ErrFailed when handling the question failed.
// An actor in back-off keeps the question queued. A reply that is an error is
// returned as the error; one that is neither an error nor an R is an error too.
func Ask[R any](ctx context.Context, to Ref, msg any) (R, error) {
	var none R
	target, ok := to.to.(*cell)
	if !ok {
		return none, ErrStopped
	}
	if msg == nil {
		target.sys.refuseNil(to, Ref{})
		return none, fmt.Errorf("ask %s: nil message", to.Path())
	}
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("ask %s: %w", to.Path(), err)
	}
	a := &ask{sys: target.sys, reply: make(chan any, 1)}
	if !a.move(target) {
		return none, ErrStopped
	}
	defer a.abandon()
	target.tell(msg, Ref{a})
	var reply any
	select {
	case reply = <-a.reply:
	case <-ctx.Done():
		return none, fmt.Errorf("ask %s: %w", to.Path(), ctx.Err())
	}
	if err, ok := reply.(error); ok {
		return none, err
	}
	if r, ok := reply.(R); ok {
		return r, nil
	}
	return none, fmt.Errorf("ask %s: the reply is %T, not %v", to.Path(), reply, reflect.TypeFor[R]())
}

// ask is one waiting call of Ask. The actor that has the question keeps it on a
// list, so that its end ends the waiting.
type ask struct {
	sys   *System
	reply chan any // gets one value
	done  atomic.Bool

	mu sync.Mutex
	at *cell // who has the question; nil when nobody waits any more
}

func (a *ask) path() string  { return "ask" }
func (a *ask) home() *System { return a.sys }

func (a *ask) tell(msg any, _ Ref) {
	if !a.resolve(msg) {
		a.sys.lost.Add(1)
	}
}

func (a *ask) resolve(reply any) bool {
	if !a.done.CompareAndSwap(false, true) {
		return false
	}
	a.reply <- reply
	return true
}

// move gives the question to an actor. It reports false when that one has ended.
func (a *ask) move(to *cell) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done.Load() {
		return true
	}
	if a.at != nil {
		a.at.removeAsk(a)
	}
	a.at = to
	return to.addAsk(a)
}

// abandon is called when nobody waits any more.
func (a *ask) abandon() {
	a.done.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at != nil {
		a.at.removeAsk(a)
		a.at = nil
	}
}
