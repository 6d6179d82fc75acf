// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"errors"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The handshake can be relayed, so it alone does not prove that a contact is at the
// node at the other end. When a contact authenticates from a node for the first time,
// the stream is not answered until there is a second proof for the node:
//
//   - a tracker names it with the contact's signature: accepted, also while the known
//     nodes answer; people have a phone and a node;
//   - no tracker answers and no known node does: accepted, with a warning; that is a
//     phone that was installed anew on a bad day;
//   - trackers answer for ten minutes, none names it, and no known node answers:
//     accepted, with a warning;
//   - trackers answer for ten minutes, none names it, and a known node
//     authenticates: refused, with an alarm.
//
// While no tracker answers and a known node does, it stays held. An unanswered
// stream costs the apps nothing: they retry after a minute or two and send everything
// that was not acknowledged.

// deviceHold is what is known of one such node. It is pure: the contact actor tells
// it what happens and does what decide says. Nothing of it is stored: after a restart
// the next stream from such a node begins a new hold.
type deviceHold struct {
	node  identity.NodeKey
	since time.Time
	// stream is the latest stream from there, nil when it was dropped.
	stream *session.Handoff
	// generation is that of the latest stream, also of one that was dropped.
	generation session.Generation
	// named says that a tracker has named the node with the contact's signature.
	named bool
	// answeringSince is since when trackers answer without a gap, zero while they do
	// not; unanswered counts the lookups in a row that no tracker answered, the last one
	// at unansweredAt.
	answeringSince time.Time
	unanswered     int
	unansweredAt   time.Time
	// confirmed says that a known node has authenticated since the hold began;
	// unreachable counts attempts in a row to reach one that failed.
	confirmed   bool
	unreachable int
	// refused is when the node was refused; zero when it was not.
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
	// holdLook is the pause between two checks with trackers and known nodes.
	holdLook = 20 * time.Second
	// holdAgain is the time after which a refused node is held anew. Until then its
	// streams make us ask trackers, at most once in holdAsk.
	holdAgain = time.Hour
	holdAsk   = 10 * time.Minute
	// oldAppTime is how long a contact may come from any node in a generation after they
	// connected in it last.
	oldAppTime = 30 * 24 * time.Hour
	// maxHolds bounds the nodes of one contact that are held or refused; the oldest is
	// evicted. Each needs a signature of the contact.
	maxHolds = 4
)

type holdVerdict uint8

const (
	holdOn holdVerdict = iota
	holdAccept
	holdAcceptUnconfirmed
	holdRefuse
)

// decide returns what to do with the node.
func (h *deviceHold) decide(now time.Time) holdVerdict {
	gone := h.unreachable >= holdEnough
	switch {
	case h.named:
		return holdAccept
	case !h.refused.IsZero():
		return holdOn
	case h.unanswered >= holdEnough && gone && now.Sub(h.since) >= holdLeast:
		return holdAcceptUnconfirmed
	case h.unanswered == 0 && !h.answeringSince.IsZero() && now.Sub(h.answeringSince) >= holdLimit:
		if gone || !h.confirmed {
			return holdAcceptUnconfirmed
		}
		return holdRefuse
	}
	return holdOn
}

// lookedUp notes the answer of the trackers; answered is false when there was none.
func (h *deviceHold) lookedUp(found []store.Address, answered bool, now time.Time) {
	h.named = h.named || slices.ContainsFunc(found, func(a store.Address) bool { return a.Node == h.node })
	switch {
	case !answered && h.unanswered > 0 && now.Sub(h.unansweredAt) < holdLook/2:
		// The same lookup: several have waited for it.
	case !answered:
		h.unanswered++
		h.unansweredAt = now
		if h.unanswered >= holdEnough {
			h.answeringSince = time.Time{}
		}
	case h.answeringSince.IsZero():
		h.unanswered, h.answeringSince = 0, now
	default:
		h.unanswered = 0
	}
}

// met notes that a known node has authenticated as the contact.
func (h *deviceHold) met() { h.confirmed, h.unreachable = true, 0 }

