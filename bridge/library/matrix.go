// SPDX-License-Identifier: MPL-2.0

// Package library is how the bridge uses bridgev2, the framework of the mautrix bridges:
// the Matrix connector with our encryption and our message statuses, the logger that
// writes its lines into ours without what people say, and the package variables that make
// its queue synchronous. The bridge starts it; appservice, deliver and connector use it
// through [Matrix] and [StatusSender].
package library

import (
	"context"
	"errors"
	"math"
	"sync"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/botcrypto"
)

// Matrix is bridgev2's Matrix connector as far as we use it. Its one
// implementation is in a file with a build tag, because the package it comes from
// wants either no C compiler or a tag; see New.
//
// All methods but those of bridgev2 give something only after NewBridge.
type Matrix interface {
	bridgev2.MatrixConnector

	AppService() *appservice.AppService
	Processor() *appservice.EventProcessor
	Bot() *appservice.IntentAPI
	// Device returns the bot's device, nil when the bridge does not take part in
	// encrypted rooms.
	Device() botcrypto.Device
	// Encryption says whether the bridge takes part in encrypted rooms, once it was
	// started.
	Encryption() botcrypto.Status
	// IsEncrypted reports whether a room is, as far as our tables say.
	IsEncrypted(ctx context.Context, room id.RoomID) (bool, error)
}

// ErrNoMatrix means that this program was built without the bridge.
var ErrNoMatrix = errors.New("this program was built with cgo and without the tag goolm, so the Matrix bridge is not in it: " +
	"build it with CGO_ENABLED=0 or with -tags goolm")

// Prepare sets what bridgev2 has as package variables. With a buffer of 0
// its queue of remote events is synchronous, and the result of an event is real;
// and it shall wait for that for as long as it takes: all that can take long has
// time limits of its own.
var Prepare = sync.OnceFunc(func() {
	bridgev2.PortalEventBuffer = 0
	bridgev2.EventHandlingTimeoutTicks = math.MaxInt
})
