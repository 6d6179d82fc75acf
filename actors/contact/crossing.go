// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"bytes"

	"github.com/mimird/mimird/proto/identity"
)

// crossing decides which of several connections with a contact becomes the session.
// Two devices of the same two identities may connect to each other at the same moment,
// and an app opens several connections at once. If two sessions complete, the app's own
// clean-up ends both, so exactly one may: crossing decides before one completes. It is
// pure, so that its rules can be tested in every order. The contact actor tells it what
// happens and does what its verdicts say.
//
// The rules, from what the apps do (they never arbitrate: an incoming session
// counts for them when we answer their second challenge, an outgoing one when
// they have verified our answer):
//
//   - Of two crossing dials the one from the smaller identity key wins. The side
//     with the smaller key holds an incoming stream back until its own dial has
//     ended; the other side gives its own dial up. A stream that is never answered
//     expires at the other side without any effect.
//   - With a live session, an incoming stream is held while the old session is
//     probed. If the old one answers, the new one was a parallel dial and is left
//     unanswered. If it does not, the other side has lost it: it is aborted before
//     the new one continues.
//   - One incoming stream is considered at a time; further ones are left
//     unanswered.
type crossing struct {
	// dialWins: our key is smaller, our dial is preferred.
	dialWins bool
	dial     dialState
	live     bool
	// incoming is the state of the one incoming stream under consideration.
	incoming incomingState
}

type dialState uint8

const (
	dialNone dialState = iota
	dialRunning
	dialCompleting // we have sent the final OK
)

type incomingState uint8

const (
	incomingNone incomingState = iota
	incomingHeld
	incomingAccepting
)

// verdict is what the contact actor does after an event.
type verdict uint8

const (
	doNothing    verdict = iota
	dropIncoming         // leave the new stream unanswered
	holdIncoming         // keep it until the dial has ended
	holdAndProbe         // keep it and ask the live session whether it is alive
	acceptIncoming
	stopDialAndAccept
	abortLiveAndAccept
	completeDial
	stopDial
)

func newCrossing(us, them identity.PublicKey) crossing {
	return crossing{dialWins: bytes.Compare(us[:], them[:]) < 0}
}

// mayDial reports whether a dial may be started now.
func (x *crossing) mayDial() bool {
	return !x.live && x.dial == dialNone && x.incoming == incomingNone
}

// dialStarted records that our dial is on its way.
func (x *crossing) dialStarted() { x.dial = dialRunning }

// dialReady: our dial is about to send its final OK, until which the other side counts
// nothing.
func (x *crossing) dialReady() verdict {
	if x.dial != dialRunning {
		return stopDial // given up meanwhile
	}
	x.dial = dialCompleting
	return completeDial
}

// dialEnded: our dial has failed, or was stopped.
func (x *crossing) dialEnded() verdict {
	x.dial = dialNone
	if x.incoming == incomingHeld && !x.live {
		x.incoming = incomingAccepting
		return acceptIncoming
	}
	return doNothing
}

// arrived: there is an incoming stream whose initiator has proved its identity.
func (x *crossing) arrived() verdict {
	switch {
	case x.incoming != incomingNone:
		return dropIncoming
	case x.live:
		x.incoming = incomingHeld
		return holdAndProbe
	case x.dial == dialCompleting:
		// Our dial is as good as live; it decides.
		x.incoming = incomingHeld
		return holdIncoming
	case x.dial == dialRunning && x.dialWins:
		x.incoming = incomingHeld
		return holdIncoming
	case x.dial == dialRunning:
		x.dial = dialNone
		x.incoming = incomingAccepting
		return stopDialAndAccept
	default:
		x.incoming = incomingAccepting
		return acceptIncoming
	}
}

// holdExpired: a stream was held for holdTime. A dial that takes so long will not be
// answered, and a live session that does not answer a probe is dead.
func (x *crossing) holdExpired() verdict {
	if x.incoming != incomingHeld {
		return doNothing
	}
	x.incoming = incomingAccepting
	switch {
	case x.live:
		x.live = false
		return abortLiveAndAccept
	case x.dial != dialNone:
		x.dial = dialNone
		return stopDialAndAccept
	default:
		return acceptIncoming
	}
}

// liveAnswered: the live session has answered the probe while a stream is held.
func (x *crossing) liveAnswered() verdict {
	if x.incoming != incomingHeld {
		return doNothing
	}
	x.incoming = incomingNone
	return dropIncoming
}

// dialCompleted: our dial has become the live session.
func (x *crossing) dialCompleted() verdict {
	x.dial = dialNone
	x.live = true
	if x.incoming == incomingHeld {
		x.incoming = incomingNone
		return dropIncoming
	}
	return doNothing
}

// incomingCompleted: the incoming stream has become the live session.
func (x *crossing) incomingCompleted() {
	x.incoming = incomingNone
	x.live = true
}

// incomingEnded: the incoming stream has failed before it was live.
func (x *crossing) incomingEnded() { x.incoming = incomingNone }

// liveEnded: the live session has ended.
func (x *crossing) liveEnded() verdict {
	x.live = false
	if x.incoming == incomingHeld && x.dial == dialNone {
		x.incoming = incomingAccepting
		return acceptIncoming
	}
	return doNothing
}
