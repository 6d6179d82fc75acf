// SPDX-License-Identifier: MPL-2.0

package group

import (
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/mediator"
)

const (
	// returnMin and returnMax bound the pauses after which somebody who is banned asks
	// whether that has ended: the mediator does not tell them. hastenedReturn is the pause
	// after it has told all the same.
	returnMin      = time.Minute
	returnMax      = time.Hour
	hastenedReturn = 5 * time.Second
)

// awaitReturn has a group that we are not in any more asked for later: a ban may end, and
// nobody tells who was banned. The pauses grow, and begin anew with each connection.
func (x *chat) awaitReturn(c *kernel.Context) {
	x.returning.Stop()
	x.returning = c.After(kernel.Backoff{Min: returnMin, Max: returnMax}.Delay(x.returns), returnDue{})
	x.returns++
	x.hastened = false
}

// hastenReturn asks soon, because the mediator has said that we are a member again. It may
// say so as often as it likes.
func (x *chat) hastenReturn(c *kernel.Context) {
	if x.hastened {
		return
	}
	x.returning.Stop()
	x.returning, x.hastened = c.After(hastenedReturn, returnDue{}), true
}

func (x *chat) onReturnDue(c *kernel.Context) {
	x.hastened = false
	if !x.record.State.IsActive() {
		x.polling = false // so that SUBSCRIBE comes next
	}
	x.next(c)
}

// onOutsidePush gets a message of a group that we are not in any more. It may say that we are
// again.
func (x *chat) onOutsidePush(c *kernel.Context, m mediator.Message, system bool) {
	if !system {
		return
	}
	s, err := mediator.ParseSystem(m.Blob)
	if err == nil && s.User == x.account && (s.Event == mediator.EventUserAdded || s.Event == mediator.EventPermissions) {
		x.hastenReturn(c)
	}
}
