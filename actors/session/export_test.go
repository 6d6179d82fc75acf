// SPDX-License-Identifier: MPL-2.0

package session

import (
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// SealNamesForTest returns how a node names the ends of a stream.
func SealNamesForTest(own identity.NodeKey, conn overlay.Conn, g uint8) (local, remote identity.NodeKey) {
	return sealNames(own, newStream(conn, Generation(g)))
}
