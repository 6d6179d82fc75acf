// SPDX-License-Identifier: MPL-2.0

package bridge

import "errors"

var (
	// ErrNoMatrix means that this program was built without the bridge.
	ErrNoMatrix = errors.New("this program was built with cgo and without the tag goolm, so the Matrix bridge is not in it: " +
		"build it with CGO_ENABLED=0 or with -tags goolm")
	// ErrNoEncryption means that the configuration asks for encryption and this
	// program cannot do it.
	ErrNoEncryption = errors.New("this program was built without Matrix encryption: build it with -tags goolm, or set encryption.allow to false")

	// errNoDevice means that the homeserver gives the bot no device to encrypt with.
	errNoDevice = errors.New("the homeserver gives the bridge no device, so it cannot encrypt")
)
