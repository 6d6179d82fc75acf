// SPDX-License-Identifier: MPL-2.0

package mimirid_test

import (
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

func TestMarker_Inverse(t *testing.T) {
	for _, conversation := range conversations {
		message := mimirid.Message(conversation, store.MessageID{Dir: store.In, GUID: -5}, 2)
		marker := mimirid.Marker(message)
		if back := mimirid.MarkedMessage(conversation, marker); back != message || marker != "ifffffffffffffffb/2" {
			t.Errorf("marker %q of %q names %q", marker, message, back)
		}
	}
}
