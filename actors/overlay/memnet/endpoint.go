// SPDX-License-Identifier: MPL-2.0

package memnet

import (
	"net/netip"
	"sync"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// Endpoint is one node's packet connection. It implements overlay.PacketLayer.
type Endpoint struct {
	net *Net
	key identity.NodeKey

	mu      sync.Mutex
	arrived sync.Cond
	queue   []received
	bytes   int
	err     error
	// found is called by Lookup.
	found func(identity.NodeKey)
}

type received struct {
	from    identity.NodeKey
	payload []byte
}

var _ overlay.PacketLayer = (*Endpoint)(nil)

// NewEndpoint adds a node with a random key that nothing runs on.
func (n *Net) NewEndpoint() *Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := &Endpoint{net: n, key: n.newKey()}
	e.arrived.L = &e.mu
	n.nodes[e.key] = e
	return e
}

// restart closes the endpoint and returns a new one with the same key, as a
// node that comes back.
func (e *Endpoint) restart() *Endpoint {
	_ = e.Close() // never fails
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	again := &Endpoint{net: e.net, key: e.key}
	again.arrived.L = &again.mu
	e.net.nodes[e.key] = again
	return again
}

// Key implements overlay.PacketLayer.
func (e *Endpoint) Key() identity.NodeKey { return e.key }

// WritePacket implements overlay.PacketLayer.
func (e *Endpoint) WritePacket(packet []byte, to identity.NodeKey) error {
	e.mu.Lock()
	err := e.err
	e.mu.Unlock()
	if err == nil {
		e.net.send(e.key, to, packet)
	}
	return err
}

// ReadPacket implements overlay.PacketLayer.
func (e *Endpoint) ReadPacket(buf []byte) (int, identity.NodeKey, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) == 0 && e.err == nil {
		e.arrived.Wait()
	}
	if e.err != nil {
		return 0, identity.NodeKey{}, e.err
	}
	first := e.queue[0]
	e.queue = e.queue[1:]
	e.bytes -= len(first.payload)
	return copy(buf, first.payload), first.from, nil
}

// Lookup implements overlay.PacketLayer: the node that is looked for is found at
// once, also when only the part of its key is known that its address shows.
func (e *Endpoint) Lookup(key identity.NodeKey) {
	e.mu.Lock()
	found := e.found
	e.mu.Unlock()
	if found == nil {
		return
	}
	wanted := overlay.AddressOf(key)
	e.net.mu.Lock()
	var match []identity.NodeKey
	for k := range e.net.nodes {
		if a := overlay.AddressOf(k); !e.net.link(path{e.key, k}).Cut && subnet(a) == subnet(wanted) {
			match = append(match, k)
		}
	}
	e.net.mu.Unlock()
	for _, k := range match {
		found(k)
	}
}

// NotifyPaths implements overlay.PacketLayer.
func (e *Endpoint) NotifyPaths(f func(key identity.NodeKey)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.found = f
}

// subnet is the part of an address that lookups go by.
func subnet(a netip.Addr) [8]byte {
	raw := a.As16()
	return [8]byte(raw[:8])
}

// HasPath implements overlay.PacketLayer: there is one to every node that is
// there and not cut off.
func (e *Endpoint) HasPath(key identity.NodeKey) bool {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	return e.net.nodes[key] != nil && !e.net.link(path{e.key, key}).Cut
}

// Close implements overlay.PacketLayer.
func (e *Endpoint) Close() error {
	e.Fail(overlay.ErrClosed)
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	if e.net.nodes[e.key] == e {
		delete(e.net.nodes, e.key)
	}
	return nil
}

// Fail makes all calls fail from now on, as a node that has died.
func (e *Endpoint) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
		e.queue, e.bytes = nil, 0
	}
	e.arrived.Broadcast()
}

// arrive queues a packet; when there are too many the oldest are dropped.
func (e *Endpoint) arrive(from identity.NodeKey, payload []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	e.queue = append(e.queue, received{from, payload})
	e.bytes += len(payload)
	for e.bytes > e.net.opts.Queue {
		e.bytes -= len(e.queue[0].payload)
		e.queue = e.queue[1:]
	}
	e.arrived.Signal()
}
