// SPDX-License-Identifier: MPL-2.0

// Package trackerserver is the role of a tracker: it answers where identities can be
// reached, in versions 2 and 1 of the protocol, remembers what their devices announce,
// and shares it with other trackers. It owns a network under a key of its own. The node
// starts its actor and sees its network in a [uplink.Cell]. It has nothing on the disk,
// and imports no other part of the node.
package trackerserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/tracker"
)

// expireEvery is how often expired records are removed. Lookups do not return them
// before that either.
const expireEvery = time.Minute

type expireRecords struct{}

// Options configures the tracker role, which has a node key and a network of its own: a
// tracker and a client of trackers both listen on port 69.
type Options struct {
	// OpenNetwork joins the overlay under the role's key. It is called at every start of
	// the actor, also after a failure, and must not block on the network.
	OpenNetwork func(key identity.NodePrivateKey) (uplink.Network, error)
	// MaxIdentities bounds the identities of each version. Default 100,000.
	MaxIdentities int
	// SyncWith are other trackers to share announcements with.
	SyncWith []Partner
}

// Deps is what the actor of [NewActor] uses.
type Deps struct {
	// Key is the node key of the role.
	Key identity.NodePrivateKey
	// Cell is set to the role's network while that runs.
	Cell *uplink.Cell
	// Log is for goroutines, Strangers for what strangers cause.
	Log       *slog.Logger
	Strangers *strangerlog.Log
}

// actor is the tracker role. What it knows is gone after a restart; devices announce it
// again within 16 minutes.
type actor struct {
	deps Deps
	opts Options
	net  uplink.Network

	mu        sync.Mutex
	nodes     *nodeTable
	addresses *addressTable // of gen1
	// forwardedAt is when an identity was forwarded last.
	forwardedAt map[identity.PublicKey]time.Time

	links []*syncLink
}

// NewActor returns the actor of the tracker role.
func NewActor(deps Deps, opts Options) kernel.Actor {
	most := opts.MaxIdentities
	if most <= 0 {
		most = 100_000
	}
	t := &actor{
		deps: deps, opts: opts, nodes: newNodeTable(most), addresses: newAddressTable(most),
		forwardedAt: make(map[identity.PublicKey]time.Time),
	}
	for _, p := range opts.SyncWith {
		t.links = append(t.links, &syncLink{partner: p, queue: make(chan syncItem, syncQueue)})
	}
	return t
}

// Started implements [kernel.Starter].
func (t *actor) Started(c *kernel.Context) error {
	net, err := t.opts.OpenNetwork(t.deps.Key)
	if err != nil {
		return fmt.Errorf("join the overlay as a tracker: %w", err)
	}
	port, err := net.Stream().ListenDatagrams(tracker.Port)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on port %d: %w", tracker.Port, err), net.Close())
	}
	t.net = net
	t.deps.Cell.Set(net)
	c.Go("serve", func(ctx context.Context) error {
		// Closing waits for the network's own goroutines, so it is done here and not
		// in a turn.
		defer func() { _ = net.Close() }()
		return t.serve(ctx, port)
	})
	if err := t.startV1(c); err != nil {
		return err
	}
	if err := t.startSync(c); err != nil {
		return err
	}
	c.Every(expireEvery, expireRecords{})
	c.Log().Info("tracker started", "address", tracker.Address{Node: t.deps.Key.Key(), Port: tracker.Port}.String())
	return nil
}

// Receive implements [kernel.Actor].
func (t *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case expireRecords:
		t.onExpireRecords()
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("tracker: %w", msg.Err))
	}
}

// Stopping implements [kernel.Stopper].
func (t *actor) Stopping(*kernel.Context) { t.deps.Cell.Clear() }

func (t *actor) onExpireRecords() {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes.expire(now)
	t.addresses.expire(now)
	for id, at := range t.forwardedAt {
		if now.Sub(at) >= syncRecent {
			delete(t.forwardedAt, id)
		}
	}
}

// startV1 serves version 1, over the carriers that run.
func (t *actor) startV1(c *kernel.Context) error {
	if carrier, ok := t.deps.Cell.Carrier(overlay.KindQUIC); ok {
		l, err := carrier.Listen(peer.Port) // QUIC has no ports
		if err != nil {
			return fmt.Errorf("listen for gen2: %w", err)
		}
		c.Go("serve_streams", func(ctx context.Context) error {
			defer func() { _ = l.Close() }()
			return t.serveStreams(ctx, l)
		})
	}
	if tcp, ok := t.deps.Cell.TCP(); ok {
		port, err := tcp.ListenPacket(tracker.Port1)
		if err != nil {
			return fmt.Errorf("listen for gen1: %w", err)
		}
		c.Go("serve_packets", func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { _ = port.Close() })
			defer stop()
			return t.servePackets(port)
		})
	}
	return nil
}

// serve answers one datagram after the other. The overlay bounds the queue and the
// datagrams of one node.
func (t *actor) serve(ctx context.Context, port overlay.Datagrams) error {
	for {
		from, payload, err := port.Receive(ctx)
		if err != nil {
			return err
		}
		if reply := t.answer(from, payload, time.Now()); reply != nil {
			// A tracker answers to port 69, from whatever port the request came. When the
			// answer is lost, the client asks again.
			_ = port.Send(from, tracker.Port, reply)
		}
	}
}

// answer returns the datagram to send; nil when the request is malformed or its signature
// is wrong.
func (t *actor) answer(from identity.NodeKey, payload []byte, now time.Time) []byte {
	request, err := tracker.ParseRequest(payload)
	if err != nil {
		// For some weeks apps sent version 1 in this way.
		if v1, err := tracker.ParseRequest1(payload, tracker.LayoutNode); err == nil {
			reply, _ := t.answerV1(announcer(from), v1, tracker.LayoutNode, now)
			return reply
		}
		return nil
	}
	switch q := request.(type) {
	case tracker.Ping:
		return tracker.PingReply(q).AppendTo(nil)
	case tracker.Lookup:
		t.mu.Lock()
		defer t.mu.Unlock()
		return tracker.LookupReply{Nonce: q.Nonce, Records: t.nodes.lookup(q.Identity, now)}.AppendTo(nil)
	case tracker.Announce:
		if q.Record.Verify(q.Identity) != nil {
			return nil
		}
		ttl, ok := t.announce(from, q.Identity, q.Record, now)
		if !ok {
			return nil
		}
		return tracker.AnnounceReply{Nonce: q.Nonce, TTLSeconds: uint64(ttl / time.Second)}.AppendTo(nil)
	}
	return nil
}

// announce stores a record that a node has announced, whose signature has been verified,
// and forwards it. It returns false when the table refuses it.
func (t *actor) announce(from identity.NodeKey, id identity.PublicKey, r tracker.Record, now time.Time) (ttl time.Duration, ok bool) {
	t.mu.Lock()
	ttl, ok = t.nodes.announce(from, id, r, now)
	if ok {
		t.forward(syncItem{id, t.nodes.records[id][0], tracker.FirstHop}, nil, now)
	}
	t.mu.Unlock()
	if !ok {
		t.refused(from.Short())
	}
	return ttl, ok
}

// refused logs that a table refuses an announcement.
func (t *actor) refused(from string) {
	t.deps.Strangers.Warn("announcement refused: table is full", "component", "tracker", "node", from)
}
