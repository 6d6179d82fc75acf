// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"strings"
)

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

// oneLine makes a short sentence of an error, for people, without the tokens of a
// request.
func oneLine(err error) string {
	const most = 300
	text := hideTokens(strings.Join(strings.Fields(err.Error()), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
