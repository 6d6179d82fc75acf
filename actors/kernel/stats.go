// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// ActorStats counts for all actors of one kind together. The number of kinds is
// fixed by the program, never by its data.
type ActorStats struct {
	Kind     string
	Live     int    // actors that exist now, those in back-off included
	Spawned  uint64 // since the start of the system
	Failures uint64 // incarnations that failed
	Restarts uint64 // incarnations begun after a failure
	Messages uint64 // handled
	// Dropped are messages that came too late for an actor that had ended, or
	// were still in its mailbox then, and late ones of an older incarnation.
	Dropped uint64
	// Depth is the number of messages waiting now in all mailboxes together.
	Depth int
	// DepthMax is the most that ever waited in a single one.
	DepthMax int
	// Busy is the time spent in turns.
	Busy time.Duration
}

// kindStats is what ActorStats is read from.
type kindStats struct {
	name     string
	live     atomic.Int64
	spawned  atomic.Uint64
	failures atomic.Uint64
	restarts atomic.Uint64
	messages atomic.Uint64
	dropped  atomic.Uint64
	depthMax atomic.Int64
	busy     atomic.Int64
}

func (k *kindStats) reached(depth int) {
	for {
		top := k.depthMax.Load()
		if int64(depth) <= top || k.depthMax.CompareAndSwap(top, int64(depth)) {
			return
		}
	}
}

func (k *kindStats) handled(messages uint64, busy time.Duration) {
	k.messages.Add(messages)
	k.busy.Add(int64(busy))
}

// kind returns the counters of a kind.
func (s *System) kind(name string) (*kindStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.kinds[name]; ok {
		return k, nil
	}
	if len(s.kinds) >= maxKinds {
		return nil, fmt.Errorf("%w: more than %d kinds, the last is %q", errBadSpec, maxKinds, name)
	}
	k := &kindStats{name: name}
	s.kinds[name] = k
	return k, nil
}

// Stats returns one entry per kind that was ever spawned, ordered by name. It
// looks at every live actor, so it is for a scrape, not for a hot path.
func (s *System) Stats() []ActorStats {
	s.mu.Lock()
	root := s.root
	kinds := make([]*kindStats, 0, len(s.kinds))
	for _, k := range s.kinds {
		kinds = append(kinds, k)
	}
	s.mu.Unlock()

	depth := make(map[*kindStats]int, len(kinds))
	if root != nil {
		root.walk(func(c *cell) { depth[c.kind] += c.UserMessageCount() })
	}
	stats := make([]ActorStats, 0, len(kinds))
	for _, k := range kinds {
		stats = append(stats, ActorStats{
			Kind:     k.name,
			Live:     int(k.live.Load()),
			Spawned:  k.spawned.Load(),
			Failures: k.failures.Load(),
			Restarts: k.restarts.Load(),
			Messages: k.messages.Load(),
			Dropped:  k.dropped.Load(),
			Depth:    depth[k],
			DepthMax: int(k.depthMax.Load()),
			Busy:     time.Duration(k.busy.Load()),
		})
	}
	slices.SortFunc(stats, func(a, b ActorStats) int { return cmp.Compare(a.Kind, b.Kind) })
	return stats
}

// zeroRefTells counts messages to the zero Ref and the zero Inbox from outside
// actors, where no system is known.
var zeroRefTells atomic.Uint64

// Lost counts messages that had no actor to go to at all: to the zero Ref, replies
// nobody waits for any more, and nil messages, which are refused. Tells to a zero
// Ref from outside actors are counted for the whole process.
func (s *System) Lost() uint64 { return s.lost.Load() + zeroRefTells.Load() }
