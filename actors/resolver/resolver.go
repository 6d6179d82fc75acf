// SPDX-License-Identifier: MPL-2.0

// Package resolver is the client of the trackers: it announces where our accounts are,
// and looks up where contacts are. Accounts tell it [Announce], contacts ask it [Lookup],
// and the node reads how trackers answer. Everything that a tracker says is a hint; the
// handshake of a session decides. It reads the store, caches addresses in it, and reports
// there the foreign nodes that trackers give for our accounts. It imports the kernel, the
// keyring, the store, the stranger log, the uplink with the overlay, and proto.
//
// Start reading at resolver.go for the actor and the trackers of version 2, at v1.go for
// those of version 1.
package resolver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// The reasons of [Addresses] for finding nothing, beside uplink.ErrOffline.
var (
	// ErrNotFound says that no tracker knows where an identity is.
	ErrNotFound = errors.New("no tracker knows the identity")
	// ErrTrackersUnreachable says that no tracker answered.
	ErrTrackersUnreachable = errors.New("no tracker answers")
	// ErrNoTrackers says that the configuration has none.
	ErrNoTrackers = errors.New("no trackers are configured")

	errBusy = errors.New("too many concurrent lookups")
)

const (
	// askedAtOnce is how many trackers a lookup asks at once. They share what they know,
	// but one may be unreachable, and one may lie by leaving something out.
	askedAtOnce = 3
	// graceForOthers is how long a lookup waits for the other trackers once one has given
	// addresses.
	graceForOthers = 300 * time.Millisecond
	// maxLookups bounds the identities that are looked up at once, maxWaiting the actors
	// that wait for one of them.
	maxLookups = 1024
	maxWaiting = 64
	// maxDatagrams and maxDatagramBytes bound the answers in the mailbox; beyond it
	// datagrams are dropped.
	maxDatagrams     = 64
	maxDatagramBytes = 1 << 20
	// announceRetry is the pause after a malformed answer to an announcement, and after
	// a failure of our own; busyRetry the one while other queries to the tracker are open.
	announceRetry = 60 * time.Second
	busyRetry     = time.Second
)

// Messages to the resolver.
type (
	// Lookup asks where an identity is; the answer is [Addresses]. With Fresh the
	// resolver asks trackers also when its cache has addresses.
	Lookup struct {
		Identity identity.PublicKey
		Fresh    bool
	}
	// Announce says that trackers shall know where an account is, until one with Stop.
	// Again announces at once.
	Announce struct {
		Account     identity.PublicKey
		Stop, Again bool
	}
	// StatusRequest asks how the trackers answer; the answer is []TrackerStatus.
	StatusRequest struct{}
)

// Addresses answers [Lookup].
type Addresses struct {
	Identity identity.PublicKey
	Found    []store.Address
	// Cached says that no tracker was asked.
	Cached bool
	// Err says why there is nothing in Found: [ErrNotFound], [ErrTrackersUnreachable],
	// [ErrNoTrackers], uplink.ErrOffline, or that the resolver is busy.
	Err error
}

// Deps is what a resolver uses.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store  *store.Store
	Writer kernel.Ref
	// Keys has the keys of the accounts to announce, and of the node.
	Keys    *keyring.Ring
	Network *uplink.Cell
	// Now is the wall clock, for the times at which addresses expire.
	Now       func() time.Time
	Log       *slog.Logger
	Strangers *strangerlog.Log
	// Trackers are asked and told; those of version 1 are in V1.
	Trackers []tracker.Address
	V1       *TrackersV1
	// OwnDevices are further node keys of our accounts; a record with one of them is not
	// foreign.
	OwnDevices []identity.NodeKey
	Foreign    *ForeignNodes
}

// resolver is the node's client of the trackers. Everything that a tracker says is a
// hint; the handshake decides. It answers from the cache when it can.
type resolver struct {
	deps     Deps
	port     overlay.Datagrams
	trackers []*trackerState
	queries  map[tracker.Nonce]*query
	lookups  map[identity.PublicKey]*lookupState
	accounts map[identity.PublicKey]struct{}
	timers   map[announceDue]kernel.Timer
	credits  *kernel.Credits
	// announcingV1 says that the task that announces to trackers of version 1 runs.
	announcingV1 bool
}

