// SPDX-License-Identifier: MPL-2.0

// Package tracker is the wire format of Mimir's trackers, versions 1 and 2: which
// node keys an identity can be reached at. It has both sides of it, the client's
// and the tracker's, and the records that trackers pass on to one another.
//
// Start with [Record], then [ParseRequest] for a tracker and [SplitReply] for a
// client; for version 1, with [Record1] and [Request1]. The package matches no
// nonces, keeps no time and stores nothing.
//
// Checked against src/peer/resolver.rs and src/tlv.rs of the reference core
// (a31933f) and src/{client,sync,tlv}.rs of the reference tracker (b90b500).
//
// # Datagrams
//
// One ygg_stream datagram each, to and from port 69.
//
//	request                         answer
//	0  1  version = 2               0  4  nonce, copied
//	1  4  nonce                     4  1  command, copied
//	5  1  command                   5  n  fields
//	6  n  fields
//
//	command    value  request fields                    answer fields
//	ANNOUNCE   00     USER_PUB NODE_PUB SIGNATURE       TTL_SECS
//	                  PRIORITY CLIENT_ID
//	GET_ADDRS  01     USER_PUB                          COUNT, COUNT times RECORD
//	PING       02     not looked at                     none
//
//	tag  name        size      tag  name        size
//	01   USER_PUB    32        08   EXPIRES_MS  8
//	02   NODE_PUB    32        09   HOP         1
//	03   SIGNATURE   64        0A   PREV_TTL    4, minutes
//	05   PRIORITY    1         0B   COUNT       1
//	06   CLIENT_ID   4         0C   RECORD      fields NODE_PUB SIGNATURE
//	07   TTL_SECS    8                          PRIORITY CLIENT_ID EXPIRES_MS
//
// The fields are those of proto/wire. The signature is the identity's, over the
// 32 bytes of the node key and nothing else: it has no date, so any old record
// can be announced again by anybody, with any client id and priority. An answer
// is a hint; the handshake decides.
//
// There are no error answers: what is malformed is dropped.
//
// # Facts of the reference
//
//   - Only the tracker looks at the version. Requests below 6 bytes and other
//     versions are dropped. A tracker of version 2 also answers version 1 on its
//     port; see below.
//   - In an answer the first COUNT wins, of other repeated fields the last. No
//     fields or no COUNT is "none". COUNT of another size than 1, or above the
//     number of records, spoils the answer. Records beyond COUNT are ignored. A
//     bad record is skipped. PRIORITY absent or of a wrong size in a record reads
//     as 0, everything else in it is required.
//   - COUNT has one byte. A reference tracker with more than 255 records truncates
//     the count modulo 256 and sends all records. We write 255 at most.
//   - A malformed TTL_SECS spoils the answer to an announcement.
//
// Ours: an answer gives at most wire.MaxRecords records, all verified and with
// different node keys, so that one replayed record under many client ids cannot
// push the others out; TTLs are clamped, see [ClampTTL].
//
// # Between trackers
//
// A stream to port 69. The connecting side sends its 32-byte key; then both send
//
//	14                 SYNC_PING
//	0A len(4) fields   SYNC_DATA: HOP USER_PUB NODE_PUB SIGNATURE PRIORITY
//	                   CLIENT_ID TTL_SECS PREV_TTL, all required; with HOP 0
//	                   nothing else is looked at
//
// # Version 1
//
// gen1 sends UDP datagrams to port 5050 ([LayoutAddress]); gen2
// opens a QUIC stream for each request, whose first byte is 00 ([LayoutNode]); for
// some weeks its requests also went in a datagram each, without that byte.
//
//	request                          answer
//	0   1   version = 1              0  4  nonce, copied
//	1   4   nonce                    4  1  command, copied
//	5   1   0 ANNOUNCE, 1 GET_ADDRS  5  8  ANNOUNCE: TTL, seconds
//	6   32  identity                 5  1  GET_ADDRS: count, then the records
//	38  n   ANNOUNCE: as below
//
//	ANNOUNCE, address  port(2) priority(1) client id(4) IPv6(16) signature(64)
//	ANNOUNCE, node     priority(1) client id(4) node key(32) signature(64)
//	record, address    IPv6(16) signature(64) port(2) priority(1) client id(4) TTL(8, s)
//	record, node       node key(32) signature(64) priority(1) client id(4) rest(8, ms)
//
// The lowest priority is dialled first. Trackers of gen2 pass records on
// over streams that begin with 01 and the caller's node key:
//
//	14  ping
//	0A  hop(1) identity(32) node key(32) signature(64) priority(1) client id(4)
//	    rest(4, s) previous TTL(4, min)
package tracker
