// SPDX-License-Identifier: MPL-2.0

// Package botcrypto is the encryption of Matrix rooms: the one device of the bot, with
// whose keys all ghosts encrypt, and the command that explains to a user how encryption
// is. It stands in for the library's own helper, which needs a C compiler, ends the
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

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

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
	State State
	// Error is why it cannot although it should, and what to do, in a sentence or two
	// for people.
	Error string `json:",omitempty"`
}

// State is whether the bridge can take part in encrypted rooms.
type State string

// The states of encryption.
const (
	// Off is when the configuration does not want it.
	Off State = "off"
	// On is when rooms are encrypted.
	On State = "on"
	// Unavailable is when the configuration wants it, and the homeserver or
	// this program cannot: rooms are not encrypted.
	Unavailable State = "unavailable"
)

// Device is the bot's device, with which the bridge takes part in encrypted rooms.
// Its one implementation is in a file with a build tag.
type Device interface {
	// Decrypt returns what is in an encrypted event. The error is ErrNoKeys when
	// that may become possible.
	Decrypt(ctx context.Context, evt *event.Event) (*event.Event, error)
	// Request asks the other devices of the sender for the keys of an event.
	Request(ctx context.Context, evt *event.Event)
	// Receive takes what concerns devices and keys from an answer to /sync, and
	// notes with done that it has. After an error the same has to be given again.
	Receive(ctx context.Context, resp *mautrix.RespSync, done func(context.Context) error) error
	// Client acts as the device.
	Client() *mautrix.Client
	// Explain says in plain sentences how encryption is for a user.
	Explain(ctx context.Context, user id.UserID) string
}

// NewUnavailable says why there is no encryption, and what to do.
func NewUnavailable(why error) Status {
	text := "Rooms are not encrypted, though encryption.allow is set: " + fault.OneLine(why) + "."
	if errors.Is(why, ErrNoDevice) {
		text += " With Synapse 1.121 and later set encryption.msc4190; with another homeserver, or if the room may be readable " +
			"there, set encryption.allow to false."
	}
	return Status{State: Unavailable, Error: text}
}
