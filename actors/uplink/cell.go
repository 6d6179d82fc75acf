// SPDX-License-Identifier: MPL-2.0

package uplink

import (
	"errors"
	"sync/atomic"

	"github.com/mimird/mimird/actors/overlay"
)

// ErrOffline says that the overlay is not running at the moment.
var ErrOffline = errors.New("the overlay network is not running")

// Network is the overlay as a node uses it: *overlay.Network, or its in-memory twin in
// tests. A Network may have these methods too, which the package uses when they are
// there:
//
//	CarrierOf(kind overlay.Kind) (overlay.Carrier, bool)
//	Changes() uint64
//	KnowContacts(pairs func(identity.NodeKey) int)
type Network interface {
	// Stream is the carrier of gen3.
	Stream() overlay.Carrier
	// Links counts the links that are up. It does not block.
	Links() int
	// Status asks the network and may block.
	Status() overlay.Status
	// Failed is closed when the network has failed; Err says why.
	Failed() <-chan struct{}
	Err() error
	// Close ends every connection and blocks until all is released.
	Close() error
}

// Cell holds the network that runs at this moment. The actor that opened the
// network sets it; the others ask for a carrier each time they need one. Its zero value
// has no network. It is safe for concurrent use.
type Cell struct {
	current atomic.Pointer[handle]
	// up says that there are links to the network.
	up atomic.Bool
}

type handle struct{ Network }

// Set makes a network the current one. Only its owner calls it.
func (n *Cell) Set(net Network) { n.current.Store(&handle{net}) }

// Clear removes the network, when it is about to be closed. Only its owner calls it.
func (n *Cell) Clear() {
	n.up.Store(false)
	n.current.Store(nil)
}

// Carrier returns the carrier of a kind; false while the overlay is not running, or
// when the carrier is off.
func (n *Cell) Carrier(kind overlay.Kind) (overlay.Carrier, bool) {
	h := n.current.Load()
	if h == nil {
		return nil, false
	}
	if kind == overlay.KindStream {
		return h.Stream(), true
	}
	if net, ok := h.Network.(interface {
		CarrierOf(kind overlay.Kind) (overlay.Carrier, bool)
	}); ok {
		return net.CarrierOf(kind)
	}
	return nil, false
}

// TCP returns the TCP carrier with the methods that only it has; false as for Carrier.
func (n *Cell) TCP() (overlay.AddressCarrier, bool) {
	c, ok := n.Carrier(overlay.KindTCP)
	if !ok {
		return nil, false
	}
	tcp, ok := c.(overlay.AddressCarrier)
	return tcp, ok
}

// Up reports whether links to the network have been up for long enough to use them.
func (n *Cell) Up() bool { return n.up.Load() }

// Status asks the network and may block; false while the overlay is not running.
func (n *Cell) Status() (overlay.Status, bool) {
	if h := n.current.Load(); h != nil {
		return h.Status(), true
	}
	return overlay.Status{}, false
}
