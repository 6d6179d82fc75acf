// SPDX-License-Identifier: MPL-2.0

// Package stream is the packet format of ygg_stream v0.2 ("TCP/KEY"), the
// layer that carries Mimir's gen3: streams and datagrams between two
// Yggdrasil node keys. It turns bytes into packets and back; the state machine
// is in actors/overlay.
//
// One packet is the payload of one encrypted packet of the ironwood network
// below Yggdrasil. There is neither an IP header nor Yggdrasil's session type
// byte. All integers are big-endian.
//
//	offset size field
//	0      2    source port; 0 in datagrams
//	2      2    destination port
//	4      4    sequence number: offset of the first payload byte
//	8      4    acknowledgment number: next byte expected
//	12     1    flags: SYN 01, ACK 02, FIN 04, RST 08, DGRAM 10
//	13     3    receive window in bytes
//	16     n    payload, to the end of the packet
//
// Source: ygg_stream src/protocol.rs at version 0.2.0 (commit ee33b4e).
//
// There is no length, no checksum and no version: the network below keeps
// packet boundaries and authenticates the sender.
//
// Start reading at [Packet].
package stream
