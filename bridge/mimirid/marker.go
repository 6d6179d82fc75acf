// SPDX-License-Identifier: MPL-2.0

package mimirid

import (
	"strings"

	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/store"
)

// MarkerKey is the key in an event's content that names the message which the event
// shows. Its value is a [Marker].
const MarkerKey = "im.mimir.message"

// Marker names a message within its conversation, which is the room: it is the id
// without the conversation.
func Marker(message networkid.MessageID) string {
	_, marker, _ := strings.Cut(string(message), "/")
	return marker
}

// MarkedMessage is the inverse of Marker.
func MarkedMessage(conversation store.ConversationID, marker string) networkid.MessageID {
	return networkid.MessageID(conversation.String() + "/" + marker)
}
