// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// Consumer is the bridge's name among the consumers of the event log: its cursors are
	// stored under it.
	Consumer = "matrix"
	// pageSize is how many events are read at once, and after how many a conversation
	// yields to others.
	pageSize = 64
	// brokenRoomFactor is by how much the longest pause of a conversation is longer while
	// its room is broken: a person has to repair it.
	brokenRoomFactor = 12
	// maxRedo bounds the jobs of Redo that wait in one conversation.
	maxRedo = 64
)

// Node is what a [Deliverer] uses of the node.
type Node interface {
	// ConversationEvents returns the events of a conversation after one of them. The zero
	// conversation is what concerns the account itself.
	ConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64, limit int) ([]store.Event, error)
	// CountConversationEvents counts them.
	CountConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64) (int, error)
	// Pending returns the conversations with events beyond the cursor of a consumer.
	Pending(consumer string, account identity.PublicKey) ([]store.PendingConversation, error)
	// Cursor returns the last event of a conversation that a consumer has processed, 0
	// for none.
	Cursor(consumer string, account identity.PublicKey, conversation store.ConversationID) (uint64, error)
	// MoveCursor stores what a consumer has processed.
	MoveCursor(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID, seq uint64) error
	// WatchEvents wakes whenever an account gets events. The caller closes it.
	WatchEvents() *store.Watch
}

// Deps is what a [Deliverer] uses.
type Deps struct {
	Node Node
	Log  *slog.Logger
	// Retry is the back-off of a conversation.
	Retry kernel.Backoff
	// Backlog is told of each event that is shown.
	Backlog *homeserver.Backlog
	// Show shows an event in its room. It returns nil when that is done, or when there is
	// nothing to show. It is called for one event of a conversation at a time, and again
	// for the same event after an error.
	Show func(ctx context.Context, at *Position, ev store.Event) error
	// ShowProfile shows the profile of a contact as it is now. Nil means that profiles
	// are not delayed.
	ShowProfile func(ctx context.Context, at *Position) error
	// Beside, when set, runs for as long as deliveries do: until stop ends, with work as
	// the context of what it does.
	Beside func(stop, work context.Context)
}

// Job is work in the room of a conversation that is not an event of the log. It is
// called again after an error.
type Job func(ctx context.Context, at *Position) error

var (
	// ErrAwaitExclusive is returned by Show when the delivery has to be the only one for
	// its contact and is not. The Deliverer repeats it when it is.
	ErrAwaitExclusive = errors.New("another account's conversation with the same contact is being delivered")
	// ErrAwaitTurn is returned by Show after MayCreateRoom has reported false. The
	// Deliverer repeats it when the turn of the conversation has come.
	ErrAwaitTurn = errors.New("other rooms are being created")
)

// Deliverer brings the events of the log into rooms. Each conversation has a cursor in
// the store. Events are shown in order, one at a time per conversation, and the cursor
// moves when an event is shown; an event that cannot be shown now is retried for as long
// as it takes. Conversations do not wait for each other, but for those of several accounts
// with one group: they have one room, and one delivery at a time.
//
// The cursor on disk may be one event behind: the next event is shown while the cursor
// moves past the one before. So after a crash two events may be in the room already.
//
// A conversation is in one of these states:
//
//	idle       known, nothing to deliver
//	queued     in ready, until there is a place
//	running    one goroutine delivers it; dirty when there is something new meanwhile
//	backed off timer is set, after a failure
//
// A Deliverer is safe for use by many goroutines.
type Deliverer struct {
	deps Deps

	wake     chan struct{} // capacity 1: there may be something to start
	turns    roomTurns
	profiles *profiles

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a delivery has ended
	logins  map[identity.PublicKey]*bridgev2.UserLogin
	known   map[store.Conversation]*Position
	ready   []store.Conversation // to be started, in this order
	kicks   struct {             // see Kick
		pause time.Duration
		next  time.Time
		timer *time.Timer
	}
	places   places
	scanned  map[identity.PublicKey]bool // accounts whose undelivered conversations were read
	stopping bool
}

