// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"sync"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// maxSilent bounds the file servers that are remembered; when there are more, all
// are forgotten.
const maxSilent = 1024

// silentServers are file servers that have not answered lately. Whoever sends a
// thousand files that are said to be on such a server must not make the files of
// others wait while each of them is tried.
type silentServers struct {
	mu    sync.Mutex
	until map[identity.NodeKey]time.Time
}

func newSilentServers() *silentServers {
	return &silentServers{until: make(map[identity.NodeKey]time.Time)}
}

func (s *silentServers) add(server identity.NodeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.until) >= maxSilent {
		clear(s.until)
	}
	s.until[server] = time.Now().Add(silentTime)
}

func (s *silentServers) has(server identity.NodeKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.until[server]
	if ok && time.Now().After(until) {
		delete(s.until, server)
		return false
	}
	return ok
}
