// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
)

// redialTime is how long a caller's app tries. An offer over a new session within that
// time is the same call: the app has not read the answer.
const redialTime = 60 * time.Second

// callPause is how long an offer on the same session is still the same call: people do
// not call again that soon, and the event log must not grow with every frame.
const callPause = 3 * time.Second

// call is the state of a contact's call. No person can answer it, so every call is missed:
// at once, after the configured time, or when the caller hangs up. Then the answering
// machine has it, if it is on, or it is declined.
type call struct {
	ringing bool
	over    kernel.Timer
	session kernel.Ref // of the last offer
	offered time.Time  // when that came
	until   time.Time  // when the caller's app has given up
	// machine is the call that the answering machine has, zero for none. Earlier ones may
	// be ending.
	machine kernel.Ref
	// answered says that the machine had the last call, over whichever session.
	answered bool
	calls    uint64 // names of children
}

type ringOver struct{}

func (x *contact) onCallOffered(c *kernel.Context) {
	if c.Sender() != x.live || !x.allowed() {
		return
	}
	now := time.Now()
	other := x.call.session != x.live
	again := other && now.Before(x.call.until) || now.Sub(x.call.offered) < callPause
	x.call.session, x.call.offered = x.live, now
	switch {
	case x.call.ringing:
		// It rings on, perhaps over another session.
	case again && other && x.call.answered:
		x.answer(c) // the session before was lost
	case again:
		c.Tell(x.live, session.DeclineCall{})
	default:
		x.call.until = now.Add(redialTime)
		x.call.ringing, x.call.answered = true, false
		ring := x.deps.CallRing
		if x.deps.Answering.Answers(x.Account) {
			ring = x.deps.Answering.Ring()
		}
		if ring <= 0 {
			x.onRingOver(c)
			return
		}
		x.call.over = c.After(ring, ringOver{})
	}
}

// onCallHung: the caller has hung up.
func (x *contact) onCallHung(c *kernel.Context) {
	if c.Sender() != x.live {
		return
	}
	if !x.call.ringing {
		if !x.call.machine.IsZero() {
			c.Tell(x.call.machine, answering.HungUp{})
		}
		return
	}
	x.call.over.Stop()
	x.call.ringing = false
	x.call.until = time.Time{} // the next offer is another call
	x.missCall(c)
}

// onRingOver: the call has rung long enough.
func (x *contact) onRingOver(c *kernel.Context) {
	if !x.call.ringing {
		return
	}
	x.call.ringing = false
	x.missCall(c)
	x.call.answered = x.deps.Answering.Answers(x.Account)
	switch {
	case x.live.IsZero(): // the app calls again over the next session
	case x.call.answered:
		x.answer(c)
	default:
		c.Tell(x.live, session.DeclineCall{})
	}
}

// stopRinging forgets a call that rings, of a contact that is none any more.
func (x *contact) stopRinging() {
	x.call.over.Stop()
	x.call.ringing = false
}

// answer gives the call to the answering machine.
func (x *contact) answer(c *kernel.Context) {
	x.call.calls++
	name := "call-" + strconv.FormatUint(x.call.calls, 10)
	machine, err := c.Spawn(x.deps.Answering.NewSpec(name, x.Conversation, x.live))
	if err != nil {
		c.Fail(fmt.Errorf("start call: %w", err))
	}
	x.call.machine = machine
}

// loseCall ends the call that the machine has, because its session has ended.
func (x *contact) loseCall(c *kernel.Context) {
	if !x.call.machine.IsZero() {
		c.Tell(x.call.machine, session.CallOver{})
		x.call.machine = kernel.Ref{}
	}
}

// onMachineStopped: the call is over, or the machine could not answer it. After a failure
// during a call the session may have told it packets whose credit nobody releases, so it
// ends.
func (x *contact) onMachineStopped(c *kernel.Context, err error) {
	x.call.machine = kernel.Ref{}
	if err == nil {
		x.call.until = time.Time{} // the next offer is another call
		return
	}
	c.Log().Error("answering machine failed, call declined", "err", err)
	x.call.answered = false
	if x.live.IsZero() {
		return
	}
	if _, refused := errors.AsType[*answering.RefusedError](err); refused {
		c.Tell(x.live, session.DeclineCall{})
		return
	}
	c.Stop(x.live)
}

func (x *contact) missCall(c *kernel.Context) {
	c.Log().Info("call missed")
	c.Tell(x.deps.Writer, store.Write{Op: store.NoteMissedCall{Account: x.Account, Contact: x.Contact()}})
}
