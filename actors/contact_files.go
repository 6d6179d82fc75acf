// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"fmt"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// What order means when a file takes its time. A message with a file is held until
// the file is on the file server. What was queued behind it waits too, so that a
// conversation arrives as it was written; but only for the patience that the
// configuration gives, counted from when the file was queued. After that messages
// overtake it, as they do in the apps at once, and the file follows when it can.

type patienceOver struct{}

// nextToSend returns the first message that may be sent now.
func (x *contact) nextToSend(c *kernel.Context) (store.Message, bool) {
	x.patience.Stop()
	first := true
	for m, err := range x.deps.Store.UndeliveredFrom(x.Account, x.ID, x.undelivered) {
		if err != nil {
			c.Fail(fmt.Errorf("read outbox: %w", err))
		}
		if first {
			x.undelivered, first = m.Order, false
		}
		if !m.Held {
			return m, true
		}
		patience := x.deps.Patience
		left := patience - x.deps.Now().Sub(m.Created.Time())
		// More than all of it is left when the clock was set back: then nobody waits.
		if left > 0 && left <= patience {
			x.patience = c.After(left, patienceOver{})
			break
		}
	}
	return store.Message{}, false
}
