// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"fmt"
	"sync"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

const (
	// maxDatagrams is how many datagrams wait on a port, the reference's.
	maxDatagrams = 64
	// maxDatagramsPerNode is how many of them may be from the same node.
	maxDatagramsPerNode = 16
)

// ListenDatagrams implements Carrier.
func (s *streamCarrier) ListenDatagrams(port uint16) (Datagrams, error) {
	if port == 0 {
		return nil, fmt.Errorf("listen for datagrams on port %d: %w", port, ErrBadPort)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.datagrams[port] != nil:
		return nil, fmt.Errorf("listen for datagrams on port %d: %w", port, ErrPortTaken)
	}
	d := &datagramPort{
		carrier: s, port: port,
		queue:    make(chan datagram, maxDatagrams),
		closed:   make(chan struct{}),
		fromNode: make(map[identity.NodeKey]int),
	}
	s.datagrams[port] = d
	return d, nil
}

// datagramPort queues datagrams for Receive. When the queue is full, or one
// node has filled its share, new ones are dropped.
type datagramPort struct {
	carrier *streamCarrier
	port    uint16
	queue   chan datagram
	closed  chan struct{}

	mu       sync.Mutex
	ended    bool
	fromNode map[identity.NodeKey]int // datagrams in queue
}

type datagram struct {
	from    identity.NodeKey
	payload []byte
}

// arrive takes a datagram from the reader; it does not block.
func (d *datagramPort) arrive(from identity.NodeKey, payload []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fromNode[from] >= maxDatagramsPerNode || len(d.queue) == cap(d.queue) {
		d.carrier.peers.dropped.Add(1)
		return
	}
	d.fromNode[from]++
	// Only this method adds, under the lock, so there is room.
	d.queue <- datagram{from, append([]byte(nil), payload...)}
}

// Receive implements Datagrams.
func (d *datagramPort) Receive(ctx context.Context) (identity.NodeKey, []byte, error) {
	select {
	case <-d.closed:
		return identity.NodeKey{}, nil, ErrClosed
	default:
	}
	select {
	case g := <-d.queue:
		d.taken(g.from)
		return g.from, g.payload, nil
	case <-d.closed:
		return identity.NodeKey{}, nil, ErrClosed
	case <-ctx.Done():
		return identity.NodeKey{}, nil, ctx.Err()
	}
}

func (d *datagramPort) taken(from identity.NodeKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fromNode[from]--
	if d.fromNode[from] == 0 {
		delete(d.fromNode, from)
	}
}

// Send implements Datagrams.
func (d *datagramPort) Send(to identity.NodeKey, port uint16, payload []byte) error {
	if len(payload) > stream.MaxPayload {
		return ErrTooLarge
	}
	select {
	case <-d.closed:
		return ErrClosed
	default:
	}
	if remaining := d.carrier.peers.silent(to); remaining > 0 {
		return &SilencedError{Remaining: remaining}
	}
	buf := getBuffer(stream.HeaderSize + len(payload))
	defer putBuffer(buf)
	packet := append(stream.DatagramHeader(port).AppendTo(buf[:0]), payload...)
	if err := d.carrier.layer.WritePacket(packet, to); err != nil {
		return fmt.Errorf("send datagram: %w", err)
	}
	return nil
}

// Close implements Datagrams.
func (d *datagramPort) Close() error {
	d.mu.Lock()
	first := !d.ended
	d.ended = true
	d.mu.Unlock()
	if first {
		close(d.closed)
		d.carrier.mu.Lock()
		delete(d.carrier.datagrams, d.port)
		d.carrier.mu.Unlock()
	}
	return nil
}
