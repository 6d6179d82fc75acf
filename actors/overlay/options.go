// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"log/slog"

	"github.com/mimird/mimird/proto/identity"
)

// Options is the configuration of a Network.
type Options struct {
	// Key is the node's private key. Its public half is the node's address.
	Key identity.NodePrivateKey
	// Peers are the URIs of Yggdrasil nodes to stay connected to, for example
	// "tls://192.0.2.1:443?key=...". An entry that cannot be used is logged and
	// shown in Status; it does not stop the node.
	Peers []string
	// Connected is how many of Peers are connected at a time, when there are more:
	// the quick and reliable ones. Zero means all.
	Connected int
	// InterfacePeers are further peers, each reached through one interface.
	InterfacePeers map[string][]string
	// Listen are the URIs on which other Yggdrasil nodes may connect, for example
	// "tcp://127.0.0.1:0". Entries that fail are handled as in Peers.
	Listen []string
	// Multicast finds Yggdrasil nodes on local networks. Empty means off.
	Multicast []MulticastInterface
	// Logger receives what an operator should know; nil discards it.
	Logger *slog.Logger
	// Limits bound what other nodes can make us hold. Zero fields have defaults.
	Limits Limits
	// LayerForTest is put between Yggdrasil and the carriers: tests lose packets
	// there, benchmarks measure there.
	LayerForTest func(PacketLayer) PacketLayer
}

// MulticastInterface chooses network interfaces for local discovery.
type MulticastInterface struct {
	// Regex matches interface names.
	Regex string
	// Beacon announces this node, Listen connects to nodes that announce
	// themselves.
	Beacon, Listen bool
}

// Limits bound what other nodes can make this node hold or do. A zero field
// means its default.
type Limits struct {
	// Connections is the number of streams in total, of all carriers and kinds (4096);
	// a QUIC connection counts like a stream. A quarter is reserved for our own dials
	// and, with [Stack.KnowContacts], a quarter for contacts. When there are more, the
	// stranger's stream that was opened first ends.
	Connections int
	// ConnectionsPerKey is the number of streams one node may have open to our
	// listeners (8), and 4 more for each pair of an account and an accepted contact
	// that has met there. What we dialled does not count.
	ConnectionsPerKey int
	// HalfOpen is the number of streams in total whose opening is not complete
	// (256). The oldest is ended for a new one; a quarter is reserved for contacts.
	HalfOpen int
	// Backlog is the number of streams per listener that wait for Accept (16), a
	// quarter of it reserved for contacts. While it is full, openings stay incomplete
	// and the dialler repeats them.
	Backlog int
	// ReceiveMemory is the number of bytes that all streams together hold for
	// readers (64 MiB). Beyond it arriving bytes are dropped and sent again. What
	// waits behind gaps, and what strangers have sent, may take a quarter each.
	ReceiveMemory int
	// StrangerPackets is the number of packets per second taken from a node that
	// has no stream with us (50), with bursts of four times as many.
	StrangerPackets int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field    *int
		standard int
	}{
		{&l.Connections, 4096},
		{&l.ConnectionsPerKey, 8},
		{&l.HalfOpen, 256},
		{&l.Backlog, 16},
		{&l.ReceiveMemory, 64 << 20},
		{&l.StrangerPackets, 50},
	} {
		if *f.field <= 0 {
			*f.field = f.standard
		}
	}
	return l
}
