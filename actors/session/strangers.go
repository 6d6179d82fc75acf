// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/lru"
)

const (
	// maxStrangerSessions bounds the sessions with identities that are not accepted
	// contacts, as does half of Options.MaxSessions.
	maxStrangerSessions = 128
	// strangerTime is how long such a session lives. A contact request takes seconds; a
	// later answer is owed, and the stranger is dialled for it.
	strangerTime = time.Minute
	// askedTime is how long it lives after its request was stored, for accounts that
	// answer automatically.
	askedTime = 10 * time.Second
)

// endStranger ends a session whose peer is still a stranger: there are too many.
type endStranger struct{}

// strangerSessions are the sessions with strangers, from the moment when the
// stranger has proved its identity. When there are too many the oldest ends. It is
// safe for concurrent use.
type strangerSessions struct {
	mu       sync.Mutex
	sessions *lru.Table[kernel.Ref, kernel.Ref]
}

func newStrangerSessions(maxSessions int) *strangerSessions {
	return &strangerSessions{sessions: lru.New[kernel.Ref, kernel.Ref](max(1, min(maxStrangerSessions, maxSessions/2)))}
}

// enter adds a session and returns the one that has to end for it, zero for none.
func (s *strangerSessions) enter(session kernel.Ref) (evicted kernel.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions.Peek(session); !ok {
		evicted, _ = s.sessions.Put(session, session)
	}
	return evicted
}

// leave removes a session that has ended, or whose peer has become a contact.
func (s *strangerSessions) leave(session kernel.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.Delete(session)
}

func (s *strangerSessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions.Len()
}

// strangerStanding updates the session's entry among strangers and its time limit. It is
// called whenever s.allowed may have changed.
func (s *session) strangerStanding(c *kernel.Context) {
	if s.allowed {
		s.strangerUntil = time.Time{}
		s.deps.Table.strangers.leave(c.Self())
		return
	}
	if s.strangerUntil.IsZero() {
		s.strangerUntil = time.Now().Add(strangerTime)
	}
	if evicted := s.deps.Table.strangers.enter(c.Self()); !evicted.IsZero() {
		c.Tell(evicted, endStranger{})
	}
}

// onRequestStored shortens the time of a stranger whose request was stored.
func (s *session) onRequestStored(c *kernel.Context) {
	if soon := time.Now().Add(askedTime); !s.allowed && soon.Before(s.strangerUntil) {
		s.strangerUntil = soon
		s.schedule(c)
	}
}

func (s *session) onEndStranger(c *kernel.Context) {
	if !s.allowed {
		s.end(c, errTooManyStrangers)
	}
}
