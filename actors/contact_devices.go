// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/resolver"
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
// deviceHold is what is known of one such node. It is pure: the contact actor tells
// it what happens and does what decide says. Nothing of it is stored: after a restart
// the next stream from such a node begins a new hold.
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

// devices are the held nodes of one contact, the oldest first.
type devices struct {
	holds []*deviceHold
	// taken are nodes that count as the contact's and that its row, as it was read last,
	// does not name yet; the latest first.
	taken []store.KnownNode
	// prefer is a node that was taken and is to be dialled: its app offers what it
	// could not say. Zero when there is none.
	prefer identity.NodeKey
	// looking says that the timer runs.
	looking bool
}

type (
	// holdDue looks at the held nodes.
	holdDue struct{}
	// holdStreamOver: the app at the other end will not wait for an answer any longer.
	holdStreamOver struct{ stream *handover }
)

// holdsDevice reports whether a stream is not answered for now, because nothing
// but the handshake speaks for the node that it comes from.
func (x *contact) holdsDevice(c *kernel.Context, msg inbound) bool {
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
		x.lookAtDevices(c)
	case !h.refused.IsZero() && now.Sub(h.refused) >= holdAgain:
		*h = deviceHold{node: node, since: now}
		x.lookAtDevices(c)
	case !h.refused.IsZero() && now.Sub(h.since) >= holdAsk:
		h.since = now
		x.askForDevices(c)
	}
	if h.stream != nil {
		h.stream.drop()
	}
	h.stream = msg.Stream
	c.After(holdTime, holdStreamOver{msg.Stream})
	x.deps.Table.held.set(x.Conversation, x.devices.waiting())
	return true
}

// isNewDevice reports whether an accepted contact that is known by its nodes has
// never authenticated from this one, and nothing we have at hand speaks for it.
func (x *contact) isNewDevice(node identity.NodeKey, g generation) bool {
	known := x.knownNodes()
	switch {
	case !x.allowed() || len(known) == 0,
		slices.ContainsFunc(known, func(n store.KnownNode) bool { return n.Key == node }),
		node == identity.NodeKey(x.Contact()), // nobody else has that node key
		changesNodes(known, g):
		return false
	}
	named, err := x.deps.Store.Addresses(x.Contact())
	if err != nil {
		return true // a cache that cannot be read names nobody
	}
	now := x.deps.nowMillis()
	return !slices.ContainsFunc(named, func(a store.Address) bool { return a.Node == node && a.Expires > now })
}

// knownNodes are the nodes from which the contact was met, the latest first.
func (x *contact) knownNodes() []store.KnownNode {
	return append(slices.Clone(x.devices.taken), x.record.NodeKeys...)
}

// countDevice makes a node one of the contact's, before the store has noted it.
func (x *contact) countDevice(node identity.NodeKey, g generation) {
	x.devices.taken = slices.DeleteFunc(x.devices.taken, func(n store.KnownNode) bool { return n.Key == node })
	x.devices.taken = slices.Insert(x.devices.taken, 0, store.KnownNode{Key: node, Generation: uint8(g)})
	x.devices.taken = x.devices.taken[:min(len(x.devices.taken), maxHolds)]
}

// lookAtDevices asks trackers and known nodes, and again until everything is
// decided.
func (x *contact) lookAtDevices(c *kernel.Context) {
	x.askForDevices(c)
	if !x.live.IsZero() {
		c.Tell(x.live, probe{}) // sessionAlive follows, or the session's end
	} else {
		if x.waiting && time.Since(x.failed) >= holdLook {
			x.stopRetry()
		}
		x.deliver(c)
	}
	if !x.devices.looking {
		x.devices.looking = true
		c.After(holdLook, holdDue{})
	}
}

func (x *contact) askForDevices(c *kernel.Context) {
	c.Ask(x.deps.Resolver, resolver.Lookup{Identity: x.Contact(), Fresh: true}, lookupPatience)
}

func (x *contact) onHoldDue(c *kernel.Context) {
	x.devices.looking = false
	x.decideDevices(c)
	if x.devices.undecided() {
		x.lookAtDevices(c)
	}
}

func (x *contact) onHoldStreamOver(msg holdStreamOver) {
	for _, h := range x.devices.holds {
		if h.stream == msg.stream {
			h.stream.drop()
			h.stream = nil
		}
	}
}

// devicesLookedUp is what trackers have said, whoever has asked.
func (x *contact) devicesLookedUp(c *kernel.Context, msg resolver.Addresses) {
	if len(x.devices.holds) == 0 {
		return
	}
	if msg.Cached {
		return // isNewDevice has looked there
	}
	answered := msg.Err == nil || errors.Is(msg.Err, resolver.ErrNotFound)
	if !answered && !errors.Is(msg.Err, resolver.ErrTrackersSilent) && !errors.Is(msg.Err, resolver.ErrNoTrackers) {
		return // says nothing about trackers
	}
	for _, h := range x.devices.holds {
		h.lookedUp(msg.Found, answered, time.Now())
	}
	x.decideDevices(c)
}

