// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

var _ bridgev2.DeleteChatHandlingNetworkAPI = (*client)(nil)

var errKept = msgconv.Refusal("the node keeps the conversation, so it is not deleted: delete-portal deletes only the room, and block keeps the contact away")

// HandleMatrixDeleteChat declines a contact request: that is how clients say no to
// one. The library deletes the room then. Another conversation would come back with
// the contact's next message, whole, which nobody would call deleted: it is refused.
func (cl *client) HandleMatrixDeleteChat(ctx context.Context, msg *bridgev2.MatrixDeleteChat) error {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	key := conversation.Contact()
	if err != nil {
		return err
	}
	contact, err := cl.node.Contact(cl.account, key)
	switch {
	case isGone(err):
		return nil // there is nothing but the room
	case err != nil:
		return cl.again(msg.Event, err)
	case contact.State != store.ContactRequested:
		return errKept
	}
	if _, err := cl.node.DeclineContact(ctx, cl.account, key); err != nil && !isGone(err) {
		return cl.again(msg.Event, err)
	}
	return nil
}
