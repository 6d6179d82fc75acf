// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net/netip"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// Status is what an operator wants to see of the network.
type Status struct {
	// Key is the node's public key.
	Key identity.NodeKey
	// IPv6 is the address that other Yggdrasil software shows for the key.
	IPv6 netip.Addr
	// Listening are the addresses on which other Yggdrasil nodes can connect.
	Listening []string
	// ListenErrors are the listeners of the configuration that could not be
	// opened, by URI, with the reason.
	ListenErrors map[string]error
	// Peers are all links: configured, accepted and discovered, sorted by URI.
	Peers []PeerStatus
	// Spares are peers of the configuration that are not connected because others are
	// better, or because they failed lately; see Options.Connected.
	Spares []string
	// Streams is the number of open streams.
	Streams int
}

// Links is how many other Yggdrasil nodes are connected.
func (s Status) Links() int {
	up := 0
	for _, p := range s.Peers {
		if p.Up {
			up++
		}
	}
	return up
}

// PeerStatus is one link to another Yggdrasil node.
type PeerStatus struct {
	// URI of the link, without its options.
	URI string
	// Interface of an entry of InterfacePeers that cannot be used.
	Interface string
	// Up says that the link works now.
	Up bool
	// Inbound says that the other side connected to us.
	Inbound bool
	// Key of the node at the other end; zero while the link is down.
	Key identity.NodeKey
	// Latency of the link.
	Latency time.Duration
	// Cost by which Yggdrasil ranks links, lower is better.
	Cost uint64
	// RX and TX count bytes received and sent since the link is up.
	RX, TX uint64
	// Uptime of the link.
	Uptime time.Duration
	// LastError is why the link is down or why the entry cannot be used.
	LastError error
}
