// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

const (
	ephemeralPorts = 1<<16 - stream.MinEphemeralPort
	// maxDestinations is how many destinations the last port is remembered for.
	maxDestinations = 4096
)

// portChooser chooses the port that a stream leaves from. Some nodes never
// forget a stream and swallow what comes from its port again, so a port is
// used once per destination until all 16,384 have been, and the first one is
// random because they may remember an earlier run of ours.
type portChooser struct {
	first uint16
	next  *lru.Table[destination, *uint16] // offset from the first ephemeral port
}

func newPortChooser(first uint16) portChooser {
	return portChooser{first: first, next: lru.New[destination, *uint16](maxDestinations)}
}

type destination struct {
	node identity.NodeKey
	port uint16
}

// choose returns the next port for a destination that is not taken.
func (p *portChooser) choose(node identity.NodeKey, port uint16, taken func(local uint16) bool) (uint16, bool) {
	next := p.cursor(destination{node, port})
	for range ephemeralPorts {
		local := stream.MinEphemeralPort + *next
		*next = (*next + 1) % ephemeralPorts
		if !taken(local) {
			return local, true
		}
	}
	return 0, false
}

// cursor returns the offset of the next port for a destination from the first one.
func (p *portChooser) cursor(d destination) *uint16 {
	if next, ok := p.next.Get(d); ok {
		return next
	}
	next := new(uint16)
	if evicted, full := p.next.Put(d, next); full {
		p.first = *evicted // a destination that comes back later starts where it stood
	}
	*next = p.first % ephemeralPorts
	return next
}
