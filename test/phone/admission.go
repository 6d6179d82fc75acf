// SPDX-License-Identifier: MPL-2.0

package phone

// admit decides whether a handshake of somebody who has proved their identity goes
// on. Of several at most one does, or the apps end all of them.
func (r *running) admit(c *contact) bool {
	if r.quirks.Load().Unarbitrated {
		return true
	}
	r.mu.Lock()
	live, dial := c.live, c.dial
	if c.incoming || dial != nil && dial.final {
		r.mu.Unlock()
		r.note(c.key, func(p *Page) { p.Unanswered++ })
		return false
	}
	c.incoming = true
	if dial != nil {
		dial.stop() // before its final OK, so that it leaves no trace
	}
	r.mu.Unlock()
	if live == nil {
		return true
	}
	// Either a parallel dial, or the other side has lost the session.
	if live.alive(probeTime) {
		r.mu.Lock()
		c.incoming = false
		r.mu.Unlock()
		r.note(c.key, func(p *Page) { p.Unanswered++ })
		return false
	}
	live.line.Abort()
	live.end(errReplaced)
	return true
}

// admitted is the end of a handshake that was admitted, with or without a session.
func (r *running) admitted(c *contact, s *Session) {
	r.mu.Lock()
	c.incoming = false
	r.mu.Unlock()
	if s != nil {
		r.establish(c, s)
	}
}

// establish makes a session the one with its contact.
func (r *running) establish(c *contact, s *Session) {
	r.lists.Lock()
	r.sessions[s] = struct{}{}
	r.forgotten[s.line.Node()] = false
	over := r.over
	r.lists.Unlock()
	r.mu.Lock()
	old := c.live
	c.live = s
	r.mu.Unlock()
	r.note(c.key, func(p *Page) { p.Started++ })
	r.log("session with %v at %v", c.key, s.line.Node().Short())
	if old != nil {
		old.end(errReplaced)
	}
	if over {
		s.end(errStopped)
	}
}

// ended takes a session that has ended out of the table.
func (r *running) ended(s *Session, err error) {
	r.lists.Lock()
	_, established := r.sessions[s]
	delete(r.sessions, s)
	r.forgotten[s.line.Node()] = true
	r.lists.Unlock()
	if !established {
		return
	}
	r.mu.Lock()
	newer := s.contact.live
	if newer == s || r.quirks.Load().ReplaceBug {
		s.contact.live = nil
	}
	r.mu.Unlock()
	r.note(s.contact.key, func(p *Page) { p.Ended++ })
	r.log("session with %v ended: %v", s.contact.key, err)
	if newer != nil && newer != s && r.quirks.Load().ReplaceBug {
		r.spawn(func() {
			sleep(r.ctx, replaceBugTime)
			newer.end(errBug)
		})
	}
}
