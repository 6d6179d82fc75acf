// SPDX-License-Identifier: MPL-2.0

// Package peer is the wire format of the Mimir peer protocol, gen3: what
// two apps or nodes say to each other over ygg_stream, port 42. It turns bytes
// into frames and frames into bytes, and runs the handshake as a state machine.
// It opens nothing, waits for nothing and decides nothing.
//
// Start with [ReadFrame] and the frame types, one file per family, then
// [Handshake]. Every frame is a plain struct; its AppendTo writes header and
// body, which go out as one write.
//
// Checked against src/peer/{protocol,connection,data_stream}.rs of the reference
// core (a31933f). Where it leaves a choice, the choice is noted below as "ours".
//
// # Streams
//
// The initiator's first byte is the role of a stream ([Role]), a write of its
// own. A session is one control stream and one data stream in each direction.
// Nothing is ever sent back on a data stream.
//
//	00  control stream: handshake, then frames
//	01  data stream: frames of the other format, see below
//
// # Control frames
//
//	offset  size  field
//	0       4     stream, 0, ignored when read
//	4       4     type, i32
//	8       8     size of what follows, i64
//
//	type                dec    body
//	HELLO               1      i32 version = 1, blob(32) own identity, blob(32) receiver's
//	                           identity, i32 client id; blob(32) node key when size > 80
//	CHALLENGE           2      blob(32)
//	CHALLENGE_ANSWER    3      blob(64)
//	CHALLENGE2          4      blob(32)
//	CHALLENGE_ANSWER2   5      blob(64)
//	INFO_REQUEST        6      i64 since, seconds
//	INFO_RESPONSE       7      i64 time, text nickname, text info, blob avatar
//	PING, PONG          8, 9   nothing
//	MESSAGE             1000   blob JSON header, then the payload
//	CALL_OFFER          2000   text MIME type, i32 sample rate, i32 channels
//	CALL_ANSWER         2001   u8 accepted, text error
//	CALL_HANG           2002   nothing
//	CALL_PACKET         2003   blob
//	CONTACT_REQUEST     3000   text message, text nickname, text info, blob avatar
//	CONTACT_RESPONSE    3001   u8 accepted
//	FILE_REQUEST        4000   i64 guid, text name, text SHA-256 in hex
//	OK                  32767  i64 id
//
// Facts of the reference that shape the reader:
//
//   - Known types are parsed by their inner lengths and the size is ignored,
//     except that HELLO has an address when it is above 80. Writers get sizes
//     wrong; we send the true one. A size above 0 on PING, PONG or CALL_HANG
//     desynchronises every reader including this one.
//   - Unknown types are skipped by size; a negative size skips nothing. After
//     the handshake the types of the handshake (1 to 5), 10, 1001 and 4001 count
//     as unknown. In the handshake nothing is skipped: any other type ends it.
//   - A flag byte is true when it is not 0.
//   - An avatar above 50 KiB is read over and counts as none.
//
// Ours, where the reference goes wrong or has no limit: a negative avatar length
// (swallows the rest of the stream there), invalid UTF-8 in the error of a
// CALL_ANSWER (reads as empty there) and a negative payload size (kills the
// reader there) are violations; challenges have exactly 32 bytes; every length
// has a limit, see proto/wire.
//
// # Message header
//
// A JSON object with the keys guid, sendTime, type (always written), replyTo,
// editTime (when not 0) and payloadSize (when there is a payload). Keys come in
// any order, unknown ones are ignored, of equal ones the last counts. What is not
// an integer within 64 bits reads as 0. The type is cut to its low 32 bits as
// the reference does. We write the keys sorted, as the core does.
//
// # Data stream frames
//
//	offset  size  field
//	0       8     guid
//	8       8     guid of the message replied to
//	16      8     send time, ms
//	24      8     edit time, ms
//	32      4     message type
//	36      8     size, 0 to 512 MiB
//	44      n     data
//
// For message type 4001 the data is i32 n, n bytes of JSON ([FileMeta]), then the
// file. The reference reads n unsigned and does not compare it with the size;
// ours must fit.
//
// # Handshake
//
//	initiator                        acceptor
//	HELLO                ──────────▶
//	                     ◀────────── CHALLENGE
//	CHALLENGE_ANSWER     ──────────▶
//	                     ◀────────── OK
//	                                 (decides: goes on, or drops)
//	CHALLENGE2           ──────────▶
//	                     ◀────────── CHALLENGE_ANSWER2
//	(decides: goes on, or drops)
//	OK                   ──────────▶
//
// An answer is the signature over the bare challenge. There is no error frame:
// a side that is not content closes the stream.
package peer
