// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// redialTime is how long a caller's app tries. An offer over a new session within that
// time is the same call: the app has not read that it was declined.
const redialTime = 60 * time.Second

// callPause is how long an offer on the same session is still the same call: people do
// not call again that soon, and the event log must not grow with every frame.
const callPause = 3 * time.Second

// call is the state of a contact's call. There is nobody to talk to, so every call is
// missed: at once, after the configured time, or when the caller hangs up.
type call struct {
	ringing bool
	over    kernel.Timer
	session kernel.Ref // of the last offer
	offered time.Time  // when that came
	until   time.Time  // when the caller's app has given up
}

type ringOver struct{}

func (x *contact) onCallOffered(c *kernel.Context) {
	if c.Sender() != x.live || !x.allowed() {
		return
	}
	now := time.Now()
	again := x.call.session != x.live && now.Before(x.call.until) || now.Sub(x.call.offered) < callPause
	x.call.session, x.call.offered = x.live, now
	switch {
	case x.call.ringing:
		// It rings on, perhaps over another session.
	case again:
		c.Tell(x.live, session.DeclineCall{})
	default:
		x.call.until = now.Add(redialTime)
		x.call.ringing = true
		if x.deps.CallRing <= 0 {
			x.endCall(c)
			return
		}
		x.call.over = c.After(x.deps.CallRing, ringOver{})
	}
}

// onCallHung: the caller has hung up.
func (x *contact) onCallHung(c *kernel.Context) {
	if c.Sender() != x.live || !x.call.ringing {
		return
	}
	x.call.over.Stop()
	x.call.ringing = false
	x.call.until = time.Time{} // the next offer is another call
	x.missCall(c)
}

// endCall declines a call that has rung long enough.
func (x *contact) endCall(c *kernel.Context) {
	if !x.call.ringing {
		return
	}
	x.call.ringing = false
	if !x.live.IsZero() {
		c.Tell(x.live, session.DeclineCall{})
	}
	x.missCall(c)
}

func (x *contact) missCall(c *kernel.Context) {
	c.Log().Info("call missed")
	c.Tell(x.deps.Writer, store.Write{Op: store.NoteMissedCall{Account: x.Account, Contact: x.Contact()}})
}
