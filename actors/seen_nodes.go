// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"container/list"
	"sync"

	"github.com/mimird/mimird/proto/identity"
)

// maxSeenNodes bounds the node keys of strangers that are remembered. Keys cost
// nothing, so somebody who wants to be forgotten can be; whoever made them can have
// a key signed that we have never seen as well.
const maxSeenNodes = 4096

// seenNodes remembers the node keys from which strangers have authenticated, the
// latest maxSeenNodes. It is safe for concurrent use.
type seenNodes struct {
	mu     sync.Mutex
	places map[identity.NodeKey]*list.Element
	latest list.List // of identity.NodeKey, the latest first
}

func newSeenNodes() *seenNodes {
	return &seenNodes{places: make(map[identity.NodeKey]*list.Element)}
}

// add notes a node. When there are too many the one that was noted least recently is
// forgotten.
func (s *seenNodes) add(node identity.NodeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if place := s.places[node]; place != nil {
		s.latest.MoveToFront(place)
		return
	}
	s.places[node] = s.latest.PushFront(node)
	if s.latest.Len() > maxSeenNodes {
		delete(s.places, s.latest.Remove(s.latest.Back()).(identity.NodeKey))
	}
}

func (s *seenNodes) has(node identity.NodeKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places[node] != nil
}

func (s *seenNodes) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest.Len()
}
