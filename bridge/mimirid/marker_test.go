// SPDX-License-Identifier: MPL-2.0

package mimirid_test

import (
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

func TestMarker_Inverse(t *testing.T) {
	contact := identity.PublicKey{7}
	message := mimirid.Message(contact, store.MessageID{Dir: store.In, GUID: -5}, 2)
	marker := mimirid.Marker(message)
	if back := mimirid.MarkedMessage(mimirid.User(contact), marker); back != message {
		t.Errorf("marker %q of %q names %q", marker, message, back)
	}
}