// lookupState is a lookup that has not been answered.
type lookupState struct {
	waiting     []kernel.Ref
	asked       int // trackers that have not answered yet
	answered    int // trackers that have
	found       []tracker.Record
	subnetAddrs map[identity.NodeKey]netip.Addr // devices behind nodes that were found
	grace       kernel.Timer
}

type (
	datagram struct {
		from    identity.NodeKey
		payload []byte
	}
	queryDue    struct{ nonce tracker.Nonce }
	lookupDue   struct{ identity identity.PublicKey }
	announceDue struct {
		account identity.PublicKey
		tracker int
	}
)

// New returns the resolver. It takes [Lookup], [Announce], [StatusRequest], and
// the events of the uplink.
func New(deps Deps) kernel.Actor {
	r := &resolver{
		deps:     deps,
		queries:  make(map[tracker.Nonce]*query),
		lookups:  make(map[identity.PublicKey]*lookupState),
		accounts: make(map[identity.PublicKey]struct{}),
		timers:   make(map[announceDue]kernel.Timer),
		credits:  kernel.NewCredits(maxDatagrams, maxDatagramBytes),
	}
	for _, address := range deps.Trackers {
		r.trackers = append(r.trackers, &trackerState{address: address, latency: assumedLatency})
	}
	return r
}

// Started implements [kernel.Starter].
func (r *resolver) Started(c *kernel.Context) error {
	if err := r.listen(c); err != nil {
		return err
	}
	if !r.deps.V1.none() {
		c.Every(announceEveryV1, announceDueV1{})
	}
	accounts, err := r.deps.Store.Accounts()
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range accounts {
		if _, ok := r.deps.Keys.Account(a.ID); ok { // else its actor tells us when it is
			r.onAnnounce(c, Announce{Account: a.ID})
		}
	}
	return nil
}

// listen opens the port for answers, now or when there is a network.
func (r *resolver) listen(c *kernel.Context) error {
	carrier, ok := r.deps.Network.Carrier(overlay.KindStream)
	if !ok || r.port != nil {
		return nil // continues with uplink.Opened, or when the closing port has failed
	}
	// Trackers answer to their own port, whatever port the request came from.
	port, err := carrier.ListenDatagrams(tracker.Port)
	if err != nil {
		return fmt.Errorf("listen for trackers on port %d: %w", tracker.Port, err)
	}
	r.port = port
	inbox := c.Inbox()
	c.Go("receive", func(ctx context.Context) error { return r.receive(ctx, inbox) })
	return nil
}

// Receive implements [kernel.Actor].
func (r *resolver) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case Lookup:
		r.onLookup(c, msg)
	case Announce:
		r.onAnnounce(c, msg)
	case uplink.Opened:
		if err := r.listen(c); err != nil {
			c.Fail(err)
		}
	case uplink.Changed:
		r.onOverlayChanged(c, msg)
	case datagram:
		r.onDatagram(c, msg)
	case queryDue:
		r.onQueryDue(c, msg)
	case lookupDue:
		r.finishLookup(c, msg.identity)
	case announceDue:
		r.onAnnounceDue(c, msg)
	case StatusRequest:
		r.onStatusRequest(c)
	case store.Written:
		// The cache may lack an entry, and the status has a foreign node without its event.
	case announceDueV1:
		r.announceV1(c)
	case foundV1:
		r.onFoundV1(c, msg)
	case kernel.TaskDone:
		switch msg.Name {
		case taskLookupV1:
			return
		case taskAnnounceV1:
			r.announcingV1 = false
			return
		}
		c.Fail(fmt.Errorf("receive datagrams: %w", msg.Err))
	}
}

// Stopping implements [kernel.Stopper].
func (r *resolver) Stopping(*kernel.Context) {
	if r.port != nil {
		_ = r.port.Close()
	}
}

// receive tells the resolver the datagrams of trackers and drops all others: everybody
// on the network can send some.
func (r *resolver) receive(ctx context.Context, inbox kernel.Inbox) error {
	known := make(map[identity.NodeKey]struct{}, len(r.trackers))
	for _, t := range r.trackers {
		known[t.address.Node] = struct{}{}
	}
	for {
		from, payload, err := r.port.Receive(ctx)
		if err != nil {
			return err
		}
		if _, ok := known[from]; !ok || !r.credits.TryAcquire(int64(len(payload))) {
			continue
		}
		if !inbox.Tell(datagram{from, payload}) {
			return kernel.ErrStopped
		}
	}
}

