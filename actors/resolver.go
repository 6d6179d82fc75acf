// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

const (
	// asked is how many trackers a lookup asks at once. They share what they know,
	// but one may be silent, and one may lie by leaving something out.
	askedAtOnce = 3
	// graceForOthers is how long an answer waits for those of the other trackers.
	graceForOthers = 300 * time.Millisecond
	// maxLookups and maxWaiting bound who waits for an answer.
	maxLookups = 1024
	maxWaiting = 64
	// maxDatagrams and maxDatagramBytes bound what was received and not yet looked
	// at; beyond it datagrams are dropped.
	maxDatagrams     = 64
	maxDatagramBytes = 1 << 20
	// announceRetry is the pause after a malformed answer to an announcement, and after
	// a failure of our own; busyRetry the one while the tracker has other questions to
	// answer first.
	announceRetry = 60 * time.Second
	busyRetry     = time.Second
)

// resolver is the node's client of the trackers: it tells them where our accounts
// are, and asks them where contacts are. Everything a tracker says is a hint; the
// handshake decides. It answers from the cache when it can.
type resolver struct {
	env      *env
	port     overlay.Datagrams
	trackers []*trackerState
	open     map[tracker.Nonce]*question
	lookups  map[identity.PublicKey]*lookupState
	accounts map[identity.PublicKey]struct{}
	timers   map[announceDue]kernel.Timer
	credits  *kernel.Credits
	// announcingOld says that the old trackers are being told.
	announcingOld bool
}

// lookupState is one identity that is being asked for.
type lookupState struct {
	waiting  []kernel.Ref
	asked    int // trackers that have not answered yet
	answered int // trackers that have
	found    []tracker.Record
	behind   map[identity.NodeKey]netip.Addr // devices behind nodes that were found
	grace    kernel.Timer
}

type (
	datagram struct {
		from    identity.NodeKey
		payload []byte
	}
	questionDue struct{ nonce tracker.Nonce }
	lookupDue   struct{ identity identity.PublicKey }
	announceDue struct {
		account identity.PublicKey
		tracker int
	}
)

func newResolver(e *env) kernel.Actor {
	r := &resolver{
		env:      e,
		open:     make(map[tracker.Nonce]*question),
		lookups:  make(map[identity.PublicKey]*lookupState),
		accounts: make(map[identity.PublicKey]struct{}),
		timers:   make(map[announceDue]kernel.Timer),
		credits:  kernel.NewCredits(maxDatagrams, maxDatagramBytes),
	}
	for _, address := range e.opts.Trackers {
		r.trackers = append(r.trackers, &trackerState{address: address, latency: assumedLatency})
	}
	return r
}

func (r *resolver) Started(c *kernel.Context) error {
	if err := r.listen(c); err != nil {
		return err
	}
	if len(r.env.opts.OldTrackers) > 0 {
		c.Every(oldAnnounceEvery, oldAnnounceDue{})
	}
	accounts, err := r.env.store.Accounts()
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range accounts {
		if _, ok := r.env.keys.Account(a.ID); ok { // else its actor tells us when it is
			r.onAnnounce(c, announce{Account: a.ID})
		}
	}
	return nil
}

// listen opens the port for answers, now or when there is a network.
func (r *resolver) listen(c *kernel.Context) error {
	carrier, ok := r.env.net.Carrier(overlay.KindStream)
	if !ok || r.port != nil {
		return nil // begins with uplink.Opened, or is closing and begins anew
	}
	// Trackers answer to their own port, whatever port the question came from.
	port, err := carrier.ListenDatagrams(tracker.Port)
	if err != nil {
		return fmt.Errorf("listen for trackers on port %d: %w", tracker.Port, err)
	}
	r.port = port
	inbox := c.Inbox()
	c.Go("receive", func(ctx context.Context) error { return r.receive(ctx, inbox) })
	return nil
}

func (r *resolver) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case lookup:
		r.onLookup(c, msg)
	case announce:
		r.onAnnounce(c, msg)
	case uplink.Opened:
		if err := r.listen(c); err != nil {
			c.Fail(err)
		}
	case uplink.Changed:
		r.onOverlayChanged(c, msg)
	case datagram:
		r.onDatagram(c, msg)
	case questionDue:
		r.onQuestionDue(c, msg)
	case lookupDue:
		r.finishLookup(c, msg.identity)
	case announceDue:
		r.onAnnounceDue(c, msg)
	case trackersRequest:
		r.onTrackersRequest(c)
	case store.Written:
		// The cache is only a cache, and an alarm is shown without its event too.
	case oldAnnounceDue:
		r.announceOld(c)
	case oldFound:
		r.onOldFound(c, msg)
	case kernel.TaskDone:
		switch msg.Name {
		case taskOldLookup:
			return
		case taskOldAnnounce:
			r.announcingOld = false
			return
		}
		c.Fail(fmt.Errorf("receive datagrams: %w", msg.Err))
	}
}

