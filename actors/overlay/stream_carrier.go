// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

const (
	// maxStrays is how many packets without a stream wait to be handled.
	maxStrays = 256
	// lookupPause is the time between two requests for the path to a node that
	// is being dialled. The network takes no more than one a second.
	lookupPause = time.Second
	// arrivingMemory bounds the packets that wait to be handled by their streams.
	arrivingMemory = 16 << 20
)

// streamCarrier is ygg_stream v0.2 over a packet layer.
//
// The reader calls receive, which finds the stream and queues the packet there.
// The scheduler's goroutines and the users' own calls do everything else, under
// the lock of one stream. Locks are taken in the order stream, carrier, peer
// table; writes to the layer happen under none of them.
type streamCarrier struct {
	layer PacketLayer
	peers *peerTable
	// contacts tells contacts from strangers, places has the place of every stream.
	contacts *contactIndex
	places   *places
	limits   Limits
	logger   *slog.Logger
	start    time.Time

	scheduler *scheduler
	burst     burst
	// memory is what streams hold for their readers, arriving what waits for them.
	memory   *receiveMemory
	arriving memory

	mu        sync.Mutex
	closed    bool
	streams   map[streamKey]*streamConn
	listeners map[uint16]*streamListener
	datagrams map[uint16]*datagramPort
	halfOpen  halfOpenStreams // in stateSYNReceived
	strays    ring[stray]
	strayTask task
	ports     portChooser
}

// streamKey tells streams of one node apart.
type streamKey struct {
	node          identity.NodeKey
	local, remote uint16
}

// stray is a packet that belongs to no stream.
type stray struct {
	from   identity.NodeKey
	header stream.Header
	// bare says that it had no payload.
	bare bool
}

func newStreamCarrier(layer PacketLayer, peers *peerTable, places *places, memory *receiveMemory, limits Limits, logger *slog.Logger, start time.Time) *streamCarrier {
	s := &streamCarrier{
		layer:     layer,
		peers:     peers,
		contacts:  places.contacts,
		places:    places,
		memory:    memory,
		limits:    limits,
		logger:    logger,
		start:     start,
		scheduler: newScheduler(max(2, runtime.GOMAXPROCS(0))),
		streams:   make(map[streamKey]*streamConn),
		listeners: make(map[uint16]*streamListener),
		datagrams: make(map[uint16]*datagramPort),
	}
	s.halfOpen = halfOpenStreams{contacts: places.contacts, limit: limits.HalfOpen}
	s.burst.start = start
	s.arriving.limit = arrivingMemory
	s.strayTask.run = s.handleStrays
	s.ports = newPortChooser(uint16(rand.N(uint32(ephemeralPorts))))
	return s
}

func (s *streamCarrier) now() time.Duration { return time.Since(s.start) }

func (s *streamCarrier) Key() identity.NodeKey { return s.layer.Key() }

func (s *streamCarrier) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Dial implements Carrier.
func (s *streamCarrier) Dial(ctx context.Context, to identity.NodeKey, port uint16) (Conn, error) {
	c, err := s.dial(ctx, to, port)
	if err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", to.Short(), port, err)
	}
	return c, nil
}

func (s *streamCarrier) dial(ctx context.Context, to identity.NodeKey, port uint16) (*streamConn, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case port == 0 || port > stream.MaxServicePort:
		return nil, ErrBadPort
	case to == s.Key():
		return nil, ErrRefused
	}
	p := s.peers.pin(to)
	if remaining := p.silent(s.now()); remaining > 0 {
		s.peers.unpin(p)
		return nil, &SilencedError{Remaining: remaining}
	}
	c, evicted, err := s.addDialled(p, port)
	evictAll(evicted)
	if err != nil {
		s.peers.unpin(p)
		return nil, err
	}
	began := s.now()
	c.begin()
	if err := s.awaitOpen(ctx, c); err != nil {
		if c.attempts() > 1 && time.Duration(p.heard.Load()) < began && s.layer.HasPath(to) {
			// A packet without a path never reached the node and cannot harm it.
			s.peers.failed(p)
		}
		c.abandon(err)
		return nil, err
	}
	return c, nil
}

