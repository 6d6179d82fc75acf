// SPDX-License-Identifier: MPL-2.0

package session

import (
	"net/netip"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Everything the actors of this package tell each other, grouped by receiver.
// Who may tell whom stands in the package text.

// To an account actor.
type (
	// Inbound is the listener's, by way of the node: a stream whose initiator has
	// proved to be Contact and asks for Account.
	Inbound struct {
		Account, Contact identity.PublicKey
		Stream           *Handoff
	}
)

// To a contact actor; it also gets inbound and uplink.Changed.
type (
	// Ready is a dialling session's: authenticated, nothing promised yet.
	Ready struct{ Node identity.NodeKey }
	// Live is a session's: both sides have it.
	Live struct {
		Node       identity.NodeKey
		Generation Generation
		Behind     netip.Addr // of the device, when it lies behind the node
		Dialled    bool
	}
	// Alive is a session's: the answer to probe.
	Alive struct{}
	// Acked is a session's: the peer has the message.
	Acked struct{ GUID peer.GUID }
	// Undeliverable is a session's: the message cannot be sent, ever.
	Undeliverable struct {
		GUID   peer.GUID
		Reason string
	}
	// Requested is a session's: the peer asks to be a contact.
	Requested struct {
		Request peer.ContactRequest
		Credit  Credit
	}
	// Answered is a session's: the peer answered our request.
	Answered struct {
		Accepted bool
		Credit   Credit
	}
	// Responded is a session's: respond with Owed has been sent.
	Responded struct{ Accepted bool }
	// RequestDelivered is a session's: the contact has read the request of ask.
	RequestDelivered struct{}
	// CallOffered and callHung are a session's: the contact calls, and does not wait
	// any longer.
	CallOffered struct{ Credit Credit }
	CallHung    struct{ Credit Credit }
)

// To a session actor.
type (
	// Complete is the contact's answer to sessionReady: send the final OK.
	Complete struct{}
	// Deliver is the contact's: send this message; acked follows, or the session's
	// end.
	Deliver struct{ Message store.Message }
	// Probe is the contact's: ask the peer for a sign of life; sessionAlive follows.
	// With Yield a session that is quiet ends instead, in favour of another device.
	Probe struct{ Yield bool }
	// Permit is the contact's: whether the peer may do more than ask.
	Permit struct{ Allowed bool }
	// RequestStored is the contact's: the peer's contact request waits for our user.
	RequestStored struct{}
	// Respond is the contact's: answer a contact request; with Owed, responded
	// follows.
	Respond struct{ Accepted, Owed bool }
	// Ask is the contact's: send a contact request; askedHeard follows.
	Ask struct{ Text string }
	// DeclineCall is the contact's: nobody takes the call.
	DeclineCall struct{}
	// TellProfile is the contact's: send our profile, which has changed.
	TellProfile struct{}
	// Replace is the contact's: end at once, with a reset, in favour of a newer
	// connection.
	Replace struct{}
	// dataStream is the listener's: a data stream from the session's node.
	dataStream struct{ Stream *Handoff }
)
