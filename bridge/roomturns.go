// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"slices"
	"sync"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/actors/store"
)

// errAwaitTurn means that a conversation needs a room and others are being made. It
// is delivered when its turn has come.
var errAwaitTurn = errors.New("other rooms are being made")

// roomTurns lets a few conversations at a time have their rooms made, the others in
// the order in which they came. A conversation that waits takes no place of those
// that have a room. A turn lasts until the end of the delivery it was taken in, or
// was given for. The zero value is ready. It is safe for use by many goroutines.
type roomTurns struct {
	mu      sync.Mutex
	taken   map[store.Conversation]bool
	waiting []store.Conversation
}

// take reports whether it is the conversation's turn. Otherwise a later release
// returns it.
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

// release ends the turn of a conversation, if it has one, and returns those whose
// turn begins. They have to be delivered, or released as well.
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