// onLookup answers from the cache, or joins or starts a lookup.
func (r *resolver) onLookup(c *kernel.Context, msg Lookup) {
	if !msg.Fresh {
		if cached := r.cached(msg.Identity); len(cached) > 0 {
			c.Reply(Addresses{Identity: msg.Identity, Found: cached, Cached: true})
			return
		}
	}
	l := r.lookups[msg.Identity]
	switch {
	case l == nil && len(r.lookups) >= maxLookups, l != nil && len(l.waiting) >= maxWaiting:
		c.Reply(Addresses{Identity: msg.Identity, Err: errBusy})
		return
	case l != nil:
		l.waiting = append(l.waiting, c.Sender())
		return
	}
	if r.port == nil {
		c.Reply(Addresses{Identity: msg.Identity, Err: uplink.ErrOffline})
		return
	}
	l = &lookupState{waiting: []kernel.Ref{c.Sender()}}
	r.lookups[msg.Identity] = l
	for _, t := range best(r.trackers, askedAtOnce, time.Now()) {
		nonce := r.query(c, t, func(n tracker.Nonce) tracker.Request { return tracker.Lookup{Nonce: n, Identity: msg.Identity} })
		r.queries[nonce].identity = msg.Identity
		l.asked++
	}
	if r.askV1(c, msg.Identity) {
		l.asked++
	}
	if l.asked == 0 {
		r.finishLookup(c, msg.Identity)
	}
}

// cached returns the addresses of an identity that have not expired.
func (r *resolver) cached(id identity.PublicKey) []store.Address {
	all, err := r.deps.Store.Addresses(id)
	if err != nil {
		return nil // a cache that cannot be read is an empty one
	}
	now := store.MillisOf(r.deps.Now())
	return slices.DeleteFunc(all, func(a store.Address) bool { return a.Expires <= now })
}

// onDatagram handles an answer. It counts only from the tracker that was asked, with
// the nonce and the command of an open query.
func (r *resolver) onDatagram(c *kernel.Context, msg datagram) {
	r.credits.Release(int64(len(msg.payload)))
	reply, ok := tracker.SplitReply(msg.payload)
	if !ok {
		return
	}
	q := r.queries[reply.Nonce]
	if q == nil || q.tracker.address.Node != msg.from || q.request.Command() != reply.Command {
		return
	}
	r.closeQuery(reply.Nonce)
	q.tracker.answered(time.Since(q.sent))
	switch q.request.(type) {
	case tracker.Lookup:
		answer, err := reply.Lookup(q.identity)
		if err != nil {
			c.Log().Warn("malformed answer from tracker", "server", msg.from.Short(), "err", err)
		}
		if q.own {
			r.onOwnRecords(c, q, answer.Records)
			return
		}
		r.onAnswer(c, q.identity, answer.Records)
	case tracker.Announce:
		answer, err := reply.Announce()
		if err != nil {
			c.Log().Warn("malformed answer from tracker", "server", msg.from.Short(), "err", err)
			r.announceAfter(c, q.announced, announceRetry)
			return
		}
		c.Log().Debug("account announced", "server", msg.from.Short(), "account", q.identity.Short(), "ttl", answer.TTL())
		q.tracker.announcedUntil = time.Now().Add(answer.TTL())
		// In time to be repeated before it is forgotten.
		r.announceAfter(c, q.announced, answer.TTL()*4/5)
		r.askForOwn(c, q)
	}
}

// onAnswer adds the records that one tracker gave for an identity.
func (r *resolver) onAnswer(c *kernel.Context, id identity.PublicKey, records []tracker.Record) {
	l := r.lookups[id]
	if l == nil {
		return // finished without it
	}
	l.asked--
	l.answered++
	for _, rec := range records {
		same := func(have tracker.Record) bool { return have.Node == rec.Node }
		if !slices.ContainsFunc(l.found, same) && len(l.found) < store.MaxAddresses {
			l.found = append(l.found, rec)
		}
	}
	switch {
	case l.asked == 0:
		r.finishLookup(c, id)
	case len(l.found) > 0 && l.grace == (kernel.Timer{}):
		l.grace = c.After(graceForOthers, lookupDue{id})
	}
}

