// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"github.com/mimird/mimird/proto/identity"
)

// maxPerAnnouncer is how many identities one node may announce. A family's node has
// a few; whoever has more takes another node for them.
const maxPerAnnouncer = 64

// announcer is who announces: a node key, or the address of a node in the first
// bytes.
type announcer [32]byte

// announcers counts the identities that each node has announced, so that none takes
// a tracker's table for itself. It has no lock.
type announcers struct {
	of map[announcer]map[identity.PublicKey]struct{}
	// bySize are the announcers by how many identities they have.
	bySize [maxPerAnnouncer + 1]map[announcer]struct{}
}

func newAnnouncers() *announcers {
	return &announcers{of: make(map[announcer]map[identity.PublicKey]struct{})}
}

// allows reports whether a node may announce an identity.
func (a *announcers) allows(from announcer, id identity.PublicKey) bool {
	_, known := a.of[from][id]
	return known || len(a.of[from]) < maxPerAnnouncer
}

// count is the number of identities of a node.
func (a *announcers) count(from announcer) int { return len(a.of[from]) }

func (a *announcers) add(from announcer, id identity.PublicKey) {
	a.resize(from, func(ids map[identity.PublicKey]struct{}) { ids[id] = struct{}{} })
}

func (a *announcers) remove(from announcer, id identity.PublicKey) {
	a.resize(from, func(ids map[identity.PublicKey]struct{}) { delete(ids, id) })
}

func (a *announcers) resize(from announcer, change func(map[identity.PublicKey]struct{})) {
	ids := a.of[from]
	if ids == nil {
		ids = make(map[identity.PublicKey]struct{})
		a.of[from] = ids
	}
	delete(a.bySize[len(ids)], from)
	change(ids)
	if len(ids) == 0 {
		delete(a.of, from)
		return
	}
	if a.bySize[len(ids)] == nil {
		a.bySize[len(ids)] = make(map[announcer]struct{})
	}
	a.bySize[len(ids)][from] = struct{}{}
}

// largest returns a node with the most identities, false when there is none.
func (a *announcers) largest() (announcer, bool) {
	for n := maxPerAnnouncer; n > 0; n-- {
		for from := range a.bySize[n] {
			return from, true
		}
	}
	return announcer{}, false
}
