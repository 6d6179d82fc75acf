// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

// Listen implements Carrier.
func (s *streamCarrier) Listen(port uint16) (Listener, error) {
	if port == 0 || port > stream.MaxServicePort {
		return nil, fmt.Errorf("listen on port %d: %w", port, ErrBadPort)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.listeners[port] != nil:
		return nil, fmt.Errorf("listen on port %d: %w", port, ErrPortTaken)
	}
	l := &streamListener{
		carrier: s, port: port,
		queue:  make(chan *streamConn, s.limits.Backlog),
		closed: make(chan struct{}),
	}
	s.listeners[port] = l
	return l, nil
}

// streamListener queues streams for Accept.
type streamListener struct {
	carrier *streamCarrier
	port    uint16

	queue  chan *streamConn
	closed chan struct{}

	mu sync.Mutex
	// waiting counts streams in queue and places reserved there.
	waiting int
	ended   bool
}

func (l *streamListener) Port() uint16 { return l.port }

// Accept implements Listener.
func (l *streamListener) Accept(ctx context.Context) (Conn, error) {
	for {
		select {
		case <-l.closed:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		case c := <-l.queue:
			l.release()
			if !c.dead() {
				return c, nil
			}
		}
	}
}

// reserve takes a place in the queue, or reports that there is none. Strangers leave
// a quarter to contacts.
func (l *streamListener) reserve(stranger bool) bool {
	limit := cap(l.queue)
	if stranger {
		limit = l.carrier.contacts.strangersOf(limit)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.waiting >= limit {
		return false
	}
	l.waiting++
	return true
}

func (l *streamListener) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// deliver queues a stream in a reserved place, unless the listener is closed.
func (l *streamListener) deliver(c *streamConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.queue <- c // does not block: the place is reserved
	return true
}

func (l *streamListener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// Close implements Listener.
func (l *streamListener) Close() error {
	l.mu.Lock()
	first := !l.ended
	l.ended = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	close(l.closed)
	s := l.carrier
	s.mu.Lock()
	delete(s.listeners, l.port)
	s.mu.Unlock()
	for {
		select {
		case c := <-l.queue:
			_ = c.Abort() // never fails
		default:
			return nil
		}
	}
}

// handleStrays handles packets that belong to no stream.
func (s *streamCarrier) handleStrays() {
	for {
		s.mu.Lock()
		if s.strays.len() == 0 {
			s.strays.trim()
			s.mu.Unlock()
			return
		}
		packet := s.strays.pop()
		c := s.streams[streamKey{packet.from, packet.header.DestinationPort, packet.header.SourcePort}]
		s.mu.Unlock()
		switch {
		case c != nil:
			// The packet before this one opened a stream.
			if packet.bare {
				c.arrive(stream.Packet{Header: packet.header})
			}
		case packet.header.Flags&(stream.SYN|stream.ACK) == stream.SYN:
			s.answerSYN(packet.from, packet.header)
		default:
			s.refuse(packet.from, packet.header)
		}
	}
}

// refuse answers a packet with an RST, unless there were too many.
func (s *streamCarrier) refuse(to identity.NodeKey, h stream.Header) {
	if !s.peers.mayReset(to) {
		return
	}
	packet := stream.ControlHeader(h.DestinationPort, h.SourcePort, stream.RST).AppendTo(nil)
	// An error means that the layer is closed, which its reader sees as well.
	_ = s.layer.WritePacket(packet, to)
}

// answerSYN makes a stream of a SYN, refuses it, or ignores it when a limit is
// reached: the dialler repeats it.
func (s *streamCarrier) answerSYN(from identity.NodeKey, h stream.Header) {
	p := s.peers.pin(from)
	c, displaced, evicted, refused := s.addAccepted(p, h)
	if c == nil {
		s.peers.unpin(p)
	}
	evictAll(evicted)
	for _, d := range displaced {
		d.expel()
	}
	switch {
	case refused:
		s.refuse(from, h)
	case c != nil:
		c.begin()
	}
}

// addAccepted makes a stream of a SYN. It takes over the caller's pin on p when
// it returns one, and returns the streams that end for it: displaced ones,
// which the carrier has forgotten, and evicted ones.
func (s *streamCarrier) addAccepted(p *peer, h stream.Header) (c *streamConn, displaced []*streamConn, evicted []*place, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[h.DestinationPort]
	switch {
	case l == nil:
		return nil, nil, nil, true
	case s.closed:
		return nil, nil, nil, false
	}
	if s.places.full(p.key) {
		i := slices.IndexFunc(p.accepted, func(c *streamConn) bool { return c.lingering.Load() })
		if i < 0 {
			s.logger.Debug("ignoring a stream, its node has too many", "node", p.key.Short())
			return nil, nil, nil, false
		}
		displaced = append(displaced, s.displace(p.accepted[i]))
	}
	key := streamKey{p.key, h.DestinationPort, h.SourcePort}
	c = newStreamConn(s, key, p, newAcceptor(h, s.memoryOf(p), s.now()))
	var err error
	if c.place, evicted, err = s.places.accept(p.key, c.evict); err != nil {
		return nil, displaced, evicted, false
	}
	c.listener = l
	s.streams[key] = c
	p.accepted = append(p.accepted, c)
	if oldest := s.halfOpen.add(c); oldest != nil {
		displaced = append(displaced, s.displace(oldest))
	}
	return c, displaced, evicted, false
}

func (s *streamCarrier) displace(c *streamConn) *streamConn {
	s.forgetLocked(c)
	return c
}

func (p *peer) forgetAccepted(c *streamConn) {
	if i := slices.Index(p.accepted, c); i >= 0 {
		p.accepted = slices.Delete(p.accepted, i, i+1)
	}
}
