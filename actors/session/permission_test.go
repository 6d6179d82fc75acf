// SPDX-License-Identifier: MPL-2.0

package session

import (
	"testing"

	"github.com/mimird/mimird/proto/peer"
)

// The reader skips the payloads of peers without permission. A message that it had read
// when its sender was blocked is neither stored nor acknowledged by the session.
func TestSession_MessageReadBeforeBlock_NotStored(t *testing.T) {
	for _, m := range []peer.Message{
		{GUID: 1, Type: peer.TypeText, Payload: []byte("text")},
		{GUID: 2, Type: peer.TypeFileResponse, Payload: []byte("file")},
	} {
		s := &session{} // has no store: what is written fails
		if later := s.onMessage(nil, m, Credit{}); later || !s.refused {
			t.Errorf("type %v: kept its credit: %v, refused: %v", m.Type, later, s.refused)
		}
	}
}
