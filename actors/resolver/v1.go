// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/tracker"
)

// The resolver's client of trackers of version 1. They do not share what they know, or not
// reliably, so it asks all of them, and announces to all.

const (
	taskLookupV1   = "lookup_v1"
	taskAnnounceV1 = "announce_v1"
	// lookupTimeV1 bounds a lookup at all of them together, as in the apps;
	// announceTimeV1 an announcement to one.
	lookupTimeV1   = 3 * time.Second
	announceTimeV1 = 8 * time.Second
	// announceEveryV1 is less than the four minutes after which a new record expires.
	announceEveryV1 = 3 * time.Minute
	// replyBufferV1 is the size of the buffer that a reply is read through.
	replyBufferV1 = 4 << 10
	// resendV1 is when a datagram is sent again.
	resendV1 = 500 * time.Millisecond
	// priorityV1 is what the apps announce.
	priorityV1 = 3
)

// TrackerV1 is a tracker of version 1: one of gen1 by its address, or one of gen2 by its
// node key.
type TrackerV1 struct {
	Address netip.AddrPort
	Node    identity.NodeKey
}

// ParseTrackerV1 reads "<64 hex digits>", or "[<IPv6 address>]:<port>".
func ParseTrackerV1(s string) (TrackerV1, error) {
	if node, err := identity.ParseNodeKey(s); err == nil {
		return TrackerV1{Node: node}, nil
	}
	address, err := netip.ParseAddrPort(s)
	if err != nil {
		return TrackerV1{}, errors.New("want 64 hex digits for a tracker of gen2, [<IPv6 address>]:5050 for one of gen1")
	}
	if !overlay.IsYggdrasil(address.Addr()) {
		return TrackerV1{}, fmt.Errorf("address: %w", overlay.ErrBadAddress)
	}
	return TrackerV1{Address: address}, nil
}

// String is the form that ParseTrackerV1 reads.
func (t TrackerV1) String() string {
	if t.Node.IsZero() {
		return t.Address.String()
	}
	return t.Node.String()
}

// TrackerV1Status is how one tracker of version 1 answers.
type TrackerV1Status struct {
	Tracker TrackerV1
	// LastAnswer is zero when it has never answered.
	LastAnswer time.Time
	// Err says why it did not answer the last request; nil when it did, or when there was
	// none yet.
	Err error
}

// TrackersV1 are the trackers of version 1 and how they answer. It is safe for concurrent
// use.
type TrackersV1 struct {
	all []TrackerV1

	mu    sync.Mutex
	state []TrackerV1Status // in the order of all
}

// NewTrackersV1 returns trackers that were not asked yet.
func NewTrackersV1(all []TrackerV1) *TrackersV1 {
	t := &TrackersV1{all: all}
	for _, tracker := range all {
		t.state = append(t.state, TrackerV1Status{Tracker: tracker})
	}
	return t
}

func (t *TrackersV1) none() bool { return len(t.all) == 0 }

// note records how the last request to a tracker ended.
func (t *TrackersV1) note(tracker TrackerV1, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.state {
		if s := &t.state[i]; s.Tracker == tracker {
			if s.Err = err; err == nil {
				s.LastAnswer = time.Now()
			}
		}
	}
}

// Status returns how the trackers answer, in the order of the configuration.
func (t *TrackersV1) Status() []TrackerV1Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.state)
}

type (
	announceDueV1 struct{}
	// foundV1 has the records that trackers of version 1 gave for an identity.
	foundV1 struct {
		identity identity.PublicKey
		records  []tracker.Record
		// subnetAddrs has the addresses of devices that lie behind a node.
		subnetAddrs map[identity.NodeKey]netip.Addr
	}
)

