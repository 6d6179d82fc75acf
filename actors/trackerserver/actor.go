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

const collectEvery = time.Minute

type collectExpired struct{}

// actor is the tracker role: it answers who asks where an identity is, and
// remembers who says where it is. What it knows is gone after a restart; devices
// say it again within 16 minutes.
type actor struct {
	deps Deps
	opts Options
	net  uplink.Network

	mu        sync.Mutex
	table     *nodeTable
	addresses *addressTable // of generation 1
	// recent is when identities were passed on last.
	recent map[identity.PublicKey]time.Time

	lines []*syncLine
}

// Options configures the tracker role, which has a node key and a network
// of its own: a tracker and a tracker's client both listen on port 69.
type Options struct {
	// OpenNetwork joins the overlay under the role's key.
	OpenNetwork func(key identity.NodePrivateKey) (uplink.Network, error)
	// MaxIdentities bounds the table. Default 100,000.
	MaxIdentities int
	// SyncWith are other trackers to share announcements with.
	SyncWith []Partner
}

// Deps is what the actor of [newTracker] uses.
type Deps struct {
	// Key is the node key of the role.
	Key identity.NodePrivateKey
	// Cell is set to the role's network while that runs.
	Cell *uplink.Cell
	// Log is for goroutines, Strangers for what strangers cause.
	Log       *slog.Logger
	Strangers *strangerlog.Log
}

// NewActor returns the actor of the tracker role.
func NewActor(deps Deps, opts Options) kernel.Actor {
	most := opts.MaxIdentities
	if most <= 0 {
		most = 100_000
	}
	t := &actor{
		deps: deps, opts: opts, table: newNodeTable(most), addresses: newAddressTable(most), recent: make(map[identity.PublicKey]time.Time),
	}
	for _, p := range opts.SyncWith {
		t.lines = append(t.lines, &syncLine{partner: p, queue: make(chan syncItem, syncQueue)})
	}
	return t
}

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
	if err := t.serveOld(c); err != nil {
		return err
	}
	if err := t.serveSync(c); err != nil {
		return err
	}
	c.Every(collectEvery, collectExpired{})
	c.Log().Info("Tracker is up", "address", tracker.Address{Node: t.deps.Key.Key(), Port: tracker.Port}.String())
	return nil
}

func (t *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case collectExpired:
		t.mu.Lock()
		t.table.collect(time.Now())
		t.addresses.collect(time.Now())
		t.collectRecent(time.Now())
		t.mu.Unlock()
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("tracker: %w", msg.Err))
	}
}

func (t *actor) Stopping(*kernel.Context) { t.deps.Cell.Clear() }

// serveOld answers apps of older generations, over the carriers that run.
func (t *actor) serveOld(c *kernel.Context) error {
	if carrier, ok := t.deps.Cell.Carrier(overlay.KindQUIC); ok {
		l, err := carrier.Listen(peer.Port) // which QUIC does not look at
		if err != nil {
			return fmt.Errorf("listen for generation 2: %w", err)
		}
		c.Go("serve_streams", func(ctx context.Context) error {
			defer func() { _ = l.Close() }()
			return t.serveStreams(ctx, l)
		})
	}
	if tcp, ok := t.deps.Cell.TCP(); ok {
		port, err := tcp.ListenPacket(tracker.Port1)
		if err != nil {
			return fmt.Errorf("listen for generation 1: %w", err)
		}
		c.Go("serve_packets", func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { _ = port.Close() })
			defer stop()
			return t.servePackets(port)
		})
	}
	return nil
}

// serveSync takes part in the sync with other trackers, when there are partners.
func (t *actor) serveSync(c *kernel.Context) error {
	if len(t.lines) == 0 {
		return nil
	}
	listener, err := t.net.Stream().Listen(tracker.Port)
	if err != nil {
		return fmt.Errorf("listen for other trackers: %w", err)
	}
	c.Go("sync_accept", func(ctx context.Context) error {
		defer func() { _ = listener.Close() }()
		return t.acceptLines(ctx, listener)
	})
	for _, l := range t.lines {
		c.Go("sync_"+l.partner.Node.Short(), func(ctx context.Context) error { return t.keepLine(ctx, l) })
	}
	return nil
}

// serve answers one datagram after the other. The overlay bounds how many wait
// and how many one node may send.
func (t *actor) serve(ctx context.Context, port overlay.Datagrams) error {
	for {
		from, payload, err := port.Receive(ctx)
		if err != nil {
			return err
		}
		if reply := t.answer(from, payload, time.Now()); reply != nil {
			// A tracker answers to port 69 whatever port the question came from. What
			// cannot be sent is asked for again.
			_ = port.Send(from, tracker.Port, reply)
		}
	}
}

// answer returns the datagram to send, nil for none: what is malformed or not
// signed gets no answer.
func (t *actor) answer(from identity.NodeKey, payload []byte, now time.Time) []byte {
	request, err := tracker.ParseRequest(payload)
	if err != nil {
		// For some weeks apps sent version 1 in this way.
		if old, err := tracker.ParseRequest1(payload, tracker.LayoutNode); err == nil {
			reply, _ := t.answerOld(announcer(from), old, tracker.LayoutNode, now)
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
		return tracker.LookupReply{Nonce: q.Nonce, Records: t.table.lookup(q.Identity, now)}.AppendTo(nil)
	case tracker.Announce:
		if q.Record.Verify(q.Identity) != nil {
			return nil
		}
		t.mu.Lock()
		ttl, ok := t.table.announceFrom(from, q.Identity, q.Record, now)
		if ok {
			t.announced(q.Identity, now)
		}
		t.mu.Unlock()
		if !ok {
			t.deps.Strangers.Warn("announcement refused: no place for the identity", "component", "tracker", "node", from.Short())
			return nil
		}
		return tracker.AnnounceReply{Nonce: q.Nonce, TTLSeconds: uint64(ttl / time.Second)}.AppendTo(nil)
	}
	return nil
}
