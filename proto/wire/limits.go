// SPDX-License-Identifier: MPL-2.0

package wire

// Every limit on what comes from outside, in bytes unless named otherwise.
// "Reference" is the Mimir core a31933f or the tracker b90b500; where it sets no
// limit the number is ours, with the reason.
const (
	// ReadStep is how far memory may run ahead of the bytes received. Ours:
	// well below the 64 KiB that a declared length may cost at most.
	ReadStep = 32 << 10

	// MaxVarint is the largest value of a varint. Reference: 4 bytes of 7 bits.
	MaxVarint = 1<<28 - 1

	// MaxJSON is the size of a message header, an attachment description, a
	// reaction or a file's meta data. Ours; real ones have a few hundred bytes.
	MaxJSON = 64 << 10
	// MaxJSONDepth is how deep JSON from outside may nest. Ours; all objects of
	// the protocol are flat, the reference's parser stops at 128.
	MaxJSONDepth = 32
)

// Limits of the peer protocol.
const (
	// MaxControlPayload is the payload of a MESSAGE frame. Ours: a reference
	// core sends at most [DataStreamThreshold] there but has no limit when
	// reading; 1 MiB is room for other writers.
	MaxControlPayload = 1 << 20
	// MaxSkip is how much of an unknown frame, and of an avatar nobody keeps, is
	// read over. Ours: a control frame has no business being larger.
	MaxSkip = 1 << 20
	// DataStreamThreshold is the largest payload a sender puts into a MESSAGE
	// frame; larger ones take the data stream. Reference.
	DataStreamThreshold = 64 << 10
	// MaxDataSize is the data of one frame on a data stream. Reference: 512 MiB,
	// more ends the stream. Callers give a lower limit of their own.
	MaxDataSize = 512 << 20

	// MaxAvatar is the largest avatar that is kept; a larger one is read over
	// and counts as none. Reference.
	MaxAvatar = 50 << 10
	// MaxProfileText is the longest nickname, info or request text that is read
	// at all. Ours. Up to it a long text is cut, not punished: a contact with a
	// long name must not be unreachable.
	MaxProfileText = 16 << 10
	// MaxNickname is what is kept of a nickname. Ours.
	MaxNickname = 256
	// MaxInfo is what is kept of a profile's info text. Ours.
	MaxInfo = 4 << 10
	// MaxRequestText is what is kept of a contact request's message. Ours: it
	// comes from strangers.
	MaxRequestText = 4 << 10

	// MaxFileName is the name in a FILE_REQUEST, an attachment or a file's meta
	// data. Ours; the app's own names have about 20 bytes.
	MaxFileName = 1 << 10
	// MaxHashText is the hash in a FILE_REQUEST, hex. Ours: SHA-256 has 64.
	MaxHashText = 128
	// MaxMIMEType is the MIME type of a call or an attachment. Ours.
	MaxMIMEType = 256
	// MaxCallError is the error text of a CALL_ANSWER. Ours.
	MaxCallError = 4 << 10
	// MaxCallPacket is one packet of audio. Ours: AAC at 48 kbit/s has a few
	// hundred bytes.
	MaxCallPacket = 64 << 10

	// MaxCaption is the caption of an attachment. Ours: the app's input takes
	// 5000 characters.
	MaxCaption = 32 << 10
	// MaxFileKey is the file key of an attachment after base64. Ours: 32 bytes
	// plain, 60 when wrapped with a group's key.
	MaxFileKey = 256
	// MaxEmoji is the text of a reaction. Ours: the longest emoji sequences have
	// about 40 bytes.
	MaxEmoji = 128
	// MaxLink is a contact link as a person pastes it. Ours.
	MaxLink = 4 << 10
)

// Limits of the tracker protocol.
const (
	// MaxTrackerDatagram is one request or answer. Reference: the largest
	// ygg_stream datagram.
	MaxTrackerDatagram = 65388
	// MaxRecords is how many verified records of one identity a caller gets.
	// Ours: there is no limit on client ids, and each costs a dial.
	MaxRecords = 16
	// MaxSyncPayload is the fields of one SYNC_DATA. Reference.
	MaxSyncPayload = 64 << 10
)

// Limits of the mediator protocol. "Reference" is the mediator 91292d8.
const (
	// MaxMediatorRequest is the payload of a request. Reference: 51 MiB, a larger one
	// ends the connection.
	MaxMediatorRequest = 51 << 20
	// MaxMediatorAnswer is the payload of an answer or a push. Reference: the client
	// closes above it. The fields inside have no limits of their own, so one member
	// with a large picture does not hide the others.
	MaxMediatorAnswer = 50 << 20
	// MaxGroupName is the name of a group, in characters. Reference.
	MaxGroupName = 25
	// MaxGroupDescription is the description of a group, in characters. Reference.
	MaxGroupDescription = 200
	// MaxGroupAvatar is the picture of a group. Reference.
	MaxGroupAvatar = 200 << 10
	// MaxMemberAvatar is the picture of a member. Reference: the app.
	MaxMemberAvatar = 500 << 10
	// MaxInviteData is the data of an invite. Ours: a wrapped key has 92 bytes.
	MaxInviteData = 1 << 10
)
