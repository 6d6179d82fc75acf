// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// consumer is the bridge's name among the consumers of the event log.
	consumer = "matrix"
	// deliveryPage is how many events are read at once, and after how many a
	// conversation lets others go first.
	deliveryPage = 64
	// parkFactor is by how much the longest pause of a conversation is longer while its
	// room is broken: somebody has to repair it.
	parkFactor = 12
)

// deliverer brings what happens in the event log into the rooms. Each
// conversation has a cursor in the store. Events are handled in their order, one
// at a time per conversation, and the cursor moves when one has been dealt with;
// an event that cannot be dealt with now is tried again for as long as it takes.
// Conversations do not wait for each other.
//
// The cursor on the disk may be one event behind: the next one is shown while the
// cursor moves past the one before. So after a crash two events may be in the room
// already.
type deliverer struct {
	node Node
	log  *slog.Logger
	show func(ctx context.Context, at *position, ev store.Event) error
	// remake makes a room anew. It is called again for a job that it has begun.
	remake func(ctx context.Context, at *position, job *rebuilding) error
	// again shows a message in place of the notice that replaces it.
	again func(ctx context.Context, at *position, job redoing) error
	// profile shows the profile of a contact, when it is set.
	profile  func(ctx context.Context, at *position) error
	profiles *profiles
	// beside runs for as long as deliveries do, when it is set.
	beside func(stop, work context.Context)
	retry  kernel.Backoff

	wake    chan struct{} // capacity 1: there may be something to start
	backlog homeserver.Backlog
	turns   roomTurns

	replaced atomic.Int64 // events that a notice has replaced

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a delivery has ended
	logins  map[identity.PublicKey]*bridgev2.UserLogin
	known   map[store.Conversation]*position
	ready   []store.Conversation // to be started, in this order
	kicks   struct {             // see kick
		pause time.Duration
		next  time.Time
		timer *time.Timer
	}
	places   places
	looked   map[identity.PublicKey]bool // the accounts whose leftovers of the previous run are known
	stopping bool
}

// position is what the deliverer knows of one conversation.
type position struct {
	store.Conversation
	login *bridgev2.UserLogin

	// Owned by the delivery while running is set.
	cursor    uint64    // the last event that was dealt with
	loaded    bool      // cursor is known
	inDoubt   bool      // the next event may be in the room already
	again     bool      // and the one after it too
	begun     bool      // and that may be so recent that the homeserver does not list it
	trial     trial     // of the unit that the homeserver refuses
	repairs   int       // how often the room was found broken
	lookDue   time.Time // when a name or a picture is set again that was refused
	settled   bool      // the library only reads the ghost of the contact
	alone     bool      // nobody else delivers for the contact
	wantAlone bool      // and the next delivery has to be alone
	blind     bool      // the room is not searched for what is in doubt: the homeserver cannot
	muted     bool      // the room was told that it makes no noise
	// See history.go.
	whole        id.RoomID // the room that has its history
	historyLimit *int      // how much of it the next room gets; 0 is all

	// Under deliverer.mu.
	running, queued, dirty bool
	rebuild                *rebuilding // the room is to be made anew
	redo                   []redoing   // messages that are to replace their notices
	failures               int
	timer                  *time.Timer // of the back-off
	err                    error       // the last failure
	since                  time.Time   // when the first attempt in a row that failed began
	began, ended           time.Time   // the last attempt at an event
	confirmed              time.Time   // when an attempt was made early, see trouble.go
	told                   bool        // the user knows of the failure
}

func newDeliverer(node Node, log *slog.Logger, retry kernel.Backoff) *deliverer {
	return &deliverer{
		node: node, log: log, retry: retry,
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		logins:  make(map[identity.PublicKey]*bridgev2.UserLogin),
		known:   make(map[store.Conversation]*position),
		places:  newPlaces(),
		looked:  make(map[identity.PublicKey]bool),

		profiles: newProfiles(profileEvery * retry.Min),
	}
}

// run delivers until stop ends, and returns when nothing is being delivered any
// more; what is, ends with work at the latest.
func (d *deliverer) run(stop, work context.Context) error {
	watch := d.node.WatchEvents()
	defer watch.Close()
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	defer d.halt()
	if d.beside != nil {
		deliveries.Go(func() { d.beside(stop, work) })
	}
	d.mu.Lock()
	attached := make([]identity.PublicKey, 0, len(d.logins))
	for account := range d.logins {
		attached = append(attached, account)
	}
	d.mu.Unlock()
	for _, account := range attached { // the watch was not there yet
		if err := d.lookAt(account); err != nil {
			return err
		}
	}
	for {
		for _, at := range d.start() {
			deliveries.Go(func() { d.deliver(stop, work, at) })
		}
		select {
		case <-stop.Done():
			return nil
		case <-d.wake:
		case _, open := <-watch.C():
			if !open {
				return errors.New("the event log is closed")
			}
			if err := d.changes(watch.Take()); err != nil {
				return err
			}
		}
	}
}

