// SPDX-License-Identifier: MPL-2.0

package session

import (
	"fmt"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/peer"
)

// What a session says of contact requests and profiles at its contact's word.

func (s *session) onRespond(c *kernel.Context, msg Respond) {
	s.send(c, peer.ContactResponse{Accepted: msg.Accepted})
	if msg.Owed {
		c.Tell(c.Parent(), Responded{Accepted: msg.Accepted})
	}
}

// onAsk sends a contact request. Nothing acknowledges it, so a ping goes with it:
// the peer reads in order, and has the request when it answers the ping.
func (s *session) onAsk(c *kernel.Context, msg Ask) {
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	if !s.generation().hasRequests() {
		// That we are here makes us a contact.
		c.Tell(c.Parent(), RequestDelivered{})
		c.Tell(c.Parent(), Answered{Accepted: true})
		return
	}
	s.send(c, peer.ContactRequest{Message: msg.Text, Profile: profileOf(account)})
	s.ping(c)
	s.askedAt = s.pings
}

func (s *session) onPong(c *kernel.Context) {
	s.pongs++
	if s.askedAt != 0 && s.pongs >= s.askedAt {
		s.askedAt = 0
		c.Tell(c.Parent(), RequestDelivered{})
	}
}

// onTellProfile sends our profile unasked, as it has changed. Apps take it like
// the answer to a question.
func (s *session) onTellProfile(c *kernel.Context) {
	if !s.live || !s.allowed {
		return
	}
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	s.send(c, peer.InfoResponse{Time: profileSeconds(account.ProfileTime), Profile: profileOf(account)})
}
