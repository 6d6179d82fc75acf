// SPDX-License-Identifier: MPL-2.0

// Package overlay reaches other nodes over the Yggdrasil network. It embeds
// one Yggdrasil node ([Open]) and offers its users a [Carrier]: dial a node key,
// listen on a port, exchange datagrams. Users never see Yggdrasil itself, and
// tests put package memnet in its place.
//
//	users            Dial, Listen, Conn, Datagrams
//	quicCarrier      gen2: QUIC, one connection between two nodes
//	tcpCarrier       gen1: TCP over IPv6, with a network stack in the program
//	streamCarrier    ygg_stream v0.2: tables, ports, limits, the silence rule
//	  streamConn       one stream: lock, deadlines, timer, its queue of packets
//	    machine          its state, without clock, lock or socket
//	      sender           what is under way, and when to send it again
//	      receiver         what has arrived, and what to acknowledge when
//	Stack            the only reader: limits per node, then to a carrier by class
//	PacketLayer      packets between node keys: Yggdrasil, or memnet
//
// # The trap
//
// The goroutine that reads packets from Yggdrasil must never wait for one that
// writes: the node would stop for ever after a few hundred packets of any flood.
// So [Stack] has one goroutine that reads, finds the queue a packet belongs to,
// and adds or drops; everything else happens in the carrier's own goroutines
// and in those of its users. While QUIC runs, that one is quic-go's: it does no
// more. See [PacketLayer].
//
// # What it must not do
//
// No goroutine per stream, no queue without a bound, nothing sent to a node that
// the silence rule protects. It knows nothing of identities, contacts or
// messages: the owner of any node key may open streams; users of the
// package authenticate them.
//
// Start reading at [Carrier], then [Stack], then machine in stream_machine.go.
// The carriers of older generations share one class of packets; traffic.go tells
// them apart.
package overlay
