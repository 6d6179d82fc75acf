// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Relay mode lets people without a login write into a conversation, in the name of
// the one whose conversation it is. Mimir knows one sender, so the name of the
// person is in the text, and the contact is told once that others read along.

// relayNotice is what the contact is told before the first relayed message.
const relayNotice = "This conversation is bridged to a Matrix room: people in that room read along, and what they write " +
	"comes from me with their name before it."

// announceRelay tells a contact that others read along, once per room.
func (cl *client) announceRelay(ctx context.Context, msg *bridgev2.MatrixMessage, contact identity.PublicKey) error {
	if msg.OrigSender == nil {
		return nil
	}
	_, err := cl.node.Send(ctx, actors.Outgoing{
		Account: cl.account, Contact: contact, Source: "relay:" + string(msg.Portal.MXID),
		Type: peer.TypeText, Payload: []byte(relayNotice),
	})
	return err
}
