// SPDX-License-Identifier: MPL-2.0

package group

import (
	"slices"
	"sync"

	"github.com/mimird/mimird/actors/kernel"
)

// maxLarge is how many large answers of one mediator are under way at the same time, from
// the question until the store has what they say.
const maxLarge = 3

// turns limits the large answers of a mediator. Groups get their turn in the order in
// which they asked for it.
type turns struct {
	mu      sync.Mutex
	holders []kernel.Ref
	waiting []kernel.Ref
}

// turnCame tells a group that it has its turn.
type turnCame struct{ turns *turns }

// take gives a group its turn and reports whether it has it; else turnCame follows. It may
// be called again meanwhile.
func (t *turns) take(group kernel.Ref) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case slices.Contains(t.holders, group):
		return true
	case len(t.holders) < maxLarge:
		t.holders = append(t.holders, group)
		return true
	case !slices.Contains(t.waiting, group):
		t.waiting = append(t.waiting, group)
	}
	return false
}

// leave ends the turn of a group, if it has one. A group that waits for one goes on
// waiting: it may have more to ask when its turn comes.
func (t *turns) leave(group kernel.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(group)
}

// remove ends the turn of a group, or its waiting for one.
func (t *turns) remove(group kernel.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(r kernel.Ref) bool { return r == group })
	t.end(group)
}

// end ends the turn of a group and tells those who have one now. The caller holds mu.
func (t *turns) end(group kernel.Ref) {
	t.holders = slices.DeleteFunc(t.holders, func(r kernel.Ref) bool { return r == group })
	for len(t.holders) < maxLarge && len(t.waiting) > 0 {
		next := t.waiting[0]
		t.waiting = t.waiting[1:]
		t.holders = append(t.holders, next)
		next.Tell(turnCame{t})
	}
}
