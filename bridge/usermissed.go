// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
)

// userMissed corrects the tables for a user who was registered again: they are in no
// room, and have no profile.
func (c *connector) userMissed(ctx context.Context, user id.UserID) {
	ctx = context.WithoutCancel(ctx) // whoever waits for the answer
	if _, err := c.br.DB.Exec(ctx, "DELETE FROM mx_user_profile WHERE user_id=$1", user); err != nil {
		c.log.Warn("the rooms of a user cannot be forgotten", "user_id", user, "error", fault.OneLine(err))
	}
	network, isGhost := c.matrix.ParseGhostMXID(user)
	if !isGhost {
		return
	}
	// The ghost in memory belongs to the delivery that is alone with it: this may be any
	// goroutine that sends. So it changes the row, and a delivery the rest.
	ghost, err := c.br.DB.Ghost.GetByID(ctx, network)
	if err != nil || ghost == nil {
		return
	}
	// The name at once, the rest with the next event of the contact.
	named := ghost.Name != "" && c.br.Matrix.GhostIntent(network).SetDisplayName(mautrix.WithMaxRetries(ctx, 0), ghost.Name) == nil
	ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named, false, false, ""
	if err := c.br.DB.Ghost.Update(ctx, ghost); err != nil {
		c.log.Warn("the profile of a ghost cannot be forgotten", "user_id", user, "error", fault.OneLine(err))
	}
	c.missedGhosts.Store(network, named)
	c.restored.look() // more is gone, then
}
