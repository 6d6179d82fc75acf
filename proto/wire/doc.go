// SPDX-License-Identifier: MPL-2.0

// Package wire holds what Mimir's wire formats have in common: reading and
// writing with limits, the tag-length-value fields of trackers, mediators and
// file servers, JSON objects from outside, and the [Violation] error.
//
// It takes bytes or a buffered reader and gives values and errors. It knows no
// clock, socket, goroutine or logger, and no protocol: those are the packages
// beside it. Start with [Reader] (streams) or [Cursor] (datagrams), then
// limits.go, the list of every limit with the one who set it.
//
// All integers are big-endian, two's complement. On streams a blob is
//
//	offset  size  field
//	0       4     length n, i32; negative is a violation
//	4       n     bytes
//
// and a text is a blob of valid UTF-8.
//
// # Fields (TLV)
//
//	offset  size  field
//	0       1     tag
//	1       1..4  length n, a varint
//	..      n     value
//
// The varint is little-endian base 128 as in protobuf, 28 bits at most: a
// fourth byte that announces a fifth is an error, a longer than necessary
// encoding is not. Of equal tags the last one counts, except where a protocol
// collects them. Unknown tags are ignored. A length past the end fails the whole
// payload. Checked against src/tlv.rs of the reference core (a31933f).
//
// # Frames of servers
//
// File servers and mediators answer requests. What goes to them and comes from
// them is, but for what their packages say,
//
//	offset  size  field
//	0       1     command of a request, status of an answer (0 OK, 1 refused)
//	1       2     id; the answer has that of its request
//	3       4     length n, u32
//	7       n     payload; of a refusal a length of two bytes and a text
//
// # Memory
//
// No length from the wire is trusted: each has a limit, and memory is taken only
// in steps of [ReadStep] as the bytes arrive. A peer that declares 1 MiB and
// then falls silent costs one step.
package wire
