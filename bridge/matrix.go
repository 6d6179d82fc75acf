// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"github.com/mimird/mimird/bridge/botcrypto"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"
)

// matrixConnector is bridgev2's Matrix connector as far as we use it. Its one
// implementation is in a file with a build tag, because the package it comes from
// wants either no C compiler or a tag; see newMatrixConnector.
//
// All methods but those of bridgev2 give something only after NewBridge.
type matrixConnector interface {
	bridgev2.MatrixConnector

	appService() *appservice.AppService
	processor() *appservice.EventProcessor
	bot() *appservice.IntentAPI
	// device returns the bot's device, nil when the bridge does not take part in
	// encrypted rooms.
	device() botcrypto.Device
	// encryption says whether the bridge takes part in encrypted rooms, once it was
	// started.
	encryption() botcrypto.Status
	// isEncrypted reports whether a room is, as far as our tables say.
	isEncrypted(ctx context.Context, room id.RoomID) (bool, error)
}
