// SPDX-License-Identifier: MPL-2.0

package session

import (
	"errors"

	"github.com/mimird/mimird/actors/session/attribution"
)

// TurnError ends a session whose node has its turn with another conversation. The contact
// asks again after Wait, or when it gets [TurnCame].
type TurnError = attribution.TurnError

// Why sessions end.
var (
	ErrIdle              = errors.New("idle")
	ErrNotAnswering      = errors.New("the contact's device answers pings but acknowledges nothing")
	errPingTimeout       = errors.New("the contact's device does not answer")
	errWriteBlocked      = errors.New("the contact's device does not read")
	errUnreachable       = errors.New("no address of the contact answers")
	ErrReplaced          = errors.New("replaced by a newer connection")
	ErrOtherDevice       = errors.New("ended for another device of the contact")
	ErrYielded           = errors.New("another conversation with the same device has its turn now")
	ErrSharedNode        = errors.New("a data stream of the device could be for several conversations; the contact is to send again")
	ErrRefused           = errors.New("the contact is to send again what it sent as a stranger")
	ErrMirrored          = errors.New("the mirror has it; the contact is to try the phone again")
	errStrangerTime      = errors.New("time limit of a stranger's session")
	errTooManyStrangers  = errors.New("too many sessions with strangers")
	errTooManyHandshakes = errors.New("the node begins too many handshakes")
	errHandedOffLate     = errors.New("the stream was dropped before its session began")
)
