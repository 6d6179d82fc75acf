// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// How a contact is reached: which nodes to dial, in which order, and when to retry.

const (
	// firstRetry doubles with every failed attempt, up to lastRetry, which is the
	// apps' own interval. Each pause is shortened at random by up to half, so that both
	// sides do not dial at the same time again and again.
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
	// dialPatience is the time to answer of a node that a tracker named.
	dialPatience = 10 * time.Second
	// guessTime is the time to answer of a node that no tracker named: meanwhile a
	// tracker may have learned more.
	guessTime = 3 * time.Second
	// maxCandidates bounds the nodes of one attempt.
	maxCandidates = 8
	// lookupPatience is how long an attempt waits for the resolver, which waits less for
	// each tracker. Then the attempt continues with the known nodes.
	lookupPatience = 30 * time.Second
)

// connect begins an attempt to reach the contact, unless one is under way.
func (x *contact) connect(c *kernel.Context) {
	if !x.deps.Network.Up() || x.retryPending || x.resolving || !x.crossing.mayDial() {
		return
	}
	x.resolving = true
	// The first attempt may use the resolver's cache.
	c.Ask(x.deps.Resolver, resolver.Lookup{Identity: x.Contact(), Fresh: x.attempts > 0}, lookupPatience)
}

// onUnanswered continues without the resolver, which has failed or takes too long.
func (x *contact) onUnanswered(c *kernel.Context, msg kernel.Unanswered) {
	if q, ok := msg.Question.(resolver.Lookup); ok {
		c.Log().Warn("lookup not answered", "err", msg.Err)
		x.onAddresses(c, resolver.Addresses{Identity: q.Identity, Err: fmt.Errorf("look up the contact: %w", msg.Err)})
	}
}

// onAddresses dials.
func (x *contact) onAddresses(c *kernel.Context, msg resolver.Addresses) {
	x.devicesLookedUp(c, msg)
	if !x.resolving {
		return
	}
	x.resolving = false
	if !x.crossing.mayDial() || !x.deps.Network.Up() {
		return
	}
	nodes := x.candidates(msg.Found)
	x.devices.knownWaits = false
	if len(nodes) == 0 {
		c.Log().Debug("contact not found", "err", msg.Err)
		x.onAttemptFailed(c, msg.Err)
		return
	}
	candidates := nodes
	nodes, wait := x.inTurn(c, nodes)
	x.devices.knownWaits = anyWaits(x.knownNodes(), candidates, nodes)
	if len(nodes) == 0 {
		x.waitForTurn(c, wait)
		return
	}
	start := session.Start{Dial: nodes, Patience: dialPatience, Allowed: x.allowed()}
	if len(msg.Found) == 0 {
		start.Patience = guessTime
	}
	start.Known, start.SubnetAddrs = make(map[identity.NodeKey]session.Generation), make(map[identity.NodeKey]netip.Addr)
	for _, n := range x.record.NodeKeys {
		start.Known[n.Key] = session.Generation(n.Generation)
		if device := n.SubnetAddr.Addr(); device.IsValid() {
			start.SubnetAddrs[n.Key] = device
		}
	}
	for _, a := range msg.Found {
		if device := a.SubnetAddr.Addr(); device.IsValid() { // newer than the stored one
			start.SubnetAddrs[a.Node] = device
		}
	}
	session, err := c.Spawn(x.sessionSpec(start))
	if err != nil {
		c.Fail(fmt.Errorf("start session: %w", err))
	}
	x.dialling = session
	x.crossing.dialStarted()
}

// candidates ranks where the contact may be: at the first attempt the node of the
// last session, which is better evidence than a tracker's; then the nodes that have
// authenticated as the contact, latest first, when a tracker still names them;
// then the other nodes that trackers name, by priority; then nodes that have
// authenticated once. When there are none and a fresh lookup found nothing, it is the
// identity key itself, which a simple device uses as its node key.
func (x *contact) candidates(found []store.Address) []identity.NodeKey {
	lastAuth := make(map[identity.NodeKey]store.Millis)
	for _, n := range x.record.NodeKeys {
		lastAuth[n.Key] = n.LastAuth
	}
	found = slices.Clone(found)
	slices.SortStableFunc(found, func(a, b store.Address) int {
		return cmp.Or(
			cmp.Compare(lastAuth[b.Node], lastAuth[a.Node]),
			cmp.Compare(b.Priority, a.Priority),
		)
	})
	var nodes []identity.NodeKey
	add := func(n identity.NodeKey) {
		if !slices.Contains(nodes, n) && n != x.deps.Keys.RoleKey(keyring.RoleNode) {
			nodes = append(nodes, n)
		}
	}
	if !x.devices.dialFirst.IsZero() {
		add(x.devices.dialFirst)
	}
	if x.attempts == 0 && !x.liveNode.IsZero() {
		add(x.liveNode)
	}
	for _, a := range found {
		add(a.Node)
	}
	for _, n := range x.record.NodeKeys {
		add(n.Key)
	}
	if len(nodes) == 0 && x.attempts > 0 {
		add(identity.NodeKey(x.Contact()))
	}
	return nodes[:min(len(nodes), maxCandidates)]
}

func (x *contact) onAttemptFailed(c *kernel.Context, reason error) {
	x.attempts++
	x.failedAt = time.Now()
	x.wantRedial, x.wantTurn = false, false // from now on the contact has to dial
	x.devices.dialFirst = identity.NodeKey{}
	if !x.devices.knownWaits {
		x.knownNodeMissed(c)
	}
	x.showPresence(reason)
	x.retryAfter(c, x.pause(reason))
}

// pause is how long to wait after a failed attempt.
func (x *contact) pause(reason error) time.Duration {
	d := kernel.Backoff{Min: firstRetry, Max: lastRetry}.Delay(x.attempts - 1)
	// A silenced node is not dialled earlier.
	if silenced, ok := errors.AsType[*overlay.SilencedError](reason); ok {
		d = max(d, silenced.Remaining)
	}
	return d
}

func (x *contact) retryAfter(c *kernel.Context, d time.Duration) {
	x.stopRetry()
	x.retryPending = true
	x.retry = c.After(d, retryDue{})
	x.deps.Table.presence.update(x.Conversation, func(p *Presence) { p.NextAttempt = time.Now().Add(d) })
}

func (x *contact) stopRetry() {
	x.retry.Stop()
	x.retryOver()
}

// retryOver notes that no attempt is planned: one is under way, or none is needed. The
// status must not show a time in the past as that of the next attempt.
func (x *contact) retryOver() {
	x.retryPending = false
	x.deps.Table.presence.update(x.Conversation, func(p *Presence) { p.NextAttempt = time.Time{} })
}

// onOverlayChanged shortens the pause when the network is back.
func (x *contact) onOverlayChanged(c *kernel.Context, msg uplink.Changed) {
	if !msg.Up {
		return
	}
	x.attempts = 0
	if x.retryPending {
		x.retryAfter(c, kernel.Jitter(firstRetry))
		return
	}
	x.deliver(c)
}