// askV1 looks an identity up at the trackers of version 1, if there are any; foundV1
// follows.
func (r *resolver) askV1(c *kernel.Context, id identity.PublicKey) bool {
	if r.deps.V1.none() {
		return false
	}
	client, inbox := clientV1{r.deps}, c.Inbox()
	c.Go(taskLookupV1, func(ctx context.Context) error {
		found := foundV1{identity: id}
		defer func() { inbox.Tell(found) }() // also after a panic: the lookup waits for it
		found = client.lookup(ctx, id)
		return nil
	})
	return true
}

func (r *resolver) onFoundV1(c *kernel.Context, msg foundV1) {
	if l := r.lookups[msg.identity]; l != nil {
		l.subnetAddrs = msg.subnetAddrs
	}
	if len(msg.records) > 0 {
		r.onAnswer(c, msg.identity, msg.records)
		return
	}
	// An empty answer does not count as one: they know few identities.
	if l := r.lookups[msg.identity]; l != nil {
		if l.asked--; l.asked == 0 {
			r.finishLookup(c, msg.identity)
		}
	}
}

// announceV1 announces all accounts to all trackers of version 1.
func (r *resolver) announceV1(c *kernel.Context) {
	if r.announcingV1 || r.deps.V1.none() || !r.deps.Network.Up() {
		return
	}
	r.announcingV1 = true
	client, accounts := clientV1{r.deps}, make([]identity.PublicKey, 0, len(r.accounts))
	for id := range r.accounts {
		accounts = append(accounts, id)
	}
	c.Go(taskAnnounceV1, func(ctx context.Context) error {
		client.announce(ctx, accounts)
		return nil
	})
}

// clientV1 sends requests to trackers of version 1. Its methods block and run in tasks.
type clientV1 struct{ deps Deps }

