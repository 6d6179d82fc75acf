// SPDX-License-Identifier: MPL-2.0

package peer

import "errors"

// ErrHandshakeState says that a [Handshake] was used out of order by our own
// side: stepped before it was started, while it waits for [Handshake.Proceed],
// or after it has ended.
var ErrHandshakeState = errors.New("handshake used out of order")
