// SPDX-License-Identifier: MPL-2.0

// Package library adapts bridgev2, the framework of the mautrix bridges, to this bridge:
// its Matrix connector with our encryption and message statuses, a logger that writes its
// lines into our log without the content of messages, and its package variables, set so
// that its queue is synchronous. It knows nothing of the node. Package bridge creates all
// of it; the others use it through [Matrix] and [StatusSender].
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

// Matrix is bridgev2's Matrix connector, as far as the bridge uses it. Its implementation
// has a build tag, as the library's has; see [New]. The methods that bridgev2 does not
// have may be called after NewBridge, from any goroutine.
type Matrix interface {
	bridgev2.MatrixConnector

	// AppService returns the library's application service.
	AppService() *appservice.AppService
	// Processor returns what dispatches Matrix events to bridgev2.
	Processor() *appservice.EventProcessor
	// Bot returns the client of the bot.
	Bot() *appservice.IntentAPI
	// Device returns the bot's device, nil if the bridge does not encrypt.
	Device() botcrypto.Device
	// Encryption returns the state of encryption, which is known after Start.
	Encryption() botcrypto.Status
	// IsEncrypted reports whether a room is encrypted according to the bridge's database.
	IsEncrypted(ctx context.Context, room id.RoomID) (bool, error)
}

// ErrNoMatrix means that this program was built without the bridge.
var ErrNoMatrix = errors.New("this program was built with cgo and without the tag goolm, so the Matrix bridge is not in it: " +
	"build it with CGO_ENABLED=0 or with -tags goolm")

// Prepare sets the package variables of bridgev2, once per process and before anything of
// it is created. With a buffer of 0 its queue of remote events is synchronous and returns
// the result of each event. It waits for that without a limit, because every operation has
// a limit of its own.
var Prepare = sync.OnceFunc(func() {
	bridgev2.PortalEventBuffer = 0
	bridgev2.EventHandlingTimeoutTicks = math.MaxInt
})
