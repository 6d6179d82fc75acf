// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/readmarks"
)

var _ bridgev2.ReadReceiptHandlingNetworkAPI = (*client)(nil)

// HandleMatrixReadReceipt moves the read mark of a conversation to what our user has read.
func (cl *client) HandleMatrixReadReceipt(ctx context.Context, receipt *bridgev2.MatrixReadReceipt) error {
	_, conversation, err := mimirid.ParsePortal(receipt.Portal.PortalKey)
	if err != nil {
		return err
	}
	return cl.marks.Receipt(ctx, store.Conversation{Account: cl.account, ID: conversation}, receipt)
}

func (c *Connector) newMarks() *readmarks.Marks {
	return readmarks.New(readmarks.Deps{
		Node: c.node, Bridge: c.br, Log: c.log, Retry: c.retry, Message: c.conversations.Message, Messages: c.conversations.Messages,
		Attached: c.deliver.Attached, Conversations: c.conversations.All,
		Joined: func(ctx context.Context, room id.RoomID, user id.UserID) bool {
			return c.matrix.AppService().StateStore.IsMembership(ctx, room, user, event.MembershipJoin)
		},
	})
}
