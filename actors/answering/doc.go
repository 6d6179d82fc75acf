// SPDX-License-Identifier: MPL-2.0

// Package answering is the answering machine: it takes the calls of accepted contacts,
// plays the account's greeting to them, and keeps what they say as a voice message. It is
// off until an account has a greeting, and never on in the roles backup and mirror.
//
// The door is [Machine], which the node opens. The actor of a contact asks [Machine.Answers]
// when the contact calls, and spawns [Machine.NewSpec], an actor for one call, beside the
// session that the call comes over. The call actor (call.go) accepts the call by
// session.AnswerCall, sends the greeting as fast as it plays, and gives what follows to a
// recording. A recording (recording.go) is a file that is synced each second. The actor of
// [NewActor] (keeper.go) makes a message of every recording that is not being written any
// more, also of those that a crash has left, and removes the file when the store has the
// message: until then everything can be repeated.
//
// The audio is never decoded. It is bounded by the longest message and by a rate, the
// calls by a number, and the recordings that wait by another.
//
//	offset  size  recording
//	0       8     "mimcall1"
//	8       32    account
//	40      32    contact
//	72      8     when the call began, in milliseconds
//	80      8     guid of the message
//	88      4     CRC-32 (IEEE) of the above
//	92      ...   packets
//
//	offset  size  packet of a recording
//	0       2     n
//	2       4     CRC-32 of the data
//	6       n     data: the first packet is the codec configuration, the others are units
//
// Numbers are big-endian. A recording ends at the first packet that is not whole.
package answering
