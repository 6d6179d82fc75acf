// SPDX-License-Identifier: MPL-2.0

package forward

import (
	"context"
	"errors"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// MaxLanesForTest is how many lanes may be held.
const MaxLanesForTest = maxLanes

// ReplayForTest deals once more with all events that the flows of an account deal with, as
// after a crash before any cursor was moved.
func ReplayForTest(ctx context.Context, d *Deps, account, home identity.PublicKey) error {
	l := link{deps: d, account: account, home: home}
	forward, err := d.Store.Events(account, 0, 1000)
	answers, more := d.Store.ConversationEvents(home, l.phone(), 0, 1000)
	if err := errors.Join(err, more); err != nil {
		return err
	}
	replay := func(events []store.Event, handle func(context.Context, store.Event, int) (bool, error)) {
		for _, e := range events {
			_, failed := handle(ctx, e, 1)
			err = errors.Join(err, failed)
		}
	}
	replay(forward, l.forwardEvent)
	replay(answers, l.answerEvent)
	return err
}