// finishLookup answers the actors that wait, and fills the cache.
func (r *resolver) finishLookup(c *kernel.Context, id identity.PublicKey) {
	l := r.lookups[id]
	if l == nil {
		return
	}
	delete(r.lookups, id)
	l.grace.Stop()
	answer := Addresses{Identity: id}
	tracker.Rank(l.found)
	now := r.deps.Now()
	for _, rec := range l.found {
		answer.Found = append(answer.Found, store.Address{
			Node: rec.Node, Priority: rec.Priority, Expires: store.MillisOf(now.Add(rec.Life())), SubnetAddr: store.IPv6Of(l.subnetAddrs[rec.Node]),
		})
	}
	switch {
	case len(answer.Found) > 0:
		c.Tell(r.deps.Writer, store.Write{Op: store.PutAddresses{Identity: id, Addresses: slices.Clone(answer.Found)}})
	case l.answered > 0:
		answer.Err = ErrNotFound
	case len(r.trackers) == 0 && r.deps.V1.none():
		answer.Err = ErrNoTrackers
	default:
		answer.Err = ErrTrackersUnreachable
	}
	for _, w := range l.waiting {
		c.Tell(w, answer)
	}
}

// onAnnounce begins or ends the announcements of an account.
func (r *resolver) onAnnounce(c *kernel.Context, msg Announce) {
	if msg.Stop {
		delete(r.accounts, msg.Account)
		r.deps.Foreign.suppress(msg.Account)
		for i := range r.trackers {
			due := announceDue{msg.Account, i}
			r.timers[due].Stop()
			delete(r.timers, due)
		}
		return
	}
	if _, ok := r.accounts[msg.Account]; ok && !msg.Again {
		return
	}
	r.accounts[msg.Account] = struct{}{}
	if r.deps.Network.Up() {
		r.announceV1(c)
		r.announceEverywhere(c, msg.Account)
	}
}

func (r *resolver) onOverlayChanged(c *kernel.Context, msg uplink.Changed) {
	if !msg.Up {
		return
	}
	// That trackers did not answer meant nothing while we were cut off.
	for _, t := range r.trackers {
		t.failures, t.retryAt = 0, time.Time{}
	}
	r.announceV1(c)
	for account := range r.accounts {
		r.announceEverywhere(c, account)
	}
}

func (r *resolver) announceEverywhere(c *kernel.Context, account identity.PublicKey) {
	for i := range r.trackers {
		r.announceAfter(c, announceDue{account, i}, 0)
	}
}

func (r *resolver) announceAfter(c *kernel.Context, due announceDue, d time.Duration) {
	if _, ok := r.accounts[due.account]; !ok {
		return
	}
	r.timers[due].Stop()
	r.timers[due] = c.After(d-kernel.Jitter(d/8), due)
}

func (r *resolver) onAnnounceDue(c *kernel.Context, due announceDue) {
	delete(r.timers, due)
	t := r.trackers[due.tracker]
	now := time.Now()
	if !r.deps.Network.Up() || r.port == nil {
		return // continues with uplink.Changed
	}
	if !t.ready(now) {
		r.announceAfter(c, due, max(t.retryAt.Sub(now), busyRetry))
		return
	}
	key, ok := r.deps.Keys.Account(due.account)
	if !ok {
		r.announceAfter(c, due, announceRetry) // its actor is starting, or about to tell us to stop
		return
	}
	account, err := r.deps.Store.Account(due.account)
	if err != nil {
		c.Log().Error("announcement failed, retrying", "account", due.account.Short(), "err", err)
		r.announceAfter(c, due, announceRetry)
		return
	}
	record := tracker.NewRecord(key, r.deps.Keys.RoleKey(keyring.RoleNode), account.Priority, account.ClientID)
	nonce := r.query(c, t, func(n tracker.Nonce) tracker.Request {
		return tracker.Announce{Nonce: n, Identity: due.account, Record: record}
	})
	r.queries[nonce].identity = due.account
	r.queries[nonce].announced = due
}

// query sends a request to a tracker, and repeats it until it is answered or given up.
func (r *resolver) query(c *kernel.Context, t *trackerState, make func(tracker.Nonce) tracker.Request) tracker.Nonce {
	nonce := r.freeNonce(c)
	q := &query{tracker: t, request: make(nonce), sent: time.Now()}
	r.queries[nonce] = q
	t.open++
	r.transmit(c, nonce, q)
	return nonce
}

