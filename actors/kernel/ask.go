// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Every question has a deadline that the asker sets, and an actor that ends answers all
// open questions: with Ask for goroutines, and with Context.Ask for actors. Otherwise a
// panic of another actor would leave a flag set for ever that only an answer clears.

// AskPatience is how long Ask waits with a context that has no deadline.
const AskPatience = time.Minute

// Ask sends msg to an actor and waits for its reply. It is for goroutines outside
// actors; inside a turn it would block the actor, which uses [Context.Ask] instead.
//
// It ends with ctx, or after [AskPatience] when ctx has no deadline, and sends
// nothing when ctx has ended already. It ends at once with ErrStopped when the actor
// is gone or stops before it replied, also while the question was still queued; and
// with ErrFailed when handling the question failed, or when the incarnation that has
// the question fails before it replied. An actor in back-off keeps the question
// queued. A reply that is an error is returned as the error; one that is neither an
// error nor an R is an error too.
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
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, AskPatience)
		defer cancel()
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

// Unanswered tells an actor that a question it put with Context.Ask gets no answer.
type Unanswered struct {
	Question any // as it was put
	// Err is ErrNoAnswer after the deadline, ErrStopped or ErrFailed as for Ask, or
	// the error that was the reply.
	Err error
}

// Ask sends msg to another actor as a question. Exactly one message follows:
// the reply, with the replier as the sender, or [Unanswered], at the latest within
// the given time, which must be above 0. Neither comes when this incarnation ends
// before. A second reply, and one that comes after Unanswered, is counted and
// dropped.
func (x *Context) Ask(to Ref, msg any, within time.Duration) {
	if within <= 0 {
		panic("kernel: Ask needs a time above 0")
	}
	c := x.cell
	if msg == nil {
		c.sys.refuseNil(to, x.Self())
		return
	}
	if x.over {
		return
	}
	for a := range x.asked {
		if a.done.Load() {
			delete(x.asked, a)
		}
	}
	a := &ask{sys: c.sys, asker: x, question: msg}
	target, ok := to.to.(*cell)
	if !ok || !a.move(target) {
		a.resolve(ErrStopped, Ref{})
		return
	}
	if x.asked == nil {
		x.asked = make(map[*ask]struct{})
	}
	x.asked[a] = struct{}{}
	a.mu.Lock()
	a.timer = time.AfterFunc(within, func() { a.resolve(ErrNoAnswer, Ref{}) })
	a.mu.Unlock()
	target.tell(msg, Ref{a})
}

// ask is one open question. The actor that has it keeps it on a list, so that its
// end ends the waiting.
type ask struct {
	sys  *System
	done atomic.Bool

	// Of Ask.
	reply chan any // gets one value

	// Of Context.Ask; fixed before the question is sent.
	asker    *Context
	question any

	mu    sync.Mutex
	at    *cell // who has the question; nil when nobody waits any more
	timer *time.Timer

	// taken is the incarnation that has begun to handle the question, nil while it is
	// queued. Under the mailbox's mu of at.
	taken *Context
}

func (a *ask) path() string  { return "ask" }
func (a *ask) home() *System { return a.sys }

func (a *ask) tell(msg any, sender Ref) {
	if !a.resolve(msg, sender) {
		a.sys.lost.Add(1)
	}
}

// resolve answers the question, unless that was done before.
func (a *ask) resolve(reply any, sender Ref) bool {
	if !a.done.CompareAndSwap(false, true) {
		return false
	}
	if a.asker == nil {
		a.reply <- reply
		return true
	}
	a.leave()
	if err, ok := reply.(error); ok {
		reply, sender = Unanswered{Question: a.question, Err: err}, Ref{}
	}
	if !a.asker.cell.post(envelope{ctx: a.asker, msg: reply, sender: sender}) {
		a.asker.cell.kind.dropped.Add(1)
	}
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
	a.leave()
}

// leave stops the timer and takes the question off the list of the actor that has
// it.
func (a *ask) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.at != nil {
		a.at.removeAsk(a)
		a.at = nil
	}
}

// The side of the actor that is asked.

func (c *cell) addAsk(a *ask) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.asks == nil {
		c.asks = make(map[*ask]struct{})
	}
	a.taken = nil
	c.asks[a] = struct{}{}
	return true
}

func (c *cell) removeAsk(a *ask) {
	c.mu.Lock()
	delete(c.asks, a)
	c.mu.Unlock()
}

// takeAsk notes that an incarnation begins to handle a question.
func (c *cell) takeAsk(a *ask, x *Context) {
	c.mu.Lock()
	if _, here := c.asks[a]; here {
		a.taken = x
	}
	c.mu.Unlock()
}

// endAsks answers the questions that an incarnation has begun to handle, when
// nothing of it is left that could.
func (c *cell) endAsks(x *Context, err error) {
	var taken []*ask
	c.mu.Lock()
	for a := range c.asks {
		if a.taken == x {
			taken = append(taken, a)
		}
	}
	c.mu.Unlock()
	for _, a := range taken {
		a.resolve(err, Ref{})
	}
}