// lookup asks all trackers at once and merges their records.
func (o clientV1) lookup(ctx context.Context, id identity.PublicKey) foundV1 {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeV1)
	defer cancel()
	var mu sync.Mutex
	found := foundV1{identity: id, subnetAddrs: make(map[identity.NodeKey]netip.Addr)}
	var asking sync.WaitGroup
	for _, t := range o.deps.V1.all {
		asking.Go(func() {
			var reply tracker.Reply1
			err := o.deps.Strangers.Protect("tracker client", func() (err error) {
				reply, err = o.ask(ctx, t, tracker.Request1{Command: tracker.CommandLookup, Identity: id})
				return err
			})
			if err != nil {
				o.deps.Log.Debug("tracker does not answer", "component", "resolver", "server", t.String(), "err", err)
				return
			}
			for _, record := range reply.Records {
				if node, ok := o.locate(ctx, record); ok {
					record.Node, record.Priority = node, 0 // after the records of other trackers
					mu.Lock()
					found.records = append(found.records, record.V2())
					if device := record.Address.Addr(); overlay.IsBehind(device) {
						found.subnetAddrs[node] = device
					}
					mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
	return found
}

// locate finds the node of a record, or the one that its device lies behind.
func (o clientV1) locate(ctx context.Context, r tracker.Record1) (identity.NodeKey, bool) {
	if r.Layout == tracker.LayoutNode {
		return r.Node, true
	}
	tcp, ok := o.deps.Network.TCP()
	if !ok || r.Address.Port() != legacy.Port {
		return identity.NodeKey{}, false
	}
	node, err := tcp.Resolve(ctx, r.Address.Addr())
	return node, err == nil
}

// announce announces the accounts to all trackers.
func (o clientV1) announce(ctx context.Context, accounts []identity.PublicKey) {
	var telling sync.WaitGroup
	defer telling.Wait()
	for _, t := range o.deps.V1.all {
		telling.Go(func() {
			for _, id := range accounts {
				err := o.deps.Strangers.Protect("tracker client", func() error { return o.announceTo(ctx, t, id) })
				if ctx.Err() != nil {
					return
				}
				o.deps.Log.Debug("account announced", "component", "resolver", "server", t.String(), "account", id.Short(), "err", err)
			}
		})
	}
}

func (o clientV1) announceTo(ctx context.Context, t TrackerV1, id identity.PublicKey) error {
	key, ok := o.deps.Keys.Account(id)
	if !ok {
		return keyring.ErrUnknownAccount
	}
	account, err := o.deps.Store.Account(id)
	if err != nil {
		return err
	}
	q := tracker.Request1{Command: tracker.CommandAnnounce, Identity: id}
	if t.Node.IsZero() {
		tcp, ok := o.deps.Network.TCP()
		if !ok {
			return overlay.ErrNoCarrier
		}
		own := tcp.Address()
		if !own.IsValid() {
			return overlay.ErrNoSystem
		}
		q.Record = tracker.NewAddressRecord(key, netip.AddrPortFrom(own, legacy.Port), priorityV1, account.ClientID)
	} else {
		q.Record = tracker.NewNodeRecord(key, o.deps.Keys.RoleKey(keyring.RoleNode), priorityV1, account.ClientID)
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeV1)
	defer cancel()
	_, err = o.ask(ctx, t, q)
	return err
}

// ask sends one request to one tracker.
func (o clientV1) ask(ctx context.Context, t TrackerV1, q tracker.Request1) (tracker.Reply1, error) {
	var err error
	if q.Nonce, err = tracker.DrawNonce(rand.Reader); err != nil {
		return tracker.Reply1{}, err
	}
	var reply tracker.Reply1
	if t.Node.IsZero() {
		reply, err = o.askAddress(ctx, t.Address, q)
	} else {
		reply, err = o.askNode(ctx, t.Node, q)
	}
	if err == nil && (reply.Nonce != q.Nonce || reply.Command != q.Command) {
		err = errors.New("answer to another request")
	}
	if err != nil && ctx.Err() != nil {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return reply, err // the resolver stops
		}
		err = overlay.ErrTimeout
	}
	o.deps.V1.note(t, err)
	return reply, err
}

// askNode asks a tracker of gen2 over a stream of its own.
func (o clientV1) askNode(ctx context.Context, node identity.NodeKey, q tracker.Request1) (tracker.Reply1, error) {
	carrier, ok := o.deps.Network.Carrier(overlay.KindQUIC)
	if !ok {
		return tracker.Reply1{}, overlay.ErrNoCarrier
	}
	conn, err := carrier.Dial(ctx, node, peer.Port)
	if err != nil {
		return tracker.Reply1{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	if _, err := conn.Write(q.AppendTo([]byte{tracker.SelectorClient})); err != nil {
		return tracker.Reply1{}, err
	}
	return tracker.ReadReply1(bufio.NewReaderSize(conn, replyBufferV1), q.Identity)
}

// askAddress asks a tracker of gen1 with datagrams, and repeats them: the first ones are
// lost while the network searches for a path.
func (o clientV1) askAddress(ctx context.Context, to netip.AddrPort, q tracker.Request1) (tracker.Reply1, error) {
	tcp, ok := o.deps.Network.TCP()
	if !ok {
		return tracker.Reply1{}, overlay.ErrNoCarrier
	}
	port, err := tcp.ListenPacket(0)
	if err != nil {
		return tracker.Reply1{}, err
	}
	defer func() { _ = port.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = port.Close() })
	defer stop()
	datagram, target, buf := q.AppendTo(nil), net.UDPAddrFromAddrPort(to), make([]byte, 2048)
	for {
		if _, err := port.WriteTo(datagram, target); err != nil {
			return tracker.Reply1{}, err
		}
		if err := port.SetReadDeadline(time.Now().Add(resendV1)); err != nil {
			return tracker.Reply1{}, err
		}
		for {
			n, from, err := port.ReadFrom(buf)
			if ctx.Err() != nil {
				return tracker.Reply1{}, ctx.Err()
			}
			if err != nil {
				break // send again
			}
			if from.String() != target.String() {
				continue
			}
			if reply, err := tracker.ParseReply1(buf[:n], tracker.LayoutAddress, q.Identity); err == nil && reply.Nonce == q.Nonce {
				return reply, nil
			}
		}
	}
}