// missed notes that no known node could be reached.
func (h *deviceHold) missed() { h.unreachable++ }

// changesNodes reports whether a contact is known to use a new node key at each
// start, as apps of gen1 and gen2 do: for a stream of gen1 or gen2 when the contact has
// connected in it, for one of gen3 when the contact connected in gen1 or gen2 last,
// because then the app was updated. A contact that has connected in gen3 only does not
// become one by connecting in another, and one whose app was updated is none any more
// after oldAppTime: else everybody could come as them in the old generation, for ever.
func changesNodes(known []store.KnownNode, g session.Generation, now store.Millis) bool {
	if g == session.Gen3 {
		last := session.Generation(known[0].Generation)
		return last == session.Gen1 || last == session.Gen2
	}
	return slices.ContainsFunc(known, func(n store.KnownNode) bool {
		return session.Generation(n.Generation) == g && now-n.LastAuth <= store.Millis(oldAppTime/time.Millisecond)
	})
}

// anyWaits reports whether one of a contact's known nodes is among the candidates of an
// attempt and not among those that are dialled.
func anyWaits(known []store.KnownNode, candidates, dialled []identity.NodeKey) bool {
	return slices.ContainsFunc(known, func(n store.KnownNode) bool {
		return slices.Contains(candidates, n.Key) && !slices.Contains(dialled, n.Key)
	})
}

// devices are the held nodes of one contact, the oldest first.
type devices struct {
	holds []*deviceHold
	// accepted are the contact's nodes that its row, as it was read last, does not have
	// yet; the latest first.
	accepted []store.KnownNode
	// dialFirst is a node that was accepted without a stream: dialling it makes its app
	// send its messages again. Zero for none.
	dialFirst identity.NodeKey
	// knownWaits says that the attempt leaves out a known node, whose turn it is not: when
	// it fails, that node was not missed.
	knownWaits bool
	// timerRuns says that holdDue will come.
	timerRuns bool
}

type (
	// holdDue checks the held nodes.
	holdDue struct{}
	// holdStreamOver: the app at the other end does not wait for an answer any longer.
	holdStreamOver struct{ stream *session.Handoff }
)

// holdsDevice reports whether it holds a stream, because there is only the handshake to
// prove that the contact is at its node.
func (x *contact) holdsDevice(c *kernel.Context, msg session.Inbound) bool {
	node := msg.Stream.Node()
	if !x.isNewDevice(node, msg.Stream.Generation()) {
		return false
	}
	now := time.Now()
	h := x.devices.hold(node)
	switch {
	case h == nil:
		h = &deviceHold{node: node, since: now}
		x.devices.add(h)
		c.Log().Info("holding a new device of a contact", "node", node.Short())
		x.checkDevices(c)
	case !h.refused.IsZero() && now.Sub(h.refused) >= holdAgain:
		*h = deviceHold{node: node, since: now}
		x.checkDevices(c)
	case !h.refused.IsZero() && now.Sub(h.since) >= holdAsk:
		h.since = now
		x.askForDevices(c)
	}
	if h.stream != nil {
		h.stream.Drop()
	}
	h.stream, h.generation = msg.Stream, msg.Stream.Generation()
	c.After(holdTime, holdStreamOver{msg.Stream})
	x.deps.Table.held.set(x.Conversation, x.devices.status())
	return true
}

// isNewDevice reports whether an accepted contact with known nodes has never
// authenticated from this one, and the resolver's cache does not prove it.
func (x *contact) isNewDevice(node identity.NodeKey, g session.Generation) bool {
	known := x.knownNodes()
	switch {
	case !x.allowed() || len(known) == 0,
		slices.ContainsFunc(known, func(n store.KnownNode) bool { return n.Key == node }),
		node == identity.NodeKey(x.Contact()), // only the contact has that node key
		changesNodes(known, g, x.deps.nowMillis()):
		return false
	}
	named, err := x.deps.Store.Addresses(x.Contact())
	if err != nil {
		return true // an unreadable cache proves nothing
	}
	now := x.deps.nowMillis()
	return !slices.ContainsFunc(named, func(a store.Address) bool { return a.Node == node && a.Expires > now })
}