func (r *resolver) freeNonce(c *kernel.Context) tracker.Nonce {
	for {
		nonce, err := tracker.DrawNonce(rand.Reader)
		if err != nil {
			c.Fail(err)
		}
		if _, taken := r.queries[nonce]; !taken {
			return nonce
		}
	}
}

func (r *resolver) transmit(c *kernel.Context, nonce tracker.Nonce, q *query) {
	err := r.port.Send(q.tracker.address.Node, q.tracker.address.Port, q.request.AppendTo(nil))
	if silenced, ok := errors.AsType[*overlay.SilencedError](err); ok {
		q.silenced, q.tries = silenced.Remaining, len(resendAfter)
		q.timer = c.After(0, queryDue{nonce}) // given up
		return
	}
	if err != nil {
		c.Log().Debug("sending a datagram failed", "server", q.tracker.address.Node.Short(), "err", err)
	}
	q.timer = c.After(resendAfter[q.tries], queryDue{nonce})
	q.tries++
}

// onQueryDue repeats a query, or gives it up.
func (r *resolver) onQueryDue(c *kernel.Context, msg queryDue) {
	q := r.queries[msg.nonce]
	if q == nil {
		return
	}
	if q.tries < len(resendAfter) {
		r.transmit(c, msg.nonce, q)
		return
	}
	r.closeQuery(msg.nonce)
	now := time.Now()
	q.tracker.timedOut(now, q.silenced)
	switch q.request.(type) {
	case tracker.Lookup:
		if l := r.lookups[q.identity]; l != nil && !q.own {
			if l.asked--; l.asked == 0 {
				r.finishLookup(c, q.identity)
			}
		}
	case tracker.Announce:
		c.Log().Info("tracker does not answer", "server", q.tracker.address.Node.Short())
		r.announceAfter(c, q.announced, q.tracker.retryAt.Sub(now))
	}
}

func (r *resolver) closeQuery(nonce tracker.Nonce) {
	q := r.queries[nonce]
	q.timer.Stop()
	q.tracker.open--
	delete(r.queries, nonce)
}

func (r *resolver) onStatusRequest(c *kernel.Context) {
	now := time.Now()
	status := make([]TrackerStatus, 0, len(r.trackers))
	for _, t := range r.trackers {
		status = append(status, t.status(now))
	}
	c.Reply(status)
}

// askForOwn looks up an account at a tracker that has just answered its announcement, to
// see what the tracker tells others.
func (r *resolver) askForOwn(c *kernel.Context, announcement *query) {
	id := announcement.identity
	nonce := r.query(c, announcement.tracker, func(n tracker.Nonce) tracker.Request { return tracker.Lookup{Nonce: n, Identity: id} })
	q := r.queries[nonce]
	q.identity, q.announced, q.own = id, announcement.announced, true
}

// onOwnRecords looks for foreign nodes: records with the signature of an account that
// lead to a node which is none of its devices. Each is reported once, also over restarts,
// and again when it is back after it was gone. Then our own record is announced again, so
// that it stands before the foreign one.
func (r *resolver) onOwnRecords(c *kernel.Context, q *query, records []tracker.Record) {
	if _, ok := r.accounts[q.identity]; !ok {
		return // removed in the meantime
	}
	news := false
	for _, rec := range records {
		if r.isOwn(rec.Node) || !r.deps.Foreign.observe(q.identity, rec.Node, time.Now()) {
			continue
		}
		news = true
		c.Log().Error("tracker leads to a foreign node with our signature",
			"account", q.identity.Short(), "node", rec.Node.Short(), "server", q.tracker.address.Node.Short())
		// A known node key is never signed.
		r.deps.Keys.Know(rec.Node)
		c.Tell(r.deps.Writer, store.Write{Op: store.NoteForeignNode{Account: q.identity, Node: rec.Node}})
	}
	if news {
		r.announceAfter(c, q.announced, 0)
	}
}

func (r *resolver) isOwn(node identity.NodeKey) bool {
	return node == r.deps.Keys.RoleKey(keyring.RoleNode) || slices.Contains(r.deps.OwnDevices, node)
}
