// SPDX-License-Identifier: MPL-2.0

package session

import (
	"net/netip"

	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// The messages of this package, by receiver.

// To the actor of an account.
type (
	// Inbound is sent by the listener to its parent, which forwards it: a stream whose
	// initiator has proved to be Contact and asks for Account. The receiver hands the
	// stream to a session or drops it.
	Inbound struct {
		Account, Contact identity.PublicKey
		Stream           *Handoff
	}
)

// Events, to the parent of a session, the actor of its contact. Where an event has a
// Credit, the receiver releases it when it has handled the event.
type (
	// Ready says that a session that dials has authenticated both sides. It continues
	// with [Complete].
	Ready struct{ Node identity.NodeKey }
	// Live says that both sides have the session.
	Live struct {
		Node       identity.NodeKey
		Generation Generation
		SubnetAddr netip.Addr // of the device, if it is behind the node; otherwise invalid
		Dialled    bool
	}
	// Alive is the answer to [Probe]: the peer has sent a frame.
	Alive struct{}
	// Acked says that the peer has the message.
	Acked struct{ GUID peer.GUID }
	// Undeliverable says that the message never can be sent.
	Undeliverable struct {
		GUID   peer.GUID
		Reason string
	}
	// Requested says that the peer asks to be a contact.
	Requested struct {
		Request peer.ContactRequest
		Credit  Credit
	}
	// Answered says that the peer has answered our contact request.
	Answered struct {
		Accepted bool
		Credit   Credit
	}
	// Responded says that a [Respond] with Owed was sent.
	Responded struct{ Accepted bool }
	// RequestDelivered says that the peer has read the request of [Ask].
	RequestDelivered struct{}
	// CallOffered says that the contact calls.
	CallOffered struct{ Credit Credit }
	// CallHung says that the caller has hung up.
	CallHung struct{ Credit Credit }
	// HandshakeRelayed says that the node wanted a signature over a challenge that was
	// created for another connection. The handshake has failed.
	HandshakeRelayed struct{ Node identity.NodeKey }
	// TurnCame is sent by the [Table], after [Table.Wait] or a [TurnError]: the contact
	// may have a session with the node after Wait.
	TurnCame = attribution.TurnCame
)

// Commands, to a session.
type (
	// Complete answers [Ready]: send the final OK of the handshake.
	Complete struct{}
	// Deliver sends a message; [Acked], [Undeliverable] or the end of the session follows.
	// There is one at a time.
	Deliver struct{ Message store.Message }
	// Probe tests whether the peer answers; [Alive] follows, or the end of the session.
	// With Yield a quiet session ends instead, in favour of another device.
	Probe struct{ Yield bool }
	// Permit says whether the peer may do more than send a contact request.
	Permit struct{ Allowed bool }
	// RequestStored says that the contact request of the peer was stored.
	RequestStored struct{}
	// Respond answers a contact request; with Owed, [Responded] follows.
	Respond struct{ Accepted, Owed bool }
	// Ask sends a contact request; [RequestDelivered] follows.
	Ask struct{ Text string }
	// DeclineCall declines the call of the contact; [AnswerCall] accepts it.
	DeclineCall struct{}
	// TellProfile sends our profile, which has changed.
	TellProfile struct{}
	// Replace ends the session at once, with a reset, in favour of a newer connection.
	Replace struct{}
	// dataStream is sent by the listener: a data stream from the node of the session.
	dataStream struct{ Stream *Handoff }
)
