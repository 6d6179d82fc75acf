// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// quickPlaces bounds how many conversations are delivered at the same time, not
	// counting those that are slow.
	quickPlaces = 64
	// slowAfter is after how long a delivery is slow and gives its place to others: its
	// room, or a request that it makes, is slow, and the others may not be.
	slowAfter = time.Second
	// MaxDeliveries bounds all deliveries that run at the same time, slow ones included.
	MaxDeliveries = 256
)

// places decides which conversations are delivered at the same time. Conversations of
// several accounts with the same contact share a ghost, which bridgev2 does not lock.
// While the library only reads it, because its name and picture are set, they run beside
// each other. The accounts that are in one group share its room, and are delivered one after
// the other. It is not safe for concurrent use.
type places struct {
	quick, all int
	running    map[identity.PublicKey]int    // deliveries by contact
	exclusive  map[identity.PublicKey]bool   // contacts with a delivery that may change the ghost
	stable     map[identity.PublicKey]bool   // contacts whose ghost the library only reads
	groups     map[store.ConversationID]bool // groups with a delivery
}

func newPlaces() places {
	return places{
		running: make(map[identity.PublicKey]int), exclusive: make(map[identity.PublicKey]bool), stable: make(map[identity.PublicKey]bool),
		groups: make(map[store.ConversationID]bool),
	}
}

// take gives a place to the delivery of a conversation, if there is one. exclusive says that
// it is the only one for its contact.
func (p *places) take(conversation store.ConversationID) (exclusive, ok bool) {
	contact := conversation.Contact()
	if p.groups[conversation] {
		return false, false
	}
	exclusive = !p.stable[contact] && !contact.IsZero() // events of an account have no ghost
	if p.quick >= quickPlaces || p.all >= MaxDeliveries || p.exclusive[contact] || exclusive && p.running[contact] > 0 {
		return false, false
	}
	p.quick++
	p.all++
	p.running[contact]++
	if exclusive {
		p.exclusive[contact] = true
	}
	if conversation.Kind() == store.KindGroup {
		p.groups[conversation] = true
	}
	return exclusive, true
}

// slow lets a delivery go on without its place.
func (p *places) slow() { p.quick-- }

// leave ends a delivery, and notes whether the ghost of its contact is stable.
func (p *places) leave(conversation store.ConversationID, slow, stable bool) {
	contact := conversation.Contact()
	delete(p.groups, conversation)
	if !slow {
		p.quick--
	}
	p.all--
	if p.running[contact]--; p.running[contact] == 0 {
		delete(p.running, contact)
	}
	delete(p.exclusive, contact)
	if stable {
		p.stable[contact] = true
	} else {
		delete(p.stable, contact)
	}
}

// roomTurns lets a few conversations at a time create their rooms, the others in the
// order in which they came. A conversation that waits for its turn has no place, so it
// delays no conversation that has a room. A turn lasts until the end of the delivery that
// took it, or that it was given for. The zero value is ready for use, by many goroutines.
type roomTurns struct {
	mu      sync.Mutex
	taken   map[store.Conversation]bool
	waiting []store.Conversation
}

// take reports whether it is the conversation's turn. Otherwise a later release returns
// the conversation.
func (t *roomTurns) take(c store.Conversation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.taken[c]:
		return true
	case len(t.taken) < homeserver.RoomsAtOnce:
		t.give(c)
		return true
	case !slices.Contains(t.waiting, c):
		t.waiting = append(t.waiting, c)
	}
	return false
}

// release ends the turn of a conversation, if it has one, and returns those whose turn
// begins. They have to be delivered, or released as well.
func (t *roomTurns) release(c store.Conversation) (next []store.Conversation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, c)
	for len(t.waiting) > 0 && len(t.taken) < homeserver.RoomsAtOnce {
		t.give(t.waiting[0])
		next = append(next, t.waiting[0])
		t.waiting = t.waiting[1:]
	}
	return next
}

// forget is release for a conversation that is not delivered any more.
func (t *roomTurns) forget(c store.Conversation) (next []store.Conversation) {
	t.mu.Lock()
	t.waiting = slices.DeleteFunc(t.waiting, func(w store.Conversation) bool { return w == c })
	t.mu.Unlock()
	return t.release(c)
}

// give is called under mu.
func (t *roomTurns) give(c store.Conversation) {
	if t.taken == nil {
		t.taken = make(map[store.Conversation]bool)
	}
	t.taken[c] = true
}
