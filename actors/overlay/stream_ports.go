// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"container/list"

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
	used  map[destination]*list.Element
	order list.List // of *portCursor, the latest destination first
}

type destination struct {
	node identity.NodeKey
	port uint16
}

type portCursor struct {
	destination destination
	next        uint16 // offset from the first ephemeral port
}

// choose returns the next port for a destination that is not taken.
func (p *portChooser) choose(node identity.NodeKey, port uint16, taken func(local uint16) bool) (uint16, bool) {
	c := p.cursor(destination{node, port})
	for range ephemeralPorts {
		local := stream.MinEphemeralPort + c.next
		c.next = (c.next + 1) % ephemeralPorts
		if !taken(local) {
			return local, true
		}
	}
	return 0, false
}

func (p *portChooser) cursor(d destination) *portCursor {
	if e := p.used[d]; e != nil {
		p.order.MoveToFront(e)
		return e.Value.(*portCursor)
	}
	if p.used == nil {
		p.used = make(map[destination]*list.Element)
	}
	if p.order.Len() >= maxDestinations {
		// A destination that comes back later starts where this one stood.
		oldest := p.order.Remove(p.order.Back()).(*portCursor)
		delete(p.used, oldest.destination)
		p.first = oldest.next
	}
	c := &portCursor{destination: d, next: p.first % ephemeralPorts}
	p.used[d] = p.order.PushFront(c)
	return c
}
