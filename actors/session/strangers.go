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
	// contacts, and half of Options.MaxSessions does: of the rest a half each is left
	// to contacts and to our own dials.
	maxStrangerSessions = 128
	// strangerTime is how long such a session lives. Asking to be a contact takes
	// seconds; an answer that comes later is owed and dialled.
	strangerTime = time.Minute
	// askedTime is how long it lives on after its request was stored, for accounts that
	// answer by themselves.
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

// strangerStanding keeps the session's place among strangers and its time limit in
// line with what the peer may do. It is called whenever that may have changed.
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

// onRequestStored: the request is with our user, there is nothing more to wait for.
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
