// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"slices"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The handshake can be relayed, so it alone does not prove that a contact is at
// the node at the other end. When somebody authenticates as a contact from a node
// where the contact was never met, the stream is not answered until a second fact
// speaks for the node:
//
//   - a tracker names it with the contact's signature: taken, also while the known
//     nodes answer; people have a phone and a node;
//   - no tracker answers and no known node does: taken, with a warning; that is a
//     phone that was installed anew on a bad day;
//   - trackers answer for ten minutes, none names it, and no known node answers:
//     taken, with a warning;
//   - trackers answer for ten minutes, none names it, and a known node
//     authenticates: refused, with an alarm.
//
// While no tracker answers and a known node does, it stays held. An unanswered
// stream costs the apps nothing: they try again after a minute or two and offer
// everything they have not been acknowledged.
//
// deviceHold is what is known of one such node. It is pure; the contact actor
// feeds it.
type deviceHold struct {
	node  identity.NodeKey
	since time.Time
	// stream is the latest stream from there, nil when it was dropped.
	stream *handover
	// named says that a tracker has named the node with the contact's signature.
	named bool
	// answering is since when trackers answer without a gap, zero while they do not;
	// silent counts lookups in a row that no tracker answered, the last one at silentAt.
	answering time.Time
	silent    int
	silentAt  time.Time
	// confirmed says that a known node has authenticated since the hold began;
	// unreachable counts attempts in a row to reach one that failed.
	confirmed   bool
	unreachable int
	// refused is when the node was refused, zero while it was not.
	refused time.Time
}

const (
	// holdLimit is how long trackers get to name a new node of a contact.
	holdLimit = 10 * time.Minute
	// holdLeast is how long a node is held at least that no tracker names: attempts
	// fail for a moment for many reasons.
	holdLeast = time.Minute
	// holdEnough is how many lookups, or attempts, in a row have to fail.
	holdEnough = 2
	// holdLook is how often trackers and known nodes are asked meanwhile.
	holdLook = 20 * time.Second
	// holdAgain is after which time a node that was refused is looked at anew, and
	// holdAsk how often trackers are asked about it before, when it comes.
	holdAgain = time.Hour
	holdAsk   = 10 * time.Minute
	// maxHolds bounds the nodes of one contact that are held or refused; the oldest
	// makes room. Each needs a signature of the contact.
	maxHolds = 4
)

type holdVerdict uint8

const (
	holdOn holdVerdict = iota
	holdTake
	holdTakeUnconfirmed
	holdRefuse
)

// decide says what becomes of the node.
func (h *deviceHold) decide(now time.Time) holdVerdict {
	gone := h.unreachable >= holdEnough
	switch {
	case h.named:
		return holdTake
	case !h.refused.IsZero():
		return holdOn
	case h.silent >= holdEnough && gone && now.Sub(h.since) >= holdLeast:
		return holdTakeUnconfirmed
	case h.silent == 0 && !h.answering.IsZero() && now.Sub(h.answering) >= holdLimit:
		if gone || !h.confirmed {
			return holdTakeUnconfirmed
		}
		return holdRefuse
	}
	return holdOn
}

// lookedUp notes what trackers have said; answered is false when none did.
func (h *deviceHold) lookedUp(found []store.Address, answered bool, now time.Time) {
	h.named = h.named || slices.ContainsFunc(found, func(a store.Address) bool { return a.Node == h.node })
	switch {
	case !answered && h.silent > 0 && now.Sub(h.silentAt) < holdLook/2:
		// One lookup whose answer several have waited for.
	case !answered:
		h.silent++
		h.silentAt = now
		if h.silent >= holdEnough {
			h.answering = time.Time{}
		}
	case h.answering.IsZero():
		h.silent, h.answering = 0, now
	default:
		h.silent = 0
	}
}

// met notes that a known node has authenticated as the contact.
func (h *deviceHold) met() { h.confirmed, h.unreachable = true, 0 }

// missed notes that no known node could be reached.
func (h *deviceHold) missed() { h.unreachable++ }

// changesNodes reports whether a contact is known to use a new node key at each
// start, as apps of generations 1 and 2 do: for a stream of an old generation when
// the contact was met in it, for one of generation 3 when the contact was met in an
// old one last, because then the app is a newer one now. A contact that was met in
// generation 3 only does not become one by coming in another.
func changesNodes(known []store.KnownNode, g generation) bool {
	if g == gen3 {
		last := generation(known[0].Generation)
		return last == gen1 || last == gen2
	}
	return slices.ContainsFunc(known, func(n store.KnownNode) bool { return generation(n.Generation) == g })
}
