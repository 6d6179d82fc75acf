// SPDX-License-Identifier: MPL-2.0

package kernel

import "time"

// Timer is what After and Every return. The zero Timer is one that has stopped.
type Timer struct{ t *timer }

// Stop ends the timer: its message does not arrive after this call, also when it
// was already queued. It is for the actor's own turns.
func (t Timer) Stop() {
	if t.t != nil {
		t.t.stop()
	}
}

// timer belongs to an incarnation and is touched only in its turns, except for
// its runtime timer, which posts.
type timer struct {
	ctx    *Context
	timer  *time.Timer
	period time.Duration // 0 for After
	next   time.Time     // for Every
}

// After delivers msg to this incarnation once, after d.
func (x *Context) After(d time.Duration, msg any) Timer { return x.startTimer(d, 0, msg) }

// Every delivers msg to this incarnation each d, which must be above 0, the first
// time after d. At most one is queued: an actor that is busy longer than d misses
// some.
func (x *Context) Every(d time.Duration, msg any) Timer {
	if d <= 0 {
		panic("kernel: Every needs a period above 0")
	}
	return x.startTimer(d, d, msg)
}

func (x *Context) startTimer(d, period time.Duration, msg any) Timer {
	c := x.cell
	if msg == nil {
		c.sys.refuseNil(c.ref(), c.ref())
		return Timer{}
	}
	if x.over {
		return Timer{}
	}
	t := &timer{ctx: x, period: period, next: time.Now().Add(d)}
	if x.timers == nil {
		x.timers = make(map[*timer]struct{})
	}
	x.timers[t] = struct{}{}
	t.timer = time.AfterFunc(d, func() { c.post(envelope{ctx: x, timer: t, msg: msg}) })
	return Timer{t}
}

func (t *timer) stop() {
	t.timer.Stop()
	delete(t.ctx.timers, t)
}

// deliver is asked in the turn that would deliver the message. It reports false
// when the timer was stopped meanwhile, and starts the next period. The period is
// kept, but ticks that were missed are not made up for.
func (t *timer) deliver() bool {
	if _, ok := t.ctx.timers[t]; !ok {
		return false
	}
	if t.period == 0 {
		delete(t.ctx.timers, t)
		return true
	}
	now := time.Now()
	if t.next = t.next.Add(t.period); !t.next.After(now) {
		t.next = now.Add(t.period)
	}
	t.timer.Reset(t.next.Sub(now))
	return true
}