// attach begins to deliver for a login, from where the cursors stand.
func (d *deliverer) attach(account identity.PublicKey, login *bridgev2.UserLogin) error {
	d.mu.Lock()
	d.logins[account] = login
	d.markAll(d.profiles.of(account))
	d.mu.Unlock()
	return d.lookAt(account)
}

// detach ends the deliveries for an account and waits until there is none, or for
// ctx.
func (d *deliverer) detach(ctx context.Context, account identity.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logins, account)
	delete(d.looked, account)
	for d.forget(account) > 0 {
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return
		}
	}
}

// forget drops the conversations of an account that are not being delivered and
// returns how many others there are. It is called under mu.
func (d *deliverer) forget(account identity.PublicKey) (running int) {
	for conversation, at := range d.known {
		if conversation.Account != account {
			continue
		}
		if at.running {
			running++
			continue
		}
		if at.timer != nil {
			at.timer.Stop()
		}
		delete(d.known, conversation)
		d.giveTurns(d.turns.forget(conversation))
	}
	d.ready = slices.DeleteFunc(d.ready, func(c store.Conversation) bool { return c.Account == account })
	return running
}

// halt stops all timers; nothing is started any more.
func (d *deliverer) halt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping, d.ready = true, nil
	if d.kicks.timer != nil {
		d.kicks.timer.Stop()
	}
	for _, at := range d.known {
		if at.timer != nil {
			at.timer.Stop()
		}
	}
}

// changes is told which conversations have new events.
func (d *deliverer) changes(changes store.Changes) error {
	d.mu.Lock()
	for conversation := range changes.Conversations {
		d.mark(conversation)
	}
	var all []identity.PublicKey
	if changes.All {
		for account := range d.logins {
			all = append(all, account)
		}
	}
	d.mu.Unlock()
	for _, account := range all {
		if err := d.lookAt(account); err != nil {
			return err
		}
	}
	return nil
}

// lookAt marks the conversations of an account that have something to deliver.
func (d *deliverer) lookAt(account identity.PublicKey) error {
	pending, err := d.node.Pending(consumer, account)
	if err != nil {
		return fmt.Errorf("look for what is to be delivered: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range pending {
		d.mark(store.Conversation{Account: account, ID: p.Conversation})
	}
	d.looked[account] = true
	return nil
}

// kick ends every back-off but those that the homeserver has asked for: it is
// back. A homeserver that comes and goes, or that answers everything but what we
// send, kicks less and less often, until a message arrives.
func (d *deliverer) kick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := &d.kicks
	if k.timer != nil || d.stopping {
		return
	}
	if wait := time.Until(k.next); wait > 0 {
		k.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			k.timer = nil
			d.mu.Unlock()
			d.kick()
		})
		return
	}
	k.pause = min(max(2*k.pause, d.retry.Min), d.retry.Max)
	k.next = time.Now().Add(k.pause)
	for _, at := range d.known {
		if wait := (*homeserver.RetryAfter)(nil); errors.As(at.err, &wait) || homeserver.AnswerOf(at.err) == homeserver.AnswerRoom {
			continue
		}
		if at.timer != nil && at.timer.Stop() {
			at.timer = nil
			d.enqueue(at)
		}
	}
}

// mark notes that a conversation has something new. It is called under mu.
func (d *deliverer) mark(conversation store.Conversation) {
	login := d.logins[conversation.Account]
	if login == nil || d.stopping {
		return
	}
	at := d.known[conversation]
	if at == nil {
		// What the previous run did last may have reached the room and not our
		// tables.
		begun := !d.looked[conversation.Account]
		at = &position{Conversation: conversation, login: login, inDoubt: true, again: begun, begun: begun}
		d.known[conversation] = at
	}
	switch {
	case at.running:
		at.dirty = true
	case at.timer == nil:
		d.enqueue(at)
	}
}

// markAll is called under mu.
func (d *deliverer) markAll(conversations []store.Conversation) {
	for _, conversation := range conversations {
		d.mark(conversation)
	}
}

