// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

// Why sessions end.
var (
	errIdle              = errors.New("idle")
	errNotAnswering      = errors.New("the contact's device answers pings but acknowledges nothing")
	errPingTimeout       = errors.New("the contact's device does not answer")
	errWriteBlocked      = errors.New("the contact's device does not read")
	errUnreachable       = errors.New("no address of the contact answers")
	errReplaced          = errors.New("replaced by a newer connection")
	errOtherDevice       = errors.New("ended for another device of the contact")
	errYielded           = errors.New("another conversation with the same device has its turn now")
	errSharedNode        = errors.New("a data stream of the device could be for several conversations; the contact is to send again")
	errRefused           = errors.New("the contact is to send again what it sent as a stranger")
	errMirrored          = errors.New("the mirror has it; the contact is to try the phone again")
	errStrangerTime      = errors.New("time limit of a stranger's session")
	errTooManyStrangers  = errors.New("too many sessions with strangers")
	errTooManyHandshakes = errors.New("the node begins too many handshakes")
	errHandedOverLate    = errors.New("the stream was dropped before its session began")
)
