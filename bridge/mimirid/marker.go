// SPDX-License-Identifier: MPL-2.0

package mimirid

import (
	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/proto/identity"
)

// MarkerKey is the key in an event's content that names the message which the event
// shows. Its value is a [Marker].
const MarkerKey = "im.mimir.message"

// Marker names a message within its conversation, which is the room: it is the id
// without the contact.
func Marker(message networkid.MessageID) string { return string(message[2*identity.KeySize+1:]) }

// MarkedMessage is the inverse of Marker.
func MarkedMessage(contact networkid.UserID, marker string) networkid.MessageID {
	return networkid.MessageID(string(contact) + "/" + marker)
}
