// SPDX-License-Identifier: MPL-2.0

package bridge

import "errors"

// ErrNoMatrix means that this program was built without the bridge.
var ErrNoMatrix = errors.New("this program was built with cgo and without the tag goolm, so the Matrix bridge is not in it: " +
	"build it with CGO_ENABLED=0 or with -tags goolm")
