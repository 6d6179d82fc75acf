// SPDX-License-Identifier: MPL-2.0

package files

import "time"

// Port is the ygg_stream port of file servers.
const Port uint16 = 80

// The first two bytes of a connection: version and protocol.
const (
	openingVersion  = 0x01
	openingProtocol = 0x00
)

// Opening is what a client sends first. It is not answered.
func Opening() []byte { return []byte{openingVersion, openingProtocol} }

// IsOpening reports whether a connection began as it must.
func IsOpening(b [2]byte) bool { return b == [2]byte{openingVersion, openingProtocol} }

// Command is what a request asks for.
type Command byte

// The commands.
const (
	CommandGetNonce Command = 0x01
	CommandAuth     Command = 0x02
	CommandPing     Command = 0x03
	CommandUpload   Command = 0x10
	CommandDownload Command = 0x11
	CommandFileInfo Command = 0x12
)

// String returns the protocol's name of a command, "UNKNOWN" for all others: a
// fixed set, fit for a metric label.
func (c Command) String() string {
	switch c {
	case CommandGetNonce:
		return "GET_NONCE"
	case CommandAuth:
		return "AUTH"
	case CommandPing:
		return "PING"
	case CommandUpload:
		return "UPLOAD"
	case CommandDownload:
		return "DOWNLOAD"
	case CommandFileInfo:
		return "FILE_INFO"
	}
	return "UNKNOWN"
}

// The tags of fields.
const (
	tagPublicKey = 0x01
	tagSignature = 0x02
	tagNonce     = 0x03
	tagGUID      = 0x12
	tagLimit     = 0x30
	tagHash      = 0x40
	tagOffset    = 0x41
	tagTotal     = 0x42
	tagData      = 0x43
)

// The sizes and times of the protocol.
const (
	// UploadChunk is the most data in one UPLOAD; clients send exactly that much,
	// except at the end. Reference.
	UploadChunk = 64 << 10
	// DownloadChunk is the most data in one answer to a DOWNLOAD. Reference.
	DownloadChunk = 256 << 10
	// MaxRequest is the largest payload of a request; a larger one ends the
	// connection. Reference.
	MaxRequest = 2 << 20
	// maxResponse is the largest payload of a response that a client takes: a chunk
	// and its fields. Ours; the reference's client would take 50 MiB.
	maxResponse = DownloadChunk + 1<<10

	// KeepTime is how long a server keeps a file. Reference.
	KeepTime = 15 * 24 * time.Hour
	// IdleTime is how long a server waits for a byte. Reference.
	IdleTime = 5 * time.Minute

	// wholeFile is the limit of a DOWNLOAD without one.
	wholeFile = 1<<32 - 1
)

// The texts of errors that clients tell apart. They are part of the protocol.
const (
	TextNotFound     = "file not found"
	TextBeyondEnd    = "offset beyond file end"
	TextNoUpload     = "no active upload for this file"
	TextQuota        = "quota exceeded"
	TextNotAuthed    = "not authenticated"
	TextChunkTooLong = "chunk too large"

	textBadPayload   = "bad tlv payload"
	textUnknown      = "unknown cmd"
	textMissingChunk = "missing chunk data"
)
