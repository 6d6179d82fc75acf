// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
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
	// encrypts reports whether this program can take part in encrypted rooms.
	encrypts() bool
}
