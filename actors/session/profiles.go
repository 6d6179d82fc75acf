// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// profilePause is the shortest time between two changes of a contact's profile: each
	// is an event that is never deleted, and its avatar is uploaded to the homeserver.
	profilePause = time.Minute
	// maxProfileTimes bounds the contacts whose times are remembered.
	maxProfileTimes = 4096
)

// profileLimiter has the times at which the profiles of contacts were stored. It is safe
// for concurrent use.
type profileLimiter struct {
	mu   sync.Mutex
	last *lru.Table[store.Conversation, time.Time]
}

func newProfileLimiter() *profileLimiter {
	return &profileLimiter{last: lru.New[store.Conversation, time.Time](maxProfileTimes)}
}

// take returns 0 when a profile may be stored now, and notes that, otherwise how long it
// has to wait.
func (l *profileLimiter) take(p store.Conversation, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last.Peek(p); ok {
		if wait := last.Add(profilePause).Sub(now); wait > 0 {
			return wait
		}
	}
	l.last.Put(p, now)
	return 0
}

// heldProfile is the newest profile of a contact, which waits. If the session ends
// before, the next one requests it again.
type heldProfile struct {
	profile peer.InfoResponse
	credit  Credit
}

type profileDue struct{}

// onInfoResponse stores the contact's profile; of several within profilePause the last.
func (s *session) onInfoResponse(c *kernel.Context, f peer.InfoResponse, credit Credit) (later bool) {
	if !s.allowed {
		return false
	}
	if s.held != nil {
		s.held.credit.Release()
		s.held = &heldProfile{f, credit}
		return true
	}
	if wait := s.deps.Table.profiles.take(s.Conversation, time.Now()); wait > 0 {
		s.held = &heldProfile{f, credit}
		c.After(wait, profileDue{})
		return true
	}
	s.storeProfile(c, f, credit)
	return true
}

func (s *session) onProfileDue(c *kernel.Context) {
	held := s.held
	if held == nil {
		return
	}
	if wait := s.deps.Table.profiles.take(s.Conversation, time.Now()); wait > 0 { // another session of the contact was quicker
		c.After(wait, profileDue{})
		return
	}
	s.held = nil
	s.storeProfile(c, held.profile, held.credit)
}

func (s *session) storeProfile(c *kernel.Context, f peer.InfoResponse, credit Credit) {
	s.write(c, store.UpdateContact{
		Account: s.Account, Contact: s.Contact(),
		Fields:   store.FieldNickname | store.FieldInfo | store.FieldAvatar | store.FieldProfileTime,
		Nickname: f.Nickname, Info: f.Info, Avatar: media.UsableAvatar(f.Avatar),
		ProfileTime: profileTime(f.Time, time.Now()),
	}, pendingWrite{credit: credit})
}
