// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// SuspicionKind says what an attacker seems to try.
type SuspicionKind string

const (
	// SuspicionRelay is a relayed handshake: the challenge is sealed for another
	// connection, so the peer stands between two others.
	SuspicionRelay SuspicionKind = "handshake_relayed"
	// SuspicionDevice is a node that authenticated as a contact and was refused, see
	// deviceHold.
	SuspicionDevice SuspicionKind = "device_refused"
)

const (
	// suspicionMemory is how long a suspicion is shown after it was seen last, and
	// suspicionRepeat the pause after which it raises an alarm again.
	suspicionMemory = 24 * time.Hour
	suspicionRepeat = time.Hour
	// maxSuspicions bounds what is remembered; the one unseen longest is evicted.
	maxSuspicions = 64
	// maxStrangerNews bounds the alarms about strangers within suspicionRepeat: a
	// stranger can cause any number of suspicions.
	maxStrangerNews = 4
)

// Suspicion is an attempt to act as another identity.
type Suspicion struct {
	Kind SuspicionKind
	// Account is ours, Remote the identity that the other side claimed or proved.
	Account, Remote identity.PublicKey
	Node            identity.NodeKey
	// Since is when it was first seen, Last when it was seen last.
	Since, Last time.Time
	// Count is how often it was seen.
	Count uint64
}

// suspicions remembers them for the status, and decides which raise an alarm. It is
// safe for concurrent use.
type suspicions struct {
	mu   sync.Mutex
	seen []Suspicion
	// total counts what was ever noted.
	total uint64
	// strangerNews counts the alarms about strangers since strangersSince.
	strangerNews   int
	strangersSince time.Time
}

// note counts a suspicion and reports whether it raises an alarm: it is the first of its
// kind with that account and node for suspicionRepeat. Those about strangers have a
// budget; beyond it they are counted in the total only.
func (s *suspicions) note(kind SuspicionKind, p store.Conversation, node identity.NodeKey, stranger bool, now time.Time) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	if stranger && now.Sub(s.strangersSince) >= suspicionRepeat {
		s.strangerNews, s.strangersSince = 0, now
	}
	if stranger {
		defer func() {
			if news {
				s.strangerNews++
			}
		}()
	}
	exhausted := stranger && s.strangerNews >= maxStrangerNews
	i := slices.IndexFunc(s.seen, func(o Suspicion) bool {
		return o.Kind == kind && o.Account == p.Account && o.Remote == p.Contact() && o.Node == node
	})
	if i < 0 && exhausted {
		return false
	}
	if i < 0 {
		if len(s.seen) >= maxSuspicions {
			slices.SortFunc(s.seen, func(a, b Suspicion) int { return a.Last.Compare(b.Last) })
			s.seen = slices.Delete(s.seen, 0, 1)
		}
		s.seen = append(s.seen, Suspicion{Kind: kind, Account: p.Account, Remote: p.Contact(), Node: node, Since: now, Last: now, Count: 1})
		return true
	}
	o := &s.seen[i]
	news = now.Sub(o.Last) >= suspicionRepeat && !exhausted
	o.Last = now
	o.Count++
	return news
}

// current returns the suspicions of the last day, and the number of all.
func (s *suspicions) current(now time.Time) ([]Suspicion, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Suspicion
	for _, o := range s.seen {
		if now.Sub(o.Last) <= suspicionMemory {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b Suspicion) int {
		return cmp.Or(a.Since.Compare(b.Since), slices.Compare(a.Node[:], b.Node[:]))
	})
	return all, s.total
}
