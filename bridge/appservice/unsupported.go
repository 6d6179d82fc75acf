// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge/homeserver"
)

// refuse tells the sender of an event in the room of a conversation why it was not
// sent. It says nothing in management rooms and to users who may not use the bridge.
func (d *Dispatcher) refuse(ctx context.Context, evt *event.Event, why error) error {
	portal, err := d.deps.Bridge.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal == nil {
		return nil
	}
	user, err := d.deps.Bridge.GetUserByMXID(ctx, evt.Sender)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if user == nil || !user.Permissions.SendEvents {
		return nil
	}
	logins, err := d.deps.Bridge.GetUserLoginsInPortal(ctx, portal.PortalKey)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal.Relay == nil && !slices.ContainsFunc(logins, func(login *bridgev2.UserLogin) bool { return login.UserMXID == user.MXID }) {
		return nil // others may talk here about anything
	}
	status := bridgev2.WrapErrorInStatus(why)
	d.deps.Status.Send(ctx, &status, bridgev2.StatusEventInfoFromEvent(evt))
	return nil
}
