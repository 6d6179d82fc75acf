// SPDX-License-Identifier: MPL-2.0

package phone

import "time"

// handle does what a frame asks for. Without permission the contact may only ask to
// be one.
func (s *Session) handle(f Frame) error {
	allowed := s.r.mayWrite(s.contact)
	s.r.note(s.contact.key, func(p *Page) {
		p.Counts[f.Type]++
		switch f.Type {
		case TypePing, TypePong, TypeMessage, TypeOK:
		default:
			p.Frames = append(p.Frames, f)
		}
	})
	switch f.Type {
	case TypePing:
		if !s.r.quirks.Load().NoPong {
			return s.Send(Frame{Type: TypePong})
		}
	case TypePong:
		s.mu.Lock()
		s.waiting = false
		s.pongs++
		s.ponged = time.Now()
		s.mu.Unlock()
		s.r.stir()
	case TypeOK:
		s.onOK(GUID(f.Int("id")))
	case TypeMessage:
		m, err := messageOf(f)
		if err != nil {
			return err
		}
		if allowed {
			s.deliver(m)
		}
	case TypeInfoRequest:
		if allowed && s.r.opts.ProfileTime > f.Int("since") {
			return s.Send(s.r.profile())
		}
	case TypeInfoResponse:
		if allowed {
			s.r.mu.Lock()
			s.contact.asked = f.Int("time")
			s.r.mu.Unlock()
		}
	case TypeContactRequest:
		s.r.mu.Lock()
		accepted := s.contact.accepted
		s.r.mu.Unlock()
		if accepted {
			return s.Send(Frame{Type: TypeContactResponse, Fields: Fields{"accepted": true}})
		}
	case TypeContactResponse:
		if f.Int("accepted") != 0 {
			s.r.AddContact(s.contact.key)
		}
	case TypeCallOffer:
		if allowed { // the owner has no time
			return s.Send(Frame{Type: TypeCallAnswer})
		}
	}
	return nil
}

// deliver takes a message and acknowledges it.
func (s *Session) deliver(m Message) {
	s.r.note(s.contact.key, func(p *Page) { p.Received = append(p.Received, m) })
	if s.r.quirks.Load().OKDelay == 0 {
		s.acknowledge(m.GUID)
		return
	}
	s.r.spawn(func() {
		if s.pause(s.r.quirks.Load().OKDelay) {
			s.acknowledge(m.GUID)
		}
	})
}

func (s *Session) acknowledge(guid GUID) {
	q := s.r.quirks.Load()
	var frames []Frame
	ok := func(id GUID) { frames = append(frames, Frame{Type: TypeOK, Fields: Fields{"id": id}}) }
	if q.OKZero {
		ok(0)
	}
	if q.OKUnknown {
		ok(guid ^ 0x5555)
	}
	if !q.NoOK {
		ok(guid)
		if q.OKTwice {
			ok(guid)
		}
	}
	if s.Send(frames...) == nil && !q.NoOK {
		s.r.note(s.contact.key, func(p *Page) { p.Acknowledged = append(p.Acknowledged, guid) })
	}
}

// onOK is an acknowledgment of one of our messages.
func (s *Session) onOK(guid GUID) {
	var acknowledged *Message
	s.r.mu.Lock()
	for i, m := range s.contact.outbox {
		if m.GUID == guid && guid != 0 {
			acknowledged = &m.Message
			s.contact.outbox = append(s.contact.outbox[:i:i], s.contact.outbox[i+1:]...)
			break
		}
	}
	s.r.mu.Unlock()
	s.r.note(s.contact.key, func(p *Page) { p.Told = append(p.Told, guid) })
	if acknowledged != nil && s.r.quirks.Load().DuplicateLater {
		_ = s.sendOnce(*acknowledged) // the reader sees the failure
	}
}

// readData handles what comes on a data stream of the contact until it ends, also
// beyond the session's end.
func (s *Session) readData(l *Line) {
	defer l.Close()
	if err := l.limit(0); err != nil {
		return
	}
	for {
		f, err := readData(l.in)
		if err != nil {
			return
		}
		m, err := messageOf(f)
		if err != nil {
			return
		}
		if m.Type == FileResponse {
			s.r.note(s.contact.key, func(p *Page) { p.Files = append(p.Files, m) })
			continue
		}
		if !s.r.mayWrite(s.contact) {
			continue
		}
		if live := s.r.Session(s.contact.key); live != nil {
			live.deliver(m)
		}
	}
}