func (r *resolver) Stopping(*kernel.Context) {
	if r.port != nil {
		_ = r.port.Close()
	}
}

// receive hands over what comes from trackers and drops the rest at once: anybody
// on the network can send here.
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

// onLookup answers from the cache, or joins or starts a question to the trackers.
func (r *resolver) onLookup(c *kernel.Context, msg lookup) {
	if !msg.Fresh {
		if cached := r.cached(msg.Identity); len(cached) > 0 {
			c.Reply(addresses{Identity: msg.Identity, Found: cached, Cached: true})
			return
		}
	}
	l := r.lookups[msg.Identity]
	switch {
	case l == nil && len(r.lookups) >= maxLookups, l != nil && len(l.waiting) >= maxWaiting:
		c.Reply(addresses{Identity: msg.Identity, Err: errBusy})
		return
	case l != nil:
		l.waiting = append(l.waiting, c.Sender())
		return
	}
	if r.port == nil {
		c.Reply(addresses{Identity: msg.Identity, Err: ErrOffline})
		return
	}
	l = &lookupState{waiting: []kernel.Ref{c.Sender()}}
	r.lookups[msg.Identity] = l
	for _, t := range best(r.trackers, askedAtOnce, time.Now()) {
		nonce := r.ask(c, t, func(n tracker.Nonce) tracker.Request { return tracker.Lookup{Nonce: n, Identity: msg.Identity} })
		r.open[nonce].identity = msg.Identity
		l.asked++
	}
	if r.askOld(c, msg.Identity) {
		l.asked++
	}
	if l.asked == 0 {
		r.finishLookup(c, msg.Identity)
	}
}

// cached returns the addresses of an identity that a tracker named and that have
// not expired.
func (r *resolver) cached(id identity.PublicKey) []store.Address {
	all, err := r.env.store.Addresses(id)
	if err != nil {
		return nil // a cache that cannot be read is an empty one
	}
	now := r.env.nowMillis()
	return slices.DeleteFunc(all, func(a store.Address) bool { return a.Expires <= now })
}

// onDatagram takes an answer. It counts only from the tracker that was asked, with
// the nonce and the command of a question that is still open.
func (r *resolver) onDatagram(c *kernel.Context, msg datagram) {
	r.credits.Release(int64(len(msg.payload)))
	reply, ok := tracker.SplitReply(msg.payload)
	if !ok {
		return
	}
	q := r.open[reply.Nonce]
	if q == nil || q.tracker.address.Node != msg.from || q.request.Command() != reply.Command {
		return
	}
	r.closeQuestion(reply.Nonce)
	q.tracker.answered(time.Since(q.sent))
	switch q.request.(type) {
	case tracker.Lookup:
		answer, err := reply.Lookup(q.identity)
		if err != nil {
			c.Log().Warn("A tracker answered nonsense", "tracker", msg.from.Short(), "err", err)
		}
		if q.own {
			r.onOwnRecords(c, q, answer.Records)
			return
		}
		r.onAnswer(c, q.identity, answer.Records)
	case tracker.Announce:
		answer, err := reply.Announce()
		if err != nil {
			c.Log().Warn("A tracker answered nonsense", "tracker", msg.from.Short(), "err", err)
			r.announceAfter(c, q.announced, announceRetry)
			return
		}
		c.Log().Debug("Announced", "tracker", msg.from.Short(), "account", q.identity.Short(), "ttl", answer.TTL())
		q.tracker.announcedUntil = time.Now().Add(answer.TTL())
		// In time to be repeated before it is forgotten.
		r.announceAfter(c, q.announced, answer.TTL()*4/5)
		r.askForOwn(c, q)
	}
}

// onAnswer adds what one tracker said about an identity.
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

// finishLookup answers whoever waits, and fills the cache.
func (r *resolver) finishLookup(c *kernel.Context, id identity.PublicKey) {
	l := r.lookups[id]
	if l == nil {
		return
	}
	delete(r.lookups, id)
	l.grace.Stop()
	answer := addresses{Identity: id}
	tracker.Rank(l.found)
	now := r.env.opts.Now()
	for _, rec := range l.found {
		answer.Found = append(answer.Found, store.Address{
			Node: rec.Node, Priority: rec.Priority, Expires: store.MillisOf(now.Add(rec.Life())), SubnetAddr: store.IPv6Of(l.behind[rec.Node]),
		})
	}
	switch {
	case len(answer.Found) > 0:
		c.Tell(r.env.writer, store.Write{Op: store.PutAddresses{Identity: id, Addresses: slices.Clone(answer.Found)}})
	case l.answered > 0:
		answer.Err = ErrNotFound
	case len(r.trackers)+len(r.env.opts.OldTrackers) == 0:
		answer.Err = errNoTrackers
	default:
		answer.Err = ErrTrackersSilent
	}
	for _, w := range l.waiting {
		c.Tell(w, answer)
	}
}

