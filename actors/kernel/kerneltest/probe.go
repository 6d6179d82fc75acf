// SPDX-License-Identifier: MPL-2.0

package kerneltest

import (
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

// probeSize is how many messages a probe records that nobody has taken yet.
const probeSize = 4096

// Probe is an actor that records its messages for the test, in their order.
// Messages beyond 4096 that were not taken are dropped, and the next expectation
// fails.
type Probe struct {
	react    func(c *kernel.Context, msg any)
	received chan Received
	overrun  atomic.Bool
	ref      atomic.Pointer[kernel.Ref]
	started  chan struct{} // closed by the first incarnation
}

// Received is one recorded message and who sent it.
type Received struct {
	Msg    any
	Sender kernel.Ref
}

// NewProbe makes a probe without starting it; see Spec. With react, which may be
// nil, it also does something with each message, in its turn: reply, for example.
func NewProbe(react func(c *kernel.Context, msg any)) *Probe {
	return &Probe{react: react, received: make(chan Received, probeSize), started: make(chan struct{})}
}

// Spec lets the probe be spawned, also by actors that get their children's specs
// from the test. A probe is to be spawned once.
func (p *Probe) Spec(name string) kernel.Spec {
	return kernel.Spec{Name: name, Kind: "probe", New: func() kernel.Actor { return &probeActor{p} }}
}

// Ref waits until the probe has been started and returns its address.
func (p *Probe) Ref() kernel.Ref {
	<-p.started
	return *p.ref.Load()
}

// Tell sends msg as if the probe did, so that replies come to it.
func (p *Probe) Tell(to kernel.Ref, msg any) { p.Ref().Tell(tell{to, msg}) }

// Next waits for the next message.
func (p *Probe) Next(tb testing.TB, within time.Duration) Received {
	tb.Helper()
	r, ok := p.next(tb, within)
	if !ok {
		tb.Fatalf("no message within %v", within)
	}
	return r
}

// ExpectNone fails the test when a message comes within quiet. It takes that long,
// so it belongs into a synctest bubble.
func (p *Probe) ExpectNone(tb testing.TB, quiet time.Duration) {
	tb.Helper()
	if r, ok := p.next(tb, quiet); ok {
		tb.Fatalf("unexpected message %T %+v", r.Msg, r.Msg)
	}
}

func (p *Probe) next(tb testing.TB, within time.Duration) (Received, bool) {
	tb.Helper()
	if p.overrun.Load() {
		tb.Fatalf("the probe got more than %d messages that nobody took", probeSize)
	}
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case r := <-p.received:
		return r, true
	case <-timeout.C:
		return Received{}, false
	}
}

// Expect waits for the next message of a probe, which must be an M.
func Expect[M any](tb testing.TB, p *Probe, within time.Duration) M {
	tb.Helper()
	r := p.Next(tb, within)
	m, ok := r.Msg.(M)
	if !ok {
		tb.Fatalf("got %T %+v, expected %v", r.Msg, r.Msg, reflect.TypeFor[M]())
	}
	return m
}

// Await waits for the next M of a probe and passes over everything before it.
func Await[M any](tb testing.TB, p *Probe, within time.Duration) M {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		r, ok := p.next(tb, time.Until(deadline))
		m, is := r.Msg.(M)
		if is {
			return m
		}
		if !ok {
			tb.Fatalf("no %v within %v", reflect.TypeFor[M](), within)
		}
	}
}

// tell has the probe send a message.
type tell struct {
	to  kernel.Ref
	msg any
}

type probeActor struct{ *Probe }

func (a *probeActor) Started(c *kernel.Context) error {
	self := c.Self()
	if a.ref.CompareAndSwap(nil, &self) {
		close(a.started)
	}
	return nil
}

func (a *probeActor) Receive(c *kernel.Context, msg any) {
	switch m := msg.(type) {
	case tell:
		c.Tell(m.to, m.msg)
		return
	case spawn, stop:
	default:
		select {
		case a.received <- Received{Msg: msg, Sender: c.Sender()}:
		default:
			a.overrun.Store(true)
		}
	}
	if a.react != nil {
		a.react(c, msg)
	}
}