// knownNodeMet: a session with a known node lives, or has given a sign of life.
func (x *contact) knownNodeMet() {
	for _, h := range x.devices.holds {
		if h.node != x.liveNode {
			h.met()
		}
	}
}

// knownNodeMissed: no known node could be reached.
func (x *contact) knownNodeMissed(c *kernel.Context) {
	if !x.deps.Network.Up() {
		return
	}
	for _, h := range x.devices.holds {
		h.missed()
	}
	x.decideDevices(c)
}

// decideDevices does what the rules say about each held node.
func (x *contact) decideDevices(c *kernel.Context) {
	now := time.Now()
	for _, h := range slices.Clone(x.devices.holds) {
		switch h.decide(now) {
		case holdOn:
		case holdTake:
			x.takeDevice(c, h, false)
		case holdTakeUnconfirmed:
			c.Log().Warn("accepting a new device of a contact that nothing but the handshake speaks for", "node", h.node.Short())
			x.takeDevice(c, h, true)
		case holdRefuse:
			x.refuseDevice(c, h, now)
		}
	}
	x.deps.Table.held.set(x.Conversation, x.devices.waiting())
}

// takeDevice ends a hold: the node is one of the contact's from now on. When its
// stream is still here it goes on; else the node is dialled, so that its app offers
// what it could not say.
func (x *contact) takeDevice(c *kernel.Context, h *deviceHold, unconfirmed bool) {
	x.devices.remove(h)
	g := gen3
	if h.stream != nil {
		g = h.stream.Generation()
	}
	x.countDevice(h.node, g)
	c.Tell(x.deps.Writer, store.Write{Op: store.RecordNodeKey{
		Account: x.Account, Contact: x.Contact(), Key: h.node, Generation: uint8(g), Time: x.deps.nowMillis(), Unconfirmed: unconfirmed,
	}})
	x.deps.Keys.KnowStranger(h.node)
	if h.stream != nil {
		x.onInbound(c, inbound{Account: x.Account, Contact: x.Contact(), Stream: h.stream})
		return
	}
	x.devices.prefer = h.node
	if !x.live.IsZero() {
		c.Tell(x.live, probe{Yield: true}) // what is live with another device makes room when it is quiet
		return
	}
	x.stopRetry()
	x.deliver(c)
}

// refuseDevice ends a hold with an alarm. The node is looked at anew when a tracker
// names it after all, or after a while.
func (x *contact) refuseDevice(c *kernel.Context, h *deviceHold, now time.Time) {
	h.refused, h.since = now, now
	if h.stream != nil {
		h.stream.drop()
		h.stream = nil
	}
	if !x.deps.Table.suspicions.note(SuspicionDevice, x.Conversation, h.node, false, now) {
		return
	}
	c.Log().Error("refused a device that authenticated as a contact: no tracker names it, and a known device answers", "node", h.node.Short())
	c.Tell(x.deps.Writer, store.Write{Op: store.NoteDeviceRefused{Account: x.Account, Contact: x.Contact(), Node: h.node}})
}

// devicesLooked compares with the contact's row, which was just read: our user may
// have let a device in, or have nothing to do with the contact any more.
func (x *contact) devicesLooked(c *kernel.Context) {
	if !x.allowed() {
		x.dropDevices()
		return
	}
	inRow := func(node identity.NodeKey) bool {
		return slices.ContainsFunc(x.record.NodeKeys, func(n store.KnownNode) bool { return n.Key == node })
	}
	x.devices.taken = slices.DeleteFunc(x.devices.taken, func(n store.KnownNode) bool { return inRow(n.Key) })
	for _, h := range slices.Clone(x.devices.holds) {
		if inRow(h.node) {
			x.takeDevice(c, h, false)
		}
	}
}

// dropDevices forgets what is held.
func (x *contact) dropDevices() {
	for _, h := range x.devices.holds {
		if h.stream != nil {
			h.stream.drop()
		}
	}
	x.devices = devices{looking: x.devices.looking}
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
			s.drop()
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

// wantSession reports whether a session would help: with a known node, to see
// whether it answers, or with a node that was just taken.
func (d *devices) wantSession() bool { return d.undecided() || !d.prefer.IsZero() }

// waiting are the nodes that are held, for the status.
func (d *devices) waiting() []HeldDevice {
	var all []HeldDevice
	for _, h := range d.holds {
		all = append(all, HeldDevice{Node: h.node, Since: h.since, Refused: !h.refused.IsZero()})
	}
	return all
}
