// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"encoding/binary"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

func TestSeenNodes_ForgetTheLeastRecent(t *testing.T) {
	s := newSeenNodes()
	key := func(i int) (k identity.NodeKey) {
		binary.BigEndian.PutUint32(k[:], uint32(i))
		return k
	}
	for i := range maxSeenNodes {
		s.add(key(i))
	}
	s.add(key(0)) // comes again
	s.add(key(maxSeenNodes))
	if !s.has(key(0)) || s.has(key(1)) || !s.has(key(2)) || !s.has(key(maxSeenNodes)) {
		t.Error("not the least recent was forgotten")
	}
	for i := range 10 * maxSeenNodes {
		s.add(key(i))
	}
	if s.count() != maxSeenNodes {
		t.Errorf("%d nodes are remembered, want %d", s.count(), maxSeenNodes)
	}
}
