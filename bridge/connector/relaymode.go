// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Relay mode lets users without a login write into a conversation, as its owner. Mimir knows
// one sender, so the name of the user is in the text. Package relay decides what the other side
// is told of it.

var errRelayEnded = msgconv.Refusal("people without a login are not relayed in this conversation any more")

// tellAboutRelay queues what package relay tells the other side of a conversation.
func (c *Connector) tellAboutRelay(ctx context.Context, account string, portal networkid.PortalKey, source, text string) error {
	_, conversation, err := mimirid.ParsePortal(portal)
	if err != nil {
		return err
	}
	from, err := identity.ParsePublicKey(account)
	if err != nil {
		return err
	}
	_, err = c.node.Send(ctx, node.Outgoing{
		Account: from, Contact: conversation.Contact(), Group: groupID(conversation), Source: source,
		Type: peer.TypeText, Payload: []byte(text),
	})
	if nodeapi.IsGone(err) || errors.Is(err, node.ErrNotInGroup) || errors.Is(err, node.ErrGroupReadOnly) || errors.Is(err, node.ErrBlocked) {
		return fmt.Errorf("%w: %w", relay.ErrMayNotWrite, err)
	}
	return err
}

// announceRelay has the other side told of the relay before the first relayed message.
func (cl *client) announceRelay(ctx context.Context, msg *bridgev2.MatrixMessage) error {
	err := cl.relay.Announce(ctx, msg.Portal, cl.account.String())
	if errors.Is(err, relay.ErrNotRelayed) {
		return errRelayEnded
	}
	if err != nil {
		return cl.sendError(msg.Event, err)
	}
	return nil
}