// knownNodes returns the nodes from which the contact has authenticated, the latest
// first.
func (x *contact) knownNodes() []store.KnownNode {
	return append(slices.Clone(x.devices.accepted), x.record.NodeKeys...)
}

// addKnownNode makes a node one of the contact's, before the store has noted it.
func (x *contact) addKnownNode(node identity.NodeKey, g session.Generation) {
	x.devices.accepted = slices.DeleteFunc(x.devices.accepted, func(n store.KnownNode) bool { return n.Key == node })
	x.devices.accepted = slices.Insert(x.devices.accepted, 0, store.KnownNode{Key: node, Generation: uint8(g), LastAuth: x.deps.nowMillis()})
	x.devices.accepted = x.devices.accepted[:min(len(x.devices.accepted), maxHolds)]
}

// checkDevices asks trackers and known nodes, and again every holdLook until every hold
// is decided.
func (x *contact) checkDevices(c *kernel.Context) {
	x.askForDevices(c)
	if !x.live.IsZero() {
		c.Tell(x.live, session.Probe{}) // sessionAlive follows, or the session's end
	} else {
		if x.retryPending && time.Since(x.failedAt) >= holdLook {
			x.stopRetry()
		}
		x.deliver(c)
	}
	if !x.devices.timerRuns {
		x.devices.timerRuns = true
		c.After(holdLook, holdDue{})
	}
}

func (x *contact) askForDevices(c *kernel.Context) {
	c.Ask(x.deps.Resolver, resolver.Lookup{Identity: x.Contact(), Fresh: true}, lookupPatience)
}

func (x *contact) onHoldDue(c *kernel.Context) {
	x.devices.timerRuns = false
	x.decideDevices(c)
	if x.devices.undecided() {
		x.checkDevices(c)
	}
}

func (x *contact) onHoldStreamOver(msg holdStreamOver) {
	for _, h := range x.devices.holds {
		if h.stream == msg.stream {
			h.stream.Drop()
			h.stream = nil
		}
	}
}

// devicesLookedUp gets the answer to a lookup, also to one of connect.
func (x *contact) devicesLookedUp(c *kernel.Context, msg resolver.Addresses) {
	if len(x.devices.holds) == 0 {
		return
	}
	if msg.Cached {
		return // isNewDevice has read the cache
	}
	answered := msg.Err == nil || errors.Is(msg.Err, resolver.ErrNotFound)
	if !answered && !errors.Is(msg.Err, resolver.ErrTrackersUnreachable) && !errors.Is(msg.Err, resolver.ErrNoTrackers) {
		return // the error does not say whether trackers answer
	}
	for _, h := range x.devices.holds {
		h.lookedUp(msg.Found, answered, time.Now())
	}
	x.decideDevices(c)
}

// knownNodeMet notes that a session with a known node has opened, or has given a sign of
// life.
func (x *contact) knownNodeMet() {
	for _, h := range x.devices.holds {
		if h.node != x.liveNode {
			h.met()
		}
	}
}

// knownNodeMissed notes that no known node could be reached.
func (x *contact) knownNodeMissed(c *kernel.Context) {
	if !x.deps.Network.Up() {
		return
	}
	for _, h := range x.devices.holds {
		h.missed()
	}
	x.decideDevices(c)
}

// decideDevices applies the rules to each held node.
func (x *contact) decideDevices(c *kernel.Context) {
	now := time.Now()
	for _, h := range slices.Clone(x.devices.holds) {
		switch h.decide(now) {
		case holdOn:
		case holdAccept:
			x.acceptDevice(c, h, false)
		case holdAcceptUnconfirmed:
			c.Log().Warn("new device accepted on the word of its handshake alone", "node", h.node.Short())
			x.acceptDevice(c, h, true)
		case holdRefuse:
			x.refuseDevice(c, h, now)
		}
	}
	x.deps.Table.held.set(x.Conversation, x.devices.status())
}

