// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"

	"go.mau.fi/util/variationselector"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/peer"
)

// reactionCame takes back an event of ours that shows a reaction which does not count
// any more, or which another event shows. Nothing else would: what the contact takes
// back later is the event in the bridge's table.
//
// An event whose row is on its way is left alone. A copy that comes in that moment is
// not found; those of Dendrite come half a minute later.
func (c *copies) reactionCame(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) error {
	content := evt.Content.AsReaction()
	key := variationselector.Remove(content.RelatesTo.Key)
	target, err := c.br.DB.Message.GetPartByMXID(ctx, content.RelatesTo.EventID)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if target == nil || key == "" {
		return nil
	}
	account, contact, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	_, message, _, err := mimirid.ParseMessage(target.ID)
	if err != nil {
		return nil //nolint:nilerr // a notice
	}
	dir, sender := store.Out, mimirid.User(account)
	if ghost, ok := c.br.Matrix.ParseGhostMXID(evt.Sender); ok && ghost == mimirid.User(contact) {
		dir, sender = store.In, ghost
	}
	reactions, err := c.node.Reactions(account, contact, peer.GUID(message.GUID))
	if err != nil && !isGone(err) {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	counts := false
	for _, r := range reactions {
		counts = counts || r.Dir == dir && variationselector.Remove(cleanText(r.Emoji)) == key
	}
	shown := evt.ID
	if counts {
		row, err := c.br.DB.Reaction.GetByID(ctx, portal.Receiver, target.ID, "", sender, "")
		if err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		if row == nil || row.MXID == evt.ID || variationselector.Remove(row.Emoji) != key {
			return nil
		}
		shown = row.MXID
	}
	return c.redact(ctx, evt, shown)
}
