// SPDX-License-Identifier: MPL-2.0

// Package files is the protocol of file servers, both directions of it, and the
// encryption of the files on them. File servers keep encrypted files under their
// hash for 15 days; anyone who knows the hash gets the bytes, and the key travels in
// the message ([peer.Attachment]).
//
// A client opens a stream to [Port] of the server's node key, sends [Opening], and
// then one request after the other. All numbers are big-endian.
//
//	request:   command 1, id 2, length 4, fields
//	response:  status 1, id 2, length 4, fields; or for status 1 a length 2 and a text
//
// The fields are TLV as in the tracker protocol (see [wire.Fields]), with these
// tags. The last of a kind counts, and another size than the fixed one is as good
// as absent.
//
//	01 public key 32    30 limit 4      42 total size 8
//	02 signature 64     40 hash 32      43 data
//	03 nonce 32         41 offset 8
//	12 message guid 8
//
//	01 GET_NONCE  public key                             -> nonce
//	02 AUTH       public key, nonce, signature           -> nothing
//	03 PING                                              -> nothing
//	10 UPLOAD     hash, guid, offset, total size, data   -> nothing
//	11 DOWNLOAD   hash, guid, offset, limit              -> data, total size, offset; several times
//	12 FILE_INFO  hash                                   -> total size, guid
//
// The answer to DOWNLOAD is several responses with the same id, in order and
// without gaps, and no last one: the client counts. After an error the connection
// can be used on.
//
// Facts are those of the public server and of the clients in the apps. The
// package is pure: no clock, no socket. Start reading at request.go for a server,
// at response.go for a client, and at crypt.go for what is in a file.
package files
