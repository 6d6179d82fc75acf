// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"container/list"
	"sync"

	"github.com/mimird/mimird/proto/identity"
)

// streamsPerPair is how many streams each pair of an account and an accepted
// contact adds to what its node may open.
const streamsPerPair = 4

// places counts the streams of a node, those of all carriers together. A quarter of
// them is reserved for contacts and a quarter for our own dials; when there is no place
// left, the oldest stream of a stranger is evicted. Its lock is taken last, and only
// the contact index is called under it.
type places struct {
	contacts *contactIndex
	total    int
	perKey   int

	mu       sync.Mutex
	counts   [placeKinds]int
	accepted map[identity.NodeKey]int
	// strangers are the places that may be evicted, the oldest first. Some
	// belong to contacts by now: that is checked when their turn comes.
	strangers list.List // of *place
}

// placeKind is for whom a place is.
type placeKind uint8

const (
	placeDialled placeKind = iota
	placeContact
	placeStranger
	placeKinds
)

// place is the place of one stream, or of one QUIC connection.
type place struct {
	// key is what streams are counted by, who whose they are: the same, unless all
	// that is known of the node at first is an address.
	key, who identity.NodeKey
	kind     placeKind
	// uncounted says that it is not a stream, but a connection that carries streams.
	uncounted bool
	// evict ends what has the place. It is called without a lock.
	evict   func()
	element *list.Element // in strangers
	left    bool
}

func newPlaces(contacts *contactIndex, limits Limits) *places {
	return &places{contacts: contacts, total: limits.Connections, perKey: limits.ConnectionsPerKey, accepted: make(map[identity.NodeKey]int)}
}

// dial takes a place for something that we open. It fails with ErrTooMany; else the
// caller ends the evicted streams, with evictAll.
func (p *places) dial(key identity.NodeKey, evict func()) (*place, []*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(&place{key: key, who: key, kind: placeDialled, evict: evict})
}

// accept takes a place for something that another node opens. It fails as dial does,
// also when the node has too many.
func (p *places) accept(key identity.NodeKey, evict func()) (*place, []*place, error) {
	return p.acceptAs(key, key, evict)
}

// acceptAs is accept where streams are not counted by the key of their node.
func (p *places) acceptAs(key, who identity.NodeKey, evict func()) (*place, []*place, error) {
	pairs := p.contacts.at(who)
	kind := placeContact
	if pairs == 0 {
		kind = placeStranger
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted[key] >= p.perKey+streamsPerPair*pairs {
		return nil, nil, ErrTooMany
	}
	return p.take(&place{key: key, who: who, kind: kind, evict: evict})
}

// connect takes a place for a connection that another node opens, on which it may then
// open streams. It does not count among those.
func (p *places) connect(key identity.NodeKey, evict func()) (*place, []*place, error) {
	kind := placeContact
	if p.contacts.at(key) == 0 {
		kind = placeStranger
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(&place{key: key, who: key, kind: kind, uncounted: true, evict: evict})
}

// full says that a node may open nothing more.
func (p *places) full(key identity.NodeKey) bool {
	pairs := p.contacts.at(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted[key] >= p.perKey+streamsPerPair*pairs
}

func (p *places) take(taken *place) (*place, []*place, error) {
	var evicted []*place
	for p.available(taken.kind) <= 0 {
		oldest := p.oldestStranger()
		if oldest == nil {
			return nil, evicted, ErrTooMany
		}
		p.leaveLocked(oldest)
		evicted = append(evicted, oldest)
	}
	p.counts[taken.kind]++
	if taken.kind != placeDialled && !taken.uncounted {
		p.accepted[taken.key]++
	}
	if taken.kind == placeStranger {
		taken.element = p.strangers.PushBack(taken)
	}
	return taken, evicted, nil
}

// available is how many places are left for a kind, without those that are reserved
// for others and not used by them.
func (p *places) available(kind placeKind) int {
	free := p.total
	for _, n := range p.counts {
		free -= n
	}
	quarter := p.total / 4
	if kind != placeDialled {
		free -= max(0, quarter-p.counts[placeDialled])
	}
	if kind != placeContact && p.contacts.known() {
		free -= max(0, quarter-p.counts[placeContact])
	}
	return free
}

// oldestStranger returns the place that is evicted first, nil when there is none.
func (p *places) oldestStranger() *place {
	for p.strangers.Len() > 0 {
		oldest := p.strangers.Front().Value.(*place)
		if p.contacts.at(oldest.who) == 0 {
			return oldest
		}
		p.strangers.Remove(oldest.element)
		oldest.element = nil
		p.counts[placeStranger]--
		oldest.kind = placeContact
		p.counts[placeContact]++
	}
	return nil
}

// identify notes whose node a place belongs to, once that is known.
func (p *places) identify(l *place, who identity.NodeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.who = who
}

// leave frees a place. Further calls do nothing, nor does a nil place.
func (p *places) leave(l *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l != nil {
		p.leaveLocked(l)
	}
}

func (p *places) leaveLocked(l *place) {
	if l.left {
		return
	}
	l.left = true
	p.counts[l.kind]--
	if l.kind != placeDialled && !l.uncounted {
		if p.accepted[l.key]--; p.accepted[l.key] <= 0 {
			delete(p.accepted, l.key)
		}
	}
	if l.element != nil {
		p.strangers.Remove(l.element)
		l.element = nil
	}
}

// evictAll ends evicted streams. No lock may be held.
func evictAll(evicted []*place) {
	for _, l := range evicted {
		l.evict()
	}
}
