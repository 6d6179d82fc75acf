// SPDX-License-Identifier: MPL-2.0

// Package legacy is the wire format of the Mimir peer protocol, gen1
// and gen2: what apps of the versions 1.x and 2.0 say over TCP and QUIC. Frames are
// the values of package peer, whose bodies did not change since; here is what
// differs. Like that package it opens nothing, waits for nothing and decides
// nothing.
//
// Start with [Generation]: it reads and writes frames and knows which ones its
// apps can read. [Handshake] runs the handshake of package peer in that framing.
//
// # Streams
//
// A connection of gen1 is one TCP connection to port 5050; one of
// gen2 is one bidirectional QUIC stream, opened by the side that dials.
// Both begin with the header of HELLO: there is no role byte, and there are no
// data streams. Whatever is sent, attachments included, is a frame.
//
// # What differs from gen3
//
// The header is the same, 16 bytes: i32 stream = 0, i32 type, i64 size. The size
// is wrong for two types, and since apps may log or compare it we are wrong in
// the same way:
//
//	type           size field                            generation
//	HELLO          the body; above 80 an address follows  1, 2
//	INFO_RESPONSE  the body and 8 more                    1, 2
//	MESSAGE        16 and the length of the stored part   1, 2
//	PING, PONG     0                                      2
//	CALL_*         the body                               2
//	all others     the body                               1, 2
//
// The stored part of a message is its payload, of an attachment only the
// description.
//
//   - The address in HELLO has 16 bytes in gen1, an IPv6 address, and 32
//     in gen2, a node key.
//   - Nobody can skip a type they do not know: a reader of gen1 takes the
//     body for the next header, and so does one of gen2 for all purposes.
//     So nothing is sent that the other side cannot read ([Generation.Reads]), and
//     an unknown type is a violation here.
//   - The acceptor of gen1 sends INFO_REQUEST right behind the OK of the
//     first half of the handshake, [Handshake.Asked].
//   - gen2 pings also during the handshake.
//
// # Messages
//
// The JSON header has the keys guid, replyTo, sendTime, editTime, type and
// payloadSize in this order; replyTo and editTime when not 0, payloadSize when
// there is a payload. guid must be there. Times are milliseconds, except that
// gen2 sends each reaction twice, once with seconds
// ([peer.NormalizeSendTime]).
//
//	type  payload                                                generation
//	0     text                                                   1, 2
//	1     picture: i32 n, n bytes of JSON, the file              1, 2
//	3     file, in the same form                                 2
//	10    reaction, JSON                                         2
//
// Every other type is shown as text. Editing and deleting do not exist.
package legacy
