// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"

	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// What is in the outbox of a contact, for those who take something out of it. An
// outbox has no bound that a page could have, so it is read whole, a row at a time.

// undelivered returns the undelivered messages to a contact, oldest first.
func (cl *client) undelivered(contact identity.PublicKey) ([]store.MessageID, error) {
	return cl.selectUndelivered(contact, func(store.Message) bool { return true })
}

// undeliveredOf returns those that come from an event.
func (cl *client) undeliveredOf(contact identity.PublicKey, evt id.EventID) ([]store.MessageID, error) {
	return cl.selectUndelivered(contact, func(m store.Message) bool { return evt != "" && msgconv.SourceEvent(m.Source) == evt })
}

func (cl *client) selectUndelivered(contact identity.PublicKey, want func(store.Message) bool) ([]store.MessageID, error) {
	var found []store.MessageID
	for m, err := range cl.node.Undelivered(cl.account, contact) {
		if err != nil {
			return nil, err
		}
		if want(m) {
			found = append(found, m.ID)
		}
	}
	return found, nil
}

// giveUp takes messages out of the outbox and returns how many of them: one that was
// delivered meanwhile is not.
func (cl *client) giveUp(ctx context.Context, contact identity.PublicKey, messages []store.MessageID, reason string) (int, error) {
	given := 0
	var errs []error
	for _, m := range messages {
		ok, err := cl.node.CancelMessage(ctx, cl.account, contact, m, reason)
		if ok {
			given++
		}
		errs = append(errs, err)
	}
	return given, errors.Join(errs...)
}
