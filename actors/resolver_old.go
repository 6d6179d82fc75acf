// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/tracker"
)

// The resolver's part for the trackers of generations 1 and 2. They do not share
// what they know, or not reliably, so all are asked and all are told.

const (
	taskOldLookup   = "old_lookup"
	taskOldAnnounce = "old_announce"
	// oldLookupTime is what all old trackers together get for an answer, as in the
	// apps; oldAnnounceTime what one of them gets.
	oldLookupTime   = 3 * time.Second
	oldAnnounceTime = 8 * time.Second
	// oldAnnounceEvery is within the four minutes that they keep a new record.
	oldAnnounceEvery = 3 * time.Minute
	// oldResend is when a packet to a tracker of generation 1 is sent again.
	oldResend = 500 * time.Millisecond
	// oldPriority is what the apps announce.
	oldPriority = 3
)

// OldTracker is a tracker of generation 1, known by its address, or of generation
// 2, known by its node key.
type OldTracker struct {
	Address netip.AddrPort
	Node    identity.NodeKey
}

// ParseOldTracker reads "<64 hex digits>", or "[<IPv6 address>]:<port>".
func ParseOldTracker(s string) (OldTracker, error) {
	if node, err := identity.ParseNodeKey(s); err == nil {
		return OldTracker{Node: node}, nil
	}
	address, err := netip.ParseAddrPort(s)
	if err != nil {
		return OldTracker{}, errors.New("want 64 hex digits for a tracker of generation 2, [<IPv6 address>]:5050 for one of generation 1")
	}
	if !overlay.IsYggdrasil(address.Addr()) {
		return OldTracker{}, fmt.Errorf("address: %w", overlay.ErrBadAddress)
	}
	return OldTracker{Address: address}, nil
}

// String is the form that ParseOldTracker reads.
func (t OldTracker) String() string {
	if t.Node.IsZero() {
		return t.Address.String()
	}
	return t.Node.String()
}

type (
	oldAnnounceDue struct{}
	// oldFound is what old trackers say about an identity.
	oldFound struct {
		identity identity.PublicKey
		records  []tracker.Record
		// behind are the addresses of those records that are not of the node itself, but
		// of a device behind it.
		behind map[identity.NodeKey]netip.Addr
	}
)

// askOld asks the old trackers about an identity; oldFound follows.
func (r *resolver) askOld(c *kernel.Context, id identity.PublicKey) bool {
	if len(r.env.opts.OldTrackers) == 0 {
		return false
	}
	client, inbox := oldClient{r.env}, c.Inbox()
	c.Go(taskOldLookup, func(ctx context.Context) error {
		found := oldFound{identity: id}
		defer func() { inbox.Tell(found) }() // also after a panic: the lookup counts on it
		found = client.lookup(ctx, id)
		return nil
	})
	return true
}

func (r *resolver) onOldFound(c *kernel.Context, msg oldFound) {
	if l := r.lookups[msg.identity]; l != nil {
		l.behind = msg.behind
	}
	if len(msg.records) > 0 {
		r.onAnswer(c, msg.identity, msg.records)
		return
	}
	// Whether they know nothing or are silent says little: they know few.
	if l := r.lookups[msg.identity]; l != nil {
		if l.asked--; l.asked == 0 {
			r.finishLookup(c, msg.identity)
		}
	}
}

// announceOld tells all old trackers where all accounts are.
func (r *resolver) announceOld(c *kernel.Context) {
	if r.announcingOld || len(r.env.opts.OldTrackers) == 0 || !r.env.net.Up() {
		return
	}
	r.announcingOld = true
	client, accounts := oldClient{r.env}, make([]identity.PublicKey, 0, len(r.accounts))
	for id := range r.accounts {
		accounts = append(accounts, id)
	}
	c.Go(taskOldAnnounce, func(ctx context.Context) error {
		client.announce(ctx, accounts)
		return nil
	})
}

// oldClient asks old trackers. Its methods block and run in tasks.
type oldClient struct{ env *env }

