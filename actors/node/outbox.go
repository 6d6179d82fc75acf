// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// CancelMessage gives up a message that the contact does not have yet, for a
// reason that people are told. It returns false when there is nothing to give up:
// the message is delivered, has failed, or is not in the outbox of that contact.
// A message that is on its way just now may arrive all the same, and is delivered
// then.
func (n *Node) CancelMessage(ctx context.Context, account, contact identity.PublicKey, id store.MessageID, reason string) (bool, error) {
	if id.Dir != store.Out {
		return false, nil
	}
	given, err := do[bool](ctx, n, store.FailMessage{
		Account: account, Conversation: store.ContactConversation(contact), GUID: id.GUID, Time: n.nowMillis(), Reason: reason,
	})
	if err != nil {
		return false, fmt.Errorf("cancel message: %w", err)
	}
	return given, nil
}