// Position is what the Deliverer knows of one conversation.
type Position struct {
	store.Conversation
	// Login is the login whose user sees the conversation.
	Login *bridgev2.UserLogin

	// The exported fields below belong to Show and the jobs while one of them runs.

	// Cursor is the last event that was shown. Only the Deliverer changes it.
	Cursor uint64
	// InDoubt means that the next event may be in the room already.
	InDoubt bool
	// NextInDoubt means that the event after it may be there, too.
	NextInDoubt bool
	// Unlisted means that an event in doubt may be so recent that the homeserver does not
	// list it yet.
	Unlisted bool
	// GhostStable is set by Show: the library only reads the ghost of the contact, so
	// that deliveries of several accounts can run beside each other.
	GhostStable bool
	// Exclusive means that no other delivery for the contact runs, and NeedsExclusive,
	// set by Show, that the next one has to be exclusive.
	Exclusive, NeedsExclusive bool
	Memory

	// Owned by the delivery while running is set.
	loaded bool // Cursor is known
	shown  bool // an event was shown since the delivery began

	// Under Deliverer.mu.
	running, queued, dirty bool
	rebuild                Job
	redo                   []Job
	failures               int         // in a row, without an event that was shown
	timer                  *time.Timer // of the back-off
	err                    error       // the last failure
	since                  time.Time   // when the first attempt of those that failed began
	began, ended           time.Time   // the last attempt at an event
	confirmed              time.Time   // when an early attempt began, see Troubles
	told                   bool        // the user knows of the trouble
}

// Memory is what Show remembers of a conversation from one call to the next. The
// Deliverer resets Trial and Repairs when an event was shown, and drops all of it with
// the Position.
type Memory struct {
	// Trial counts the failures of what is sent next.
	Trial Trial
	// Repairs is how often the room was found broken.
	Repairs int
	// SkipSearch means that the room is not searched for what is in doubt, because the
	// homeserver cannot.
	SkipSearch bool
	// ProfileDue is when a name or a picture that was refused is set again.
	ProfileDue time.Time
	// Placed is the room of a group of which the tables say that the user is in it.
	Placed id.RoomID
	// Muted means that the user's client was told that the room is muted.
	Muted bool
	// HistoryRoom is the room that has the history of the conversation, and HistoryLimit
	// how many messages of it the next room gets: 0 is all, nil as configured.
	HistoryRoom  id.RoomID
	HistoryLimit *int
}

// Trial counts the failures of one thing that is sent, which Key names.
type Trial struct {
	Key   string
	Tries int
}

// Doubt notes that the next event may be in the room already, perhaps unlisted.
func (at *Position) Doubt() { at.InDoubt, at.Unlisted = true, true }

// ClearDoubt notes that no further event is in the room.
func (at *Position) ClearDoubt() { at.InDoubt, at.NextInDoubt, at.Unlisted = false, false, false }

// New returns a deliverer that does nothing before Run.
func New(deps Deps) *Deliverer {
	return &Deliverer{
		deps:     deps,
		wake:     make(chan struct{}, 1),
		changed:  make(chan struct{}),
		logins:   make(map[identity.PublicKey]*bridgev2.UserLogin),
		known:    make(map[store.Conversation]*Position),
		places:   newPlaces(),
		scanned:  make(map[identity.PublicKey]bool),
		profiles: newProfiles(profileEvery * deps.Retry.Min),
	}
}

// Run delivers until stop ends, and returns when no delivery runs any more; those that
// run end with work at the latest. It is called once.
func (d *Deliverer) Run(stop, work context.Context) error {
	watch := d.deps.Node.WatchEvents()
	defer watch.Close()
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	defer d.halt()
	if d.deps.Beside != nil {
		deliveries.Go(func() { d.deps.Beside(stop, work) })
	}
	for _, account := range d.Attached() { // the watch did not exist yet
		if err := d.scan(account); err != nil {
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

// Attach begins to deliver for a login, from where the cursors stand.
func (d *Deliverer) Attach(account identity.PublicKey, login *bridgev2.UserLogin) error {
	d.mu.Lock()
	d.logins[account] = login
	d.markAll(d.profiles.of(account))
	d.mu.Unlock()
	return d.scan(account)
}

// Detach ends the deliveries for an account and waits until none runs, or for ctx.
func (d *Deliverer) Detach(ctx context.Context, account identity.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logins, account)
	delete(d.scanned, account)
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

// Attached returns the accounts with a login.
func (d *Deliverer) Attached() []identity.PublicKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.logins))
}

