// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Everything the actors of this package tell each other, grouped by receiver.
// Who may tell whom stands in the package text.

// To an account actor.
type (
	// inbound is the listener's, by way of the node: a stream whose initiator has
	// proved to be Contact and asks for Account.
	inbound struct {
		Account, Contact identity.PublicKey
		Stream           *handover
	}
)

// To a contact actor; it also gets inbound and uplink.Changed.
type (
	// sessionReady is a dialling session's: authenticated, nothing promised yet.
	sessionReady struct{ Node identity.NodeKey }
	// sessionLive is a session's: both sides have it.
	sessionLive struct {
		Node       identity.NodeKey
		Generation generation
		Behind     netip.Addr // of the device, when it lies behind the node
		Dialled    bool
	}
	// sessionAlive is a session's: the answer to probe.
	sessionAlive struct{}
	// acked is a session's: the peer has the message.
	acked struct{ GUID peer.GUID }
	// undeliverable is a session's: the message cannot be sent, ever.
	undeliverable struct {
		GUID   peer.GUID
		Reason string
	}
	// contactRequested is a session's: the peer asks to be a contact.
	contactRequested struct {
		Request peer.ContactRequest
		Credit  frameCredit
	}
	// contactAnswered is a session's: the peer answered our request.
	contactAnswered struct {
		Accepted bool
		Credit   frameCredit
	}
	// responded is a session's: respond with Owed has been sent.
	responded struct{ Accepted bool }
	// askedHeard is a session's: the contact has read the request of ask.
	askedHeard struct{}
	// callOffered and callHung are a session's: the contact calls, and does not wait
	// any longer.
	callOffered struct{ Credit frameCredit }
	callHung    struct{ Credit frameCredit }
)

// To a session actor.
type (
	// complete is the contact's answer to sessionReady: send the final OK.
	complete struct{}
	// deliver is the contact's: send this message; acked follows, or the session's
	// end.
	deliver struct{ Message store.Message }
	// probe is the contact's: ask the peer for a sign of life; sessionAlive follows.
	// With Yield a session that is quiet ends instead, in favour of another device.
	probe struct{ Yield bool }
	// permit is the contact's: whether the peer may do more than ask.
	permit struct{ Allowed bool }
	// requestStored is the contact's: the peer's contact request waits for our user.
	requestStored struct{}
	// respond is the contact's: answer a contact request; with Owed, responded
	// follows.
	respond struct{ Accepted, Owed bool }
	// ask is the contact's: send a contact request; askedHeard follows.
	ask struct{ Text string }
	// declineCall is the contact's: nobody takes the call.
	declineCall struct{}
	// tellProfile is the contact's: send our profile, which has changed.
	tellProfile struct{}
	// replace is the contact's: end at once, with a reset, in favour of a newer
	// connection.
	replace struct{}
	// dataStream is the listener's: a data stream from the session's node.
	dataStream struct{ Stream *handover }
)

// handoverTime is how long a stream may be on its way between two owners. It is a
// safety net: a message to an actor that ends meanwhile is dropped, and a stream
// without an owner would stay open for ever.
const handoverTime = 20 * time.Second

// handover carries a stream, and what has been read of it, from one owner to the
// next. Whoever claims it owns it; if nobody does in time, it is aborted.
type handover struct {
	stream *stream
	hs     handshake // control streams only
	taken  atomic.Bool
	timer  *time.Timer
}

func newHandover(s *stream, hs handshake) *handover {
	h := &handover{stream: s, hs: hs}
	h.timer = time.AfterFunc(handoverTime, h.drop)
	return h
}

// Node is the node at the other end.
func (h *handover) Node() identity.NodeKey { return h.stream.RemoteKey() }

// Generation is what the other end speaks.
func (h *handover) Generation() generation { return h.stream.generation }

// claim makes the caller the owner; it returns false when the time was up.
func (h *handover) claim() bool {
	if h.taken.Swap(true) {
		return false
	}
	h.timer.Stop()
	return true
}

// drop aborts the stream if nobody has claimed it.
func (h *handover) drop() {
	if h.claim() {
		_ = h.stream.Abort() // there is nothing left to do with it
	}
}