// awaitOpen waits for the answer to a SYN. Meanwhile it asks for the path: on
// a network that has just come up the first requests find nobody, and the SYN
// that waits below leaves as soon as one of them does.
func (s *streamCarrier) awaitOpen(ctx context.Context, c *streamConn) error {
	lookup := time.NewTicker(lookupPause)
	defer lookup.Stop()
	for {
		select {
		case <-c.opened:
			return c.openError()
		case <-ctx.Done():
			return ctx.Err()
		case <-lookup.C:
			s.layer.Lookup(c.key.node)
		}
	}
}

// addDialled makes a stream that dials. It takes over the caller's pin on p, and
// returns what was evicted for it.
func (s *streamCarrier) addDialled(p *peer, port uint16) (*streamConn, []*place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	local, ok := s.ports.choose(p.key, port, func(local uint16) bool {
		return s.streams[streamKey{p.key, local, port}] != nil
	})
	if !ok {
		return nil, nil, ErrTooMany
	}
	key := streamKey{p.key, local, port}
	c := newStreamConn(s, key, p, newDialer(local, port, s.memoryOf(p), s.now()))
	var evicted []*place
	var err error
	if c.place, evicted, err = s.places.dial(p.key, c.evict); err != nil {
		return nil, evicted, err
	}
	c.opened = make(chan struct{})
	s.streams[key] = c
	return c, evicted, nil
}

// memoryOf is the part of a new stream in the receive memory.
func (s *streamCarrier) memoryOf(p *peer) *streamMemory {
	return newStreamMemory(s.memory, &p.early, func() bool { return s.contacts.stranger(p.key) })
}

// receive takes a packet from the reader: it must not block, see Stack.
func (s *streamCarrier) receive(from identity.NodeKey, packet []byte) {
	p, err := stream.Parse(packet)
	if err != nil {
		return
	}
	s.mu.Lock()
	if p.Flags.Has(stream.Datagram) {
		port := s.datagrams[p.DestinationPort]
		s.mu.Unlock()
		if port != nil {
			port.arrive(from, p.Payload)
		}
		return
	}
	c := s.streams[streamKey{from, p.DestinationPort, p.SourcePort}]
	if c == nil {
		s.addStrayLocked(from, p)
	}
	s.mu.Unlock()
	if c != nil {
		c.arrive(p)
	}
}

// addStrayLocked queues a packet without a stream, or drops it when too many wait.
func (s *streamCarrier) addStrayLocked(from identity.NodeKey, p stream.Packet) {
	if p.Flags.Has(stream.RST) || s.strays.len() >= maxStrays || s.closed {
		return
	}
	if s.strays.len() >= s.contacts.strangersOf(maxStrays) && s.contacts.stranger(from) {
		return
	}
	s.strays.push(stray{from: from, header: p.Header, bare: len(p.Payload) == 0})
	s.scheduler.schedule(&s.strayTask)
}

// forget removes a stream from all tables. Its packets are strays from now on.
func (s *streamCarrier) forget(c *streamConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(c)
}

func (s *streamCarrier) forgetLocked(c *streamConn) {
	if s.streams[c.key] != c {
		return
	}
	delete(s.streams, c.key)
	s.places.leave(c.place)
	s.halfOpen.remove(c)
	if c.listener != nil {
		c.peer.forgetAccepted(c)
	}
	s.peers.unpin(c.peer)
}

// shutdown ends all streams and ports. It sends RSTs when the layer still
// works.
func (s *streamCarrier) shutdown(reset bool) {
	s.mu.Lock()
	s.closed = true
	streams := make([]*streamConn, 0, len(s.streams))
	for _, c := range s.streams {
		streams = append(streams, c)
	}
	listeners := make([]*streamListener, 0, len(s.listeners))
	for _, l := range s.listeners {
		listeners = append(listeners, l)
	}
	datagrams := make([]*datagramPort, 0, len(s.datagrams))
	for _, d := range s.datagrams {
		datagrams = append(datagrams, d)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // never fails
	}
	for _, d := range datagrams {
		_ = d.Close() // never fails
	}
	for _, c := range streams {
		c.shutdown(reset)
	}
}

// wait ends the carrier's goroutines. The layer is closed by now.
func (s *streamCarrier) wait() {
	s.burst.stop()
	s.scheduler.stop()
}
