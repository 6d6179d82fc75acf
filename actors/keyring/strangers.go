// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"sync"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/proto/identity"
)

// maxSeenNodes bounds the node keys of strangers that are remembered. Keys cost
// nothing, so somebody who wants to be forgotten can be; whoever made them can have
// a key signed that we have never seen as well.
const maxSeenNodes = 4096

// seenNodes remembers the node keys from which strangers have authenticated, the
// latest maxSeenNodes. It is safe for concurrent use.
type seenNodes struct {
	mu    sync.Mutex
	nodes *lru.Table[identity.NodeKey, struct{}]
}

func newSeenNodes() *seenNodes {
	return &seenNodes{nodes: lru.New[identity.NodeKey, struct{}](maxSeenNodes)}
}

// add notes a node. When there are too many the one that was noted least recently is
// forgotten.
func (s *seenNodes) add(node identity.NodeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes.Put(node, struct{}{})
}

func (s *seenNodes) has(node identity.NodeKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.nodes.Peek(node)
	return ok
}

func (s *seenNodes) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes.Len()
}