// giveTurns has the conversations delivered whose turn to have a room made begins. One
// that is not delivered now, because it waits for its next attempt or its account has
// logged out, gives its turn on. It is called under mu.
func (d *deliverer) giveTurns(next []store.Conversation) {
	for len(next) > 0 {
		conversation := next[0]
		next = next[1:]
		d.mark(conversation)
		if at := d.known[conversation]; at == nil || !at.running && !at.queued {
			next = append(next, d.turns.release(conversation)...)
		}
	}
}

// enqueue is called under mu.
func (d *deliverer) enqueue(at *position) {
	if at.queued || at.running || d.stopping {
		return
	}
	at.queued = true
	d.ready = append(d.ready, at.Conversation)
	d.wakeUp()
}

// wakeUp makes run look for what may start.
func (d *deliverer) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// start takes what may be delivered now.
func (d *deliverer) start() []*position {
	d.mu.Lock()
	defer d.mu.Unlock()
	var started []*position
	d.ready = slices.DeleteFunc(d.ready, func(conversation store.Conversation) bool {
		alone, ok := d.places.take(conversation.Contact())
		if !ok {
			return false
		}
		at := d.known[conversation]
		at.queued, at.running, at.dirty, at.began = false, true, false, time.Now()
		at.alone, at.wantAlone = alone, false
		started = append(started, at)
		return true
	})
	return started
}

// deliver works on one conversation and notes how it went.
func (d *deliverer) deliver(stop, work context.Context, at *position) {
	slow, over := false, false
	patience := time.AfterFunc(slowAfter, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !over {
			slow = true
			d.places.slow()
			d.wakeUp()
		}
	})
	defer patience.Stop()
	var more bool
	err := fault.Guard(d.log, "deliver", func() (err error) {
		more, err = d.page(stop, work, at)
		return err
	})
	if errors.Is(err, fault.ErrPanic) {
		at.inDoubt, at.begun = true, true // it may have been shown
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	at.running, over = false, true
	at.ended = time.Now()
	d.places.leave(at.Contact(), slow, at.settled)
	defer func() { d.giveTurns(d.turns.release(at.Conversation)) }()
	close(d.changed)
	d.changed = make(chan struct{})
	d.wakeUp() // a place is free
	switch {
	case d.stopping || d.logins[at.Account] != at.login:
		delete(d.known, at.Conversation)
		d.mark(at.Conversation) // for whoever has logged in since
	case errors.Is(err, errAwaitAlone):
		d.enqueue(at)
	case errors.Is(err, errAwaitTurn): // whoever has a turn gives it on
		if at.dirty { // and may have done so meanwhile
			d.enqueue(at)
		}
	case err != nil:
		d.backOff(at, err)
	default:
		if at.failures > 0 {
			d.log.Info("delivery to room resumed", "contact", at.Contact().Short(), "failures", at.failures)
			d.kicks.pause = 0
		}
		at.failures, at.err = 0, nil
		if more || at.dirty {
			d.enqueue(at)
		}
	}
}

// hold lets a conversation wait, unless it is being delivered.
func (d *deliverer) hold(conversation store.Conversation, delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark(conversation)
	at := d.known[conversation]
	if at == nil || at.running || at.timer != nil {
		return
	}
	d.ready = slices.DeleteFunc(d.ready, func(c store.Conversation) bool { return c == conversation })
	at.queued = false
	d.later(at, delay)
}

// later enqueues a conversation after a delay. It is called under mu.
func (d *deliverer) later(at *position, delay time.Duration) {
	at.timer = time.AfterFunc(delay, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.known[at.Conversation] == at && at.timer != nil {
			at.timer = nil
			d.enqueue(at)
		}
	})
}

// backOff is called under mu.
func (d *deliverer) backOff(at *position, err error) {
	backoff := d.retry
	if homeserver.AnswerOf(err) == homeserver.AnswerRoom {
		backoff.Max *= parkFactor
	}
	delay := backoff.Delay(at.failures)
	var wait *homeserver.RetryAfter
	if errors.As(err, &wait) {
		delay = max(delay, min(wait.Delay, homeserver.MaxRetryAfter))
	}
	if at.failures == 0 {
		at.since = at.began
		d.log.Warn("delivery to room failed, retrying", "contact", at.Contact().Short(), "error", fault.OneLine(err), "retry_in", delay)
	} else {
		d.log.Debug("delivery to room failed again",
			"contact", at.Contact().Short(), "error", fault.OneLine(err), "retry_in", delay, "failures", at.failures)
	}
	at.failures++
	at.err = err
	d.later(at, delay)
}
