// SPDX-License-Identifier: MPL-2.0

package phone

import "time"

// Quirks are what a phone does otherwise than the protocol asks. The zero value is
// a well-behaved phone. Each works on its own and with all others.
type Quirks struct {
	// Streams.

	// NoDataStream: opens no data stream; large messages take the control stream.
	NoDataStream bool
	// LateDataStream: reads and writes frames for that long before it opens its data
	// stream. The apps open it first and read nothing until it is open.
	LateDataStream time.Duration
	// EarlyDataStream: opens the data stream before the final OK of its own dial.
	EarlyDataStream bool
	// DropsEarlyData: drops a data stream that comes before its session, as the apps.
	DropsEarlyData bool

	// ForgetsNode: the end of a session makes the phone forget whose node it was with,
	// so that it drops further data streams of that node until the next session, as
	// the apps' core.
	ForgetsNode bool

	// Silent: does not tell the other side when it drops a stream, as the apps.
	Silent bool

	// Sessions.

	// PlainChallenges: draws challenges that cannot be keys, see PlainChallenge.
	PlainChallenges bool
	// ParallelDials: each message written while there is no session starts that many
	// dials of its own, as the apps do with one.
	ParallelDials int
	// Unarbitrated: completes every handshake, also beside another or a live
	// session, as the apps; the newer session then replaces the older one.
	Unarbitrated bool
	// ReplaceBug: the end of a replaced session takes the newer one with it, as in the
	// apps' core.
	ReplaceBug bool

	// Frames.

	// ByteByByte: sends every byte on its own. HeaderApart: sends the header of a
	// frame, then the rest.
	ByteByByte, HeaderApart bool
	// WrongSize: after the handshake the size in every header is 16 and the payload's,
	// as an Android app wrote it for messages.
	WrongSize bool
	// UnknownFrames: puts frames of unknown types, with and without a body, before
	// every frame.
	UnknownFrames bool

	// Messages.

	// Duplicates: sends every message twice, one after the other. DuplicateLater:
	// sends it again after the OK for it has come.
	Duplicates, DuplicateLater bool
	// ReactionTwice: a reaction goes out again under another guid, with its time in
	// seconds, as the Android app does.
	ReactionTwice bool
	// AndroidJSON: the order of keys of the Android app. UnknownKeys: keys that nobody
	// knows, with escaped slashes and nested values.
	AndroidJSON, UnknownKeys bool
	// NoGUID: leaves the guid out of the JSON.
	NoGUID bool

	// Acknowledgments. OKDelay holds each OK back. NoOK sends none. OKZero sends an
	// OK for 0 before each. OKUnknown sends one for a guid that nobody used.
	OKDelay                 time.Duration
	NoOK, OKZero, OKUnknown bool
	// OKTwice: sends every OK twice.
	OKTwice bool

	// Pings.

	// PingAtOnce: sends PING right after the handshake. NoPing: sends none to keep the
	// session. NoPong: answers none.
	PingAtOnce, NoPing, NoPong bool

	// Profiles.

	// NoAvatar: leaves the avatar out of INFO_RESPONSE.
	NoAvatar bool
	// NoInfoRequest: never asks for a profile. UnaskedInfo: sends its own at the start
	// of every session.
	NoInfoRequest, UnaskedInfo bool
}

// Android is what the Android app does otherwise than the protocol asks, as far as
// it is known.
func Android() Quirks {
	return Quirks{
		DropsEarlyData: true, ForgetsNode: true, Silent: true, ParallelDials: 1, Unarbitrated: true, ReplaceBug: true, ReactionTwice: true,
	}
}
