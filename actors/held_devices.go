// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// HeldDevice is a node that authenticated as a contact who was never met there.
type HeldDevice struct {
	Node  identity.NodeKey
	Since time.Time
	// Refused says that it was looked at and turned away.
	Refused bool
}

// heldDevices shows the held nodes of all contacts to whoever shows a status. It
// is safe for concurrent use.
type heldDevices struct {
	mu     sync.Mutex
	byPair map[store.Conversation][]HeldDevice
}

func (t *heldDevices) set(p store.Conversation, nodes []HeldDevice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(nodes) == 0 {
		delete(t.byPair, p)
		return
	}
	if t.byPair == nil {
		t.byPair = make(map[store.Conversation][]HeldDevice)
	}
	t.byPair[p] = nodes
}

func (t *heldDevices) get(p store.Conversation) []HeldDevice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.byPair[p])
}
