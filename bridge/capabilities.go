// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
)

// GetCapabilities says what can be sent from a room. What is not named is refused
// by bridgev2, with a notice.
func (cl *client) GetCapabilities(context.Context, *bridgev2.Portal) *event.RoomFeatures {
	return &event.RoomFeatures{
		ID:            "im.mimir.capabilities.1",
		MaxTextLength: maxOutgoingText,
		Reply:         event.CapLevelFullySupported,
	}
}
