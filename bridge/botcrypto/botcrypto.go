// SPDX-License-Identifier: MPL-2.0

// Package botcrypto is the encryption of Matrix rooms: the one device of the bot, with
// whose keys all ghosts encrypt, and the command that explains to a user how encryption
// is. It replaces the library's own helper, which needs a C compiler, ends the
// process when /sync fails, and loses keys when the process is killed. The keys are in
// the bridge's own database. The library package plugs the device into bridgev2, and the
// appservice package feeds it with what /sync returns.
//
// A program that was built without the tag goolm has no encryption in it: see
// [CanEncrypt].
package botcrypto

import (
	"context"
	"errors"
	"log/slog"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/sqlstatestore"

	"github.com/mimird/mimird/bridge/fault"
)

var (
	// ErrNoEncryption means that the configuration asks for encryption and this program
	// was built without it.
	ErrNoEncryption = errors.New("this program was built without Matrix encryption: build it with -tags goolm, or set encryption.allow to false")
	// ErrNoDevice means that the homeserver gives the bot no device to encrypt with.
	ErrNoDevice = errors.New("the homeserver gives the bridge no device, so it cannot encrypt")
	// ErrNoKeys means that an event cannot be decrypted yet, because its keys have not
	// arrived.
	ErrNoKeys = errors.New("the keys of this message have not come yet")
)

// Status says whether the bridge can take part in encrypted rooms.
type Status struct {
	State State `json:"state"`
	// Error says, when the state is Unavailable, why, and what to do, in a sentence or two
	// for people.
	Error string `json:"error,omitempty"`
}

// State is whether the bridge can take part in encrypted rooms.
type State string

// The states of encryption.
const (
	// Off means that the configuration does not ask for encryption.
	Off State = "off"
	// On means that the bridge encrypts.
	On State = "on"
	// Unavailable means that the configuration asks for encryption, and that the
	// homeserver or this program does not support it.
	Unavailable State = "unavailable"
)

// Deps is what [New] needs. All fields are required.
type Deps struct {
	Config     *bridgeconfig.Config
	AppService *appservice.AppService
	Bridge     *bridgev2.Bridge
	StateStore *sqlstatestore.SQLStateStore
	Bot        id.UserID
	Log        *slog.Logger
}

// Device is the bot's device, with which the bridge takes part in encrypted rooms. Its
// implementation, [BotDevice], has a build tag. All methods may be called from any
// goroutine.
type Device interface {
	// Decrypt returns the event inside an encrypted one, or ErrNoKeys when its keys may
	// still arrive.
	Decrypt(ctx context.Context, evt *event.Event) (*event.Event, error)
	// Request asks the other devices of the sender for the keys of an event.
	Request(ctx context.Context, evt *event.Event)
	// Receive handles the messages between devices and the changes of devices in an
	// answer to /sync, and then calls done. After an error the caller passes the same
	// answer again.
	Receive(ctx context.Context, resp *mautrix.RespSync, done func(context.Context) error) error
	// Client returns the client of the device.
	Client() *mautrix.Client
	// Explain describes in plain sentences what the bridge and the devices of a user can
	// decrypt.
	Explain(ctx context.Context, user id.UserID) string
}

// NewUnavailable returns the status Unavailable, with the cause and what to do about it.
func NewUnavailable(why error) Status {
	text := "Rooms are not encrypted, though encryption.allow is set: " + fault.OneLine(why) + "."
	if errors.Is(why, ErrNoDevice) {
		text += " With Synapse 1.121 and later set encryption.msc4190; with another homeserver, or if the room may be readable " +
			"there, set encryption.allow to false."
	}
	return Status{State: Unavailable, Error: text}
}