// acceptDevice ends a hold: the node is one of the contact's from now on. If its stream
// is still open it becomes the session, else the node is dialled, so that its app sends
// its messages again.
func (x *contact) acceptDevice(c *kernel.Context, h *deviceHold, unconfirmed bool) {
	x.devices.remove(h)
	g := h.generation
	x.addKnownNode(h.node, g)
	c.Tell(x.deps.Writer, store.Write{Op: store.RecordNodeKey{
		Account: x.Account, Contact: x.Contact(), Key: h.node, Generation: uint8(g), Time: x.deps.nowMillis(), Unconfirmed: unconfirmed,
	}})
	x.deps.Keys.KnowStranger(h.node)
	if h.stream != nil {
		x.onInbound(c, session.Inbound{Account: x.Account, Contact: x.Contact(), Stream: h.stream})
		return
	}
	x.devices.dialFirst = h.node
	if !x.live.IsZero() {
		c.Tell(x.live, session.Probe{Yield: true}) // a quiet session with another device ends
		return
	}
	x.stopRetry()
	x.deliver(c)
}

// refuseDevice ends a hold with an alarm. The node is accepted when a tracker names it
// after all, and held anew after holdAgain.
func (x *contact) refuseDevice(c *kernel.Context, h *deviceHold, now time.Time) {
	h.refused, h.since = now, now
	if h.stream != nil {
		h.stream.Drop()
		h.stream = nil
	}
	if !x.deps.Table.suspicions.note(SuspicionDevice, x.Conversation, h.node, false, now) {
		return
	}
	c.Log().Error("device refused: no tracker names it and a known device answers", "node", h.node.Short())
	c.Tell(x.deps.Writer, store.Write{Op: store.NoteDeviceRefused{Account: x.Account, Contact: x.Contact(), Node: h.node}})
}

// devicesRead compares the holds with the contact's row, which was just read: our user
// may have trusted a device, or blocked or removed the contact.
func (x *contact) devicesRead(c *kernel.Context) {
	if !x.allowed() {
		x.dropDevices()
		return
	}
	inRow := func(node identity.NodeKey) bool {
		return slices.ContainsFunc(x.record.NodeKeys, func(n store.KnownNode) bool { return n.Key == node })
	}
	x.devices.accepted = slices.DeleteFunc(x.devices.accepted, func(n store.KnownNode) bool { return inRow(n.Key) })
	for _, h := range slices.Clone(x.devices.holds) {
		if inRow(h.node) {
			x.acceptDevice(c, h, false)
		}
	}
}

// dropDevices ends all holds.
func (x *contact) dropDevices() {
	for _, h := range x.devices.holds {
		if h.stream != nil {
			h.stream.Drop()
		}
	}
	x.devices = devices{timerRuns: x.devices.timerRuns}
	x.deps.Table.held.set(x.Conversation, nil)
}

func (d *devices) hold(node identity.NodeKey) *deviceHold {
	for _, h := range d.holds {
		if h.node == node {
			return h
		}
	}
	return nil
}

func (d *devices) add(h *deviceHold) {
	if len(d.holds) >= maxHolds {
		if s := d.holds[0].stream; s != nil {
			s.Drop()
		}
		d.holds = slices.Delete(d.holds, 0, 1)
	}
	d.holds = append(d.holds, h)
}

func (d *devices) remove(h *deviceHold) {
	d.holds = slices.DeleteFunc(d.holds, func(o *deviceHold) bool { return o == h })
}

// undecided reports whether a node is held that was not refused.
func (d *devices) undecided() bool {
	return slices.ContainsFunc(d.holds, func(h *deviceHold) bool { return h.refused.IsZero() })
}

// wantSession reports whether a session would help: with a known node, to see whether
// it answers, or with a node that was just accepted.
func (d *devices) wantSession() bool { return d.undecided() || !d.dialFirst.IsZero() }

// status returns the nodes that are held or refused.
func (d *devices) status() []HeldDevice {
	var all []HeldDevice
	for _, h := range d.holds {
		all = append(all, HeldDevice{Node: h.node, Since: h.since, Refused: !h.refused.IsZero()})
	}
	return all
}