// forget drops the conversations of an account that do not run and returns the number of
// the others. It is called under mu.
func (d *Deliverer) forget(account identity.PublicKey) (running int) {
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
func (d *Deliverer) halt() {
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

// changes marks the conversations that have new events.
func (d *Deliverer) changes(changes store.Changes) error {
	d.mu.Lock()
	for conversation := range changes.Conversations {
		d.mark(conversation)
	}
	var all []identity.PublicKey
	if changes.All {
		all = slices.Collect(maps.Keys(d.logins))
	}
	d.mu.Unlock()
	for _, account := range all {
		if err := d.scan(account); err != nil {
			return err
		}
	}
	return nil
}

// scan marks the conversations of an account that have undelivered events.
func (d *Deliverer) scan(account identity.PublicKey) error {
	pending, err := d.deps.Node.Pending(Consumer, account)
	if err != nil {
		return fmt.Errorf("read the undelivered conversations: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range pending {
		d.mark(store.Conversation{Account: account, ID: p.Conversation})
	}
	d.scanned[account] = true
	return nil
}

// Kick ends every back-off but those that the homeserver has asked for: the homeserver
// answers again. When it comes and goes, or answers everything but what the bridge
// sends, the kicks become rarer until a message arrives.
func (d *Deliverer) Kick() {
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
			d.Kick()
		})
		return
	}
	k.pause = min(max(2*k.pause, d.deps.Retry.Min), d.deps.Retry.Max)
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

// Retry ends the back-off of a conversation, unless the homeserver asked for the pause.
func (d *Deliverer) Retry(conversation store.Conversation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark(conversation)
	if at := d.known[conversation]; at != nil {
		d.retry(at)
	}
}

// retry is called under mu.
func (d *Deliverer) retry(at *Position) {
	if wait := (*homeserver.RetryAfter)(nil); errors.As(at.err, &wait) {
		return
	}
	if at.timer != nil && at.timer.Stop() {
		at.timer = nil
		d.enqueue(at)
	}
}

// Hold delays a conversation, unless a delivery of it runs.
func (d *Deliverer) Hold(conversation store.Conversation, delay time.Duration) {
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

// Rebuild has the next delivery of a conversation run a job that remakes its room. It
// takes the place of an earlier one, does not wait for a back-off, and is dropped after a
// panic.
func (d *Deliverer) Rebuild(conversation store.Conversation, job Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark(conversation)
	if at := d.known[conversation]; at != nil {
		at.rebuild = job
		at.dirty = at.dirty || at.running
		d.retry(at)
	}
}

// OfferRebuild is Rebuild for a conversation that has no such job, without an end to its
// back-off. It reports false for a conversation that has no login.
func (d *Deliverer) OfferRebuild(conversation store.Conversation, job Job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark(conversation)
	at := d.known[conversation]
	if at == nil {
		return false
	}
	if at.rebuild == nil {
		at.rebuild = job
		at.dirty = at.dirty || at.running
	}
	return true
}

// Redo has the next delivery of a conversation run a job before the next event. It
// reports false when too many jobs wait, or when there is no login. A job that panics is
// dropped.
func (d *Deliverer) Redo(conversation store.Conversation, job Job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark(conversation)
	at := d.known[conversation]
	if at == nil || len(at.redo) >= maxRedo {
		return false
	}
	at.redo = append(at.redo, job)
	at.dirty = at.dirty || at.running
	d.retry(at)
	return true
}

// MayCreateRoom reports whether it is the turn of a conversation to have its room
// created. When it is not, Show returns ErrAwaitTurn.
func (d *Deliverer) MayCreateRoom(conversation store.Conversation) bool {
	return d.turns.take(conversation)
}

// mark notes that a conversation has something new. It is called under mu.
func (d *Deliverer) mark(conversation store.Conversation) {
	login := d.logins[conversation.Account]
	if login == nil || d.stopping {
		return
	}
	at := d.known[conversation]
	if at == nil {
		// What the previous run did last may have reached the room and not the tables.
		recent := !d.scanned[conversation.Account]
		at = &Position{Conversation: conversation, Login: login, InDoubt: true, NextInDoubt: recent, Unlisted: recent}
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
func (d *Deliverer) markAll(conversations []store.Conversation) {
	for _, conversation := range conversations {
		d.mark(conversation)
	}
}

// giveTurns queues the conversations whose turn to create a room begins. One that cannot
// run now, because of its back-off or because its account has logged out, gives its turn
// to the next. It is called under mu.
func (d *Deliverer) giveTurns(next []store.Conversation) {
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
func (d *Deliverer) enqueue(at *Position) {
	if at.queued || at.running || d.stopping {
		return
	}
	at.queued = true
	d.ready = append(d.ready, at.Conversation)
	d.wakeUp()
}

// wakeUp makes Run start what may start.
func (d *Deliverer) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// start returns the conversations that get a place now.
func (d *Deliverer) start() []*Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	var started []*Position
	d.ready = slices.DeleteFunc(d.ready, func(conversation store.Conversation) bool {
		exclusive, ok := d.places.take(conversation.ID)
		if !ok {
			return false
		}
		at := d.known[conversation]
		at.queued, at.running, at.dirty, at.began = false, true, false, time.Now()
		at.Exclusive, at.NeedsExclusive = exclusive, false
		started = append(started, at)
		return true
	})
	return started
}

// deliver makes one delivery and notes its outcome.
func (d *Deliverer) deliver(stop, work context.Context, at *Position) {
	slow, over := false, false
	timer := time.AfterFunc(slowAfter, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !over {
			slow = true
			d.places.slow()
			d.wakeUp()
		}
	})
	defer timer.Stop()
	var more bool
	err := fault.Guard(d.deps.Log, "deliver", func() (err error) {
		more, err = d.page(stop, work, at)
		return err
	})
	if errors.Is(err, fault.ErrPanic) {
		at.Doubt() // it may have been shown
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	at.running, over = false, true
	at.ended = time.Now()
	d.places.leave(at.ID, slow, at.GhostStable)
	defer func() { d.giveTurns(d.turns.release(at.Conversation)) }()
	close(d.changed)
	d.changed = make(chan struct{})
	d.wakeUp() // a place is free
	switch {
	case d.stopping || d.logins[at.Account] != at.Login:
		delete(d.known, at.Conversation)
		d.mark(at.Conversation) // for a login that came meanwhile
	case errors.Is(err, ErrAwaitExclusive):
		d.enqueue(at)
	case errors.Is(err, ErrAwaitTurn): // giveTurns queues it
		if at.dirty { // and may have done so meanwhile
			d.enqueue(at)
		}
	case err != nil:
		if at.shown { // the conversation gets on, although the next event fails as well
			at.failures = 0
		}
		d.backOff(at, err)
	default:
		if at.err != nil {
			d.deps.Log.Info("delivery to room resumed", "contact", at.ID.Short(), "failures", at.failures)
			d.kicks.pause = 0
		}
		at.failures, at.err = 0, nil
		if more || at.dirty {
			d.enqueue(at)
		}
	}
}

// backOff is called under mu.
func (d *Deliverer) backOff(at *Position, err error) {
	backoff := d.deps.Retry
	if homeserver.AnswerOf(err) == homeserver.AnswerRoom {
		backoff.Max *= brokenRoomFactor
	}
	delay := backoff.Delay(at.failures)
	var wait *homeserver.RetryAfter
	if errors.As(err, &wait) {
		delay = max(delay, min(wait.Delay, homeserver.MaxRetryAfter))
	}
	if at.failures == 0 {
		at.since = at.began
	}
	if at.err == nil {
		d.deps.Log.Warn("delivery to room failed, retrying", "contact", at.ID.Short(), "err", fault.OneLine(err), "retry_in", delay)
	} else {
		d.deps.Log.Debug("delivery to room failed again",
			"contact", at.ID.Short(), "err", fault.OneLine(err), "retry_in", delay, "failures", at.failures)
	}
	at.failures++
	at.err = err
	d.later(at, delay)
}

// later enqueues a conversation after a delay. It is called under mu.
func (d *Deliverer) later(at *Position, delay time.Duration) {
	at.timer = time.AfterFunc(delay, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.known[at.Conversation] == at && at.timer != nil {
			at.timer = nil
			d.enqueue(at)
		}
	})
}

// page delivers the next events of a conversation and reports whether there may be more.
func (d *Deliverer) page(stop, work context.Context, at *Position) (more bool, err error) {
	at.shown = false
	if !at.loaded {
		if at.Cursor, err = d.deps.Node.Cursor(Consumer, at.Account, at.ID); err != nil {
			return false, err
		}
		at.loaded = true
	}
	if err := d.runRebuild(work, at); err != nil {
		return false, err
	}
	if err := d.runRedo(work, at); err != nil {
		return false, err
	}
	if err := d.showProfile(work, at); err != nil {
		return false, err
	}
	events, err := d.deps.Node.ConversationEvents(at.Account, at.ID, at.Cursor, pageSize)
	if err != nil {
		return false, err
	}
	moved := func() error { return nil } // waits for the cursor
	defer func() {
		if failed := moved(); failed != nil {
			at.loaded, at.shown, at.InDoubt, at.NextInDoubt, at.Unlisted = false, false, true, true, true
			more, err = false, errors.Join(err, failed)
		}
	}()
	for i, ev := range events {
		if !d.mayGoOn(stop, at) {
			break
		}
		if at.Exclusive && at.GhostStable && i > 0 {
			return true, nil // other accounts with this contact need not wait any more
		}
		d.begins(at)
		if err := d.deps.Show(work, at, ev); err != nil {
			at.Doubt()
			return false, err
		}
		if moved() != nil {
			break
		}
		moved = d.moveCursor(work, at.Conversation, ev.Seq)
		d.deps.Backlog.Note(len(events) - i - 1)
		at.Cursor, at.shown, at.Trial, at.Repairs = ev.Seq, true, Trial{}, 0
		at.InDoubt, at.NextInDoubt, at.Unlisted = at.NextInDoubt, false, at.Unlisted && at.NextInDoubt
	}
	return len(events) == pageSize, nil
}

// moveCursor stores that an event was shown, while the next one is. The caller has to
// wait for it.
func (d *Deliverer) moveCursor(work context.Context, c store.Conversation, seq uint64) (wait func() error) {
	done := make(chan error, 1)
	go func() {
		done <- fault.Guard(d.deps.Log, "move a cursor", func() error {
			return d.deps.Node.MoveCursor(work, Consumer, c.Account, c.ID, seq)
		})
	}()
	return sync.OnceValue(func() error { return <-done })
}

// runRebuild runs the job that remakes the room, when there is one.
func (d *Deliverer) runRebuild(work context.Context, at *Position) error {
	d.mu.Lock()
	job := at.rebuild
	at.rebuild = nil
	d.mu.Unlock()
	if job == nil {
		return nil
	}
	err := fault.Guard(d.deps.Log, "remake a room", func() error { return job(work, at) })
	if err == nil {
		return nil
	}
	at.Doubt()
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.rebuild == nil && !errors.Is(err, fault.ErrPanic) { // a panic would repeat itself
		at.rebuild = job
	}
	return err
}

// runRedo runs the jobs of Redo.
func (d *Deliverer) runRedo(work context.Context, at *Position) error {
	for {
		d.mu.Lock()
		if len(at.redo) == 0 {
			d.mu.Unlock()
			return nil
		}
		job := at.redo[0]
		d.mu.Unlock()
		err := fault.Guard(d.deps.Log, "retry a message", func() error { return job(work, at) })
		if err == nil || errors.Is(err, fault.ErrPanic) { // which would repeat itself
			d.mu.Lock()
			at.redo = at.redo[1:]
			d.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// mayGoOn reports whether the delivery of a conversation may show another event.
func (d *Deliverer) mayGoOn(stop context.Context, at *Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return stop.Err() == nil && d.logins[at.Account] == at.Login
}

// begins notes that an attempt at an event begins.
func (d *Deliverer) begins(at *Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at.began = time.Now()
}