// lookup asks all trackers at once and returns what they know.
func (o oldClient) lookup(ctx context.Context, id identity.PublicKey) oldFound {
	ctx, cancel := context.WithTimeout(ctx, oldLookupTime)
	defer cancel()
	var mu sync.Mutex
	found := oldFound{identity: id, behind: make(map[identity.NodeKey]netip.Addr)}
	var asking sync.WaitGroup
	for _, t := range o.env.opts.OldTrackers {
		asking.Go(func() {
			var reply tracker.Reply1
			err := o.env.strangerLog.Protect("old tracker client", func() (err error) {
				reply, err = o.ask(ctx, t, tracker.Request1{Command: tracker.CommandLookup, Identity: id})
				return err
			})
			if err != nil {
				o.env.log.Debug("An old tracker does not answer", "component", "resolver", "tracker", t.String(), "err", err)
				return
			}
			for _, record := range reply.Records {
				if node, ok := o.locate(ctx, record); ok {
					record.Node, record.Priority = node, 0 // after what newer trackers say
					mu.Lock()
					found.records = append(found.records, record.V2())
					if device := record.Address.Addr(); overlay.IsBehind(device) {
						found.behind[node] = device
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
func (o oldClient) locate(ctx context.Context, r tracker.Record1) (identity.NodeKey, bool) {
	if r.Layout == tracker.LayoutNode {
		return r.Node, true
	}
	tcp, ok := o.env.net.TCP()
	if !ok || r.Address.Port() != legacy.Port {
		return identity.NodeKey{}, false
	}
	node, err := tcp.Resolve(ctx, r.Address.Addr())
	return node, err == nil
}

// announce tells all trackers where the accounts are.
func (o oldClient) announce(ctx context.Context, accounts []identity.PublicKey) {
	var telling sync.WaitGroup
	defer telling.Wait()
	for _, t := range o.env.opts.OldTrackers {
		telling.Go(func() {
			for _, id := range accounts {
				err := o.env.strangerLog.Protect("old tracker client", func() error { return o.announceTo(ctx, t, id) })
				if ctx.Err() != nil {
					return
				}
				o.env.log.Debug("Announced to an old tracker", "component", "resolver", "tracker", t.String(), "account", id.Short(), "err", err)
			}
		})
	}
}

func (o oldClient) announceTo(ctx context.Context, t OldTracker, id identity.PublicKey) error {
	key, ok := o.env.keys.Account(id)
	if !ok {
		return keyring.ErrUnknownAccount
	}
	account, err := o.env.store.Account(id)
	if err != nil {
		return err
	}
	q := tracker.Request1{Command: tracker.CommandAnnounce, Identity: id}
	if t.Node.IsZero() {
		tcp, ok := o.env.net.TCP()
		if !ok {
			return overlay.ErrNoCarrier
		}
		own := tcp.Address()
		if !own.IsValid() {
			return overlay.ErrNoSystem
		}
		q.Record = tracker.NewAddressRecord(key, netip.AddrPortFrom(own, legacy.Port), oldPriority, account.ClientID)
	} else {
		q.Record = tracker.NewNodeRecord(key, o.env.keys.RoleKey(keyring.RoleNode), oldPriority, account.ClientID)
	}
	ctx, cancel := context.WithTimeout(ctx, oldAnnounceTime)
	defer cancel()
	_, err = o.ask(ctx, t, q)
	return err
}

// ask puts one request to one tracker.
func (o oldClient) ask(ctx context.Context, t OldTracker, q tracker.Request1) (tracker.Reply1, error) {
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
		err = errors.New("an answer to another question")
	}
	if err != nil && ctx.Err() != nil {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return reply, err // we do not wait for it any more
		}
		err = overlay.ErrTimeout
	}
	o.env.oldTrackers.note(t, err)
	return reply, err
}

// askNode asks a tracker of generation 2, with a stream of its own.
func (o oldClient) askNode(ctx context.Context, node identity.NodeKey, q tracker.Request1) (tracker.Reply1, error) {
	carrier, ok := o.env.net.Carrier(overlay.KindQUIC)
	if !ok {
		return tracker.Reply1{}, overlay.ErrNoCarrier
	}
	conn, err := carrier.Dial(ctx, node, gen2.port())
	if err != nil {
		return tracker.Reply1{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	if _, err := conn.Write(q.AppendTo([]byte{tracker.SelectorClient})); err != nil {
		return tracker.Reply1{}, err
	}
	return tracker.ReadReply1(newStream(conn, gen2).reader, q.Identity)
}

// askAddress asks a tracker of generation 1, again and again: the first packets
// are lost while the network looks for the way.
func (o oldClient) askAddress(ctx context.Context, to netip.AddrPort, q tracker.Request1) (tracker.Reply1, error) {
	tcp, ok := o.env.net.TCP()
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
		if err := port.SetReadDeadline(time.Now().Add(oldResend)); err != nil {
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