// onAnnounce begins or ends telling trackers about an account.
func (r *resolver) onAnnounce(c *kernel.Context, msg announce) {
	if msg.Stop {
		delete(r.accounts, msg.Account)
		r.env.elsewhere.hide(msg.Account)
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
	if r.env.net.Up() {
		r.announceOld(c)
		r.announceEverywhere(c, msg.Account)
	}
}

func (r *resolver) onOverlayChanged(c *kernel.Context, msg uplink.Changed) {
	if !msg.Up {
		return
	}
	// The silence of trackers meant nothing while we were cut off.
	for _, t := range r.trackers {
		t.failures, t.quietUntil = 0, time.Time{}
	}
	r.announceOld(c)
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
	if !r.env.net.Up() || r.port == nil {
		return // comes back with the network
	}
	if !t.mayAsk(now) {
		r.announceAfter(c, due, max(t.quietUntil.Sub(now), busyRetry))
		return
	}
	key, ok := r.env.keys.Account(due.account)
	if !ok {
		r.announceAfter(c, due, announceRetry) // its actor is starting, or is about to stop this
		return
	}
	account, err := r.env.store.Account(due.account)
	if err != nil {
		c.Log().Error("announcement failed, retrying", "account", due.account.Short(), "err", err)
		r.announceAfter(c, due, announceRetry)
		return
	}
	record := tracker.NewRecord(key, r.env.keys.RoleKey(keyring.RoleNode), account.Priority, account.ClientID)
	nonce := r.ask(c, t, func(n tracker.Nonce) tracker.Request {
		return tracker.Announce{Nonce: n, Identity: due.account, Record: record}
	})
	r.open[nonce].identity = due.account
	r.open[nonce].announced = due
}

// ask sends a question to a tracker, and again until it is answered or given up.
func (r *resolver) ask(c *kernel.Context, t *trackerState, make func(tracker.Nonce) tracker.Request) tracker.Nonce {
	nonce := r.freeNonce(c)
	q := &question{tracker: t, request: make(nonce), sent: time.Now()}
	r.open[nonce] = q
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
		if _, taken := r.open[nonce]; !taken {
			return nonce
		}
	}
}

func (r *resolver) transmit(c *kernel.Context, nonce tracker.Nonce, q *question) {
	err := r.port.Send(q.tracker.address.Node, q.tracker.address.Port, q.request.AppendTo(nil))
	if silenced, ok := errors.AsType[*overlay.SilencedError](err); ok {
		q.silenced, q.tries = silenced.Remaining, len(resendAfter)
		q.timer = c.After(0, questionDue{nonce}) // given up
		return
	}
	if err != nil {
		c.Log().Debug("A datagram could not be sent", "tracker", q.tracker.address.Node.Short(), "err", err)
	}
	q.timer = c.After(resendAfter[q.tries], questionDue{nonce})
	q.tries++
}

// onQuestionDue sends a question again, or gives it up.
func (r *resolver) onQuestionDue(c *kernel.Context, msg questionDue) {
	q := r.open[msg.nonce]
	if q == nil {
		return
	}
	if q.tries < len(resendAfter) {
		r.transmit(c, msg.nonce, q)
		return
	}
	r.closeQuestion(msg.nonce)
	now := time.Now()
	q.tracker.silent(now, q.silenced)
	switch q.request.(type) {
	case tracker.Lookup:
		if l := r.lookups[q.identity]; l != nil && !q.own {
			if l.asked--; l.asked == 0 {
				r.finishLookup(c, q.identity)
			}
		}
	case tracker.Announce:
		c.Log().Info("A tracker does not answer", "tracker", q.tracker.address.Node.Short())
		r.announceAfter(c, q.announced, q.tracker.quietUntil.Sub(now))
	}
}

func (r *resolver) closeQuestion(nonce tracker.Nonce) {
	q := r.open[nonce]
	q.timer.Stop()
	q.tracker.open--
	delete(r.open, nonce)
}

func (r *resolver) onTrackersRequest(c *kernel.Context) {
	now := time.Now()
	status := make([]TrackerStatus, 0, len(r.trackers))
	for _, t := range r.trackers {
		status = append(status, t.status(now))
	}
	c.Reply(status)
}
