// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// A contact's device, or the mediator of a group, may be unreachable for days. The room says so in one notice, which is
// edited as the outbox changes. A message that is undelivered for too long is cancelled
// when the configuration says so.

const (
	// waitingEntry is the event kind of these notices, for transaction ids. The log has
	// none of it.
	waitingEntry store.EventKind = 254

	// The time between two checks of the outboxes is a quarter of the least limit, within
	// these bounds.
	waitingTickMin, waitingTickMax = 20 * time.Millisecond, 30 * time.Second
)

// waitingNotice is the open notice of a room. It is stored with the bridge's tables.
type waitingNotice struct {
	Event id.EventID   `json:"event"`
	Room  id.RoomID    `json:"room"`
	Since store.Millis `json:"since"` // when the oldest message was queued
	Count int          `json:"count"`
	Edits int          `json:"edits"`
}

func waitingKey(c store.Conversation) database.Key {
	return database.Key("im.mimir.waiting." + c.Account.String() + "." + c.ID.String())
}

// outboxWatcher is what is known of the outboxes from one check to the next. The event
// log says which of them have changed; the others are not read again.
type outboxWatcher struct {
	*Connector
	// told has the conversations whose notice was read from the tables; true when one may be
	// open.
	told map[store.Conversation]bool
	// oldest is when the oldest undelivered message of a conversation was queued. A
	// conversation whose outbox has changed since is not in it.
	oldest map[store.Conversation]store.Millis
	// seen are the accounts whose open notices are known.
	seen map[identity.PublicKey]struct{}
	// rooms sends the notices.
	rooms *roomNotifiers
}

// waitingNow describes the outbox of a conversation.
type waitingNow struct {
	count int
	since store.Millis // when the oldest message was queued
}

// watchOutboxes tells rooms what is undelivered, until stop ends.
func (c *Connector) watchOutboxes(stop, work context.Context) {
	config := c.config.Network
	if config.WaitingNotice == 0 && config.GiveUp == 0 {
		return
	}
	least := config.WaitingNotice
	if least == 0 {
		least = config.GiveUp
	}
	watch := c.node.WatchEvents()
	defer watch.Close()
	tick := time.NewTicker(min(max(least/4, waitingTickMin), waitingTickMax))
	defer tick.Stop()
	w := outboxWatcher{
		Connector: c, told: make(map[store.Conversation]bool),
		oldest: make(map[store.Conversation]store.Millis), seen: make(map[identity.PublicKey]struct{}),
		rooms: newRoomNotifiers(c.retry),
	}
	defer w.rooms.group.Wait()
	for {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		w.forget(watch.Take())
		w.note(stop)
		for _, account := range c.deliver.Attached() {
			err := fault.Guard(c.log, "watch outboxes", func() error { return w.checkAccount(work, account) })
			if err != nil && stop.Err() == nil {
				c.log.Debug("check of outboxes failed, retrying", "account", account.Short(), "err", fault.OneLine(err))
			}
		}
	}
}

// forget drops what is known of outboxes that have changed.
func (w *outboxWatcher) forget(changes store.Changes) {
	if changes.All {
		clear(w.oldest)
	}
	for at := range changes.Conversations {
		delete(w.oldest, at)
	}
}

// note notes the outcomes of notices. One that failed is sent again.
func (w *outboxWatcher) note(stop context.Context) {
	for at, how := range w.rooms.results() {
		w.told[at] = how.open
		if how.err == nil {
			continue
		}
		delete(w.oldest, at)
		if stop.Err() == nil {
			w.log.Debug("outbox notice failed, retrying", "contact", at.ID.Short(), "err", fault.OneLine(how.err))
		}
	}
}

// checkAccount checks the conversations of an account that have an outbox or an open
// notice. One that fails is checked again, and does not delay the others.
func (w *outboxWatcher) checkAccount(ctx context.Context, account identity.PublicKey) error {
	waiting, err := w.conversations.Outboxes(account)
	if err != nil {
		return err
	}
	if _, seen := w.seen[account]; !seen {
		conversations, err := w.conversations.All(account) // a notice may be open since the last start
		if err != nil {
			return err
		}
		for _, id := range conversations {
			at := store.Conversation{Account: account, ID: id}
			if _, open := w.openNotice(ctx, at); open {
				w.told[at] = true
			}
		}
		w.seen[account] = struct{}{}
	}
	for at, open := range w.told {
		if open && at.Account == account && !slices.Contains(waiting, at.ID) {
			waiting = append(waiting, at.ID)
		}
	}
	var errs []error
	for _, id := range waiting {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at := store.Conversation{Account: account, ID: id}
		if err := w.checkOutbox(ctx, at); err != nil {
			delete(w.oldest, at)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkOutbox cancels what is undelivered for too long in a conversation, and updates its
// notice.
func (w *outboxWatcher) checkOutbox(ctx context.Context, at store.Conversation) error {
	oldest, known := w.oldest[at]
	unchanged := known
	if !known {
		first, found, err := w.conversations.OldestUndelivered(at.Account, at.ID)
		if err != nil {
			return err
		}
		if oldest = 0; found {
			oldest = first.Created
		}
	}
	if w.waitedFor(oldest, w.config.Network.GiveUp) {
		if err := w.giveUpOld(ctx, at); err != nil {
			return err
		}
		return nil // the change is in the event log
	}
	w.oldest[at] = oldest
	open := w.told[at]
	if long := w.waitedFor(oldest, w.config.Network.WaitingNotice); !open && !long || open && unchanged {
		return nil
	}
	size, err := w.conversations.OutboxSize(at.Account, at.ID)
	if err != nil {
		return err
	}
	receiver, err := w.receiverOf(at)
	if nodeapi.IsGone(err) {
		w.told[at] = false
		return nil // removed
	}
	if err != nil {
		return err
	}
	began := w.rooms.start(at, func() (open bool, err error) {
		err = fault.Guard(w.log, "tell what waits", func() (err error) {
			open, err = w.tellWaiting(ctx, at, receiver, waitingNow{size.Messages, oldest})
			return err
		})
		return open, err
	})
	if !began {
		delete(w.oldest, at) // or it would count as told
	}
	return nil
}

// waitedFor reports whether a message that was queued at a time is older than a limit,
// which is 0 for none.
func (w *outboxWatcher) waitedFor(queued store.Millis, limit time.Duration) bool {
	return queued != 0 && limit > 0 && time.Since(queued.Time()) > limit
}

// giveUpOld cancels the messages of a conversation that are undelivered for too long.
func (w *outboxWatcher) giveUpOld(ctx context.Context, at store.Conversation) error {
	var old []store.MessageID
	for m, err := range w.conversations.Undelivered(at.Account, at.ID) {
		if err != nil {
			return err
		}
		if !w.waitedFor(m.Created, w.config.Network.GiveUp) {
			break
		}
		old = append(old, m.ID)
	}
	unreached := "the contact's device"
	if at.ID.Kind() == store.KindGroup {
		unreached = "the mediator of the group"
	}
	reason := fmt.Sprintf("%s could not be reached for %s", unreached, w.config.Network.GiveUp)
	for _, m := range old {
		if _, err := w.conversations.Cancel(ctx, at.Account, at.ID, m, reason); err != nil {
			return err
		}
	}
	return nil
}

// openNotice returns the open notice of a conversation from the tables.
func (c *Connector) openNotice(ctx context.Context, at store.Conversation) (last waitingNotice, open bool) {
	open = json.Unmarshal([]byte(c.br.DB.KV.Get(ctx, waitingKey(at))), &last) == nil && last.Event != ""
	return last, open
}

// receiver is who does not have what is undelivered, in the words of the notice.
type receiver struct {
	name  string // "Bob", "the mediator of Choir"
	title string // the same at the beginning of a sentence
	when  string // the condition of the delivery
}

// receiverOf returns who does not have what is undelivered in a conversation.
func (c *Connector) receiverOf(at store.Conversation) (receiver, error) {
	if c.conversations.InGroups(at.ID) {
		g, err := c.groups.Group(at.Account, at.ID)
		name := groupchat.Name(g)
		return receiver{"the mediator of " + name, "The mediator of " + name, "the mediator can be reached"}, err
	}
	contact, err := c.node.Contact(at.Account, at.Contact())
	if err != nil {
		return receiver{}, err
	}
	name := c.names.OfContact(contact)
	return receiver{name, name, "a device of theirs is there"}, nil
}

// tellWaiting sends or edits the notice of one room. It reports whether a notice is open.
func (c *Connector) tellWaiting(ctx context.Context, at store.Conversation, who receiver, waits waitingNow) (open bool, err error) {
	last, had := c.openNotice(ctx, at)
	open = had
	if (!open && waits.count == 0) || (open && waits.count == last.Count) {
		return had, nil
	}
	portal, err := c.br.GetExistingPortalByKey(ctx, mimirid.Portal(at.Account, at.ID))
	if err != nil || portal == nil || portal.MXID == "" {
		return had, err
	}
	if open && last.Room != portal.MXID {
		open, last = false, waitingNotice{}
	}
	next := waitingNotice{Event: last.Event, Room: portal.MXID, Since: last.Since, Count: waits.count, Edits: last.Edits + 1}
	var text string
	switch {
	case waits.count > 0:
		if !open {
			next = waitingNotice{Room: portal.MXID, Since: waits.since, Count: waits.count}
		}
		text = fmt.Sprintf("⏳ Waiting for %s since %s: %s. It is delivered as soon as %s.",
			who.name, moment(next.Since), countText(waits.count), who.when)
	case open:
		text = fmt.Sprintf("✅ %s has everything that waited since %s.", who.title, moment(last.Since))
	default:
		return had, nil
	}
	if text, err = c.addressed(at, text); err != nil {
		return had, err
	}
	content := msgconv.Notice(text)
	content.Mentions = &event.Mentions{}
	if open {
		content.SetEdit(last.Event)
	}
	// The moment and the number of edits name the notice: sent again after a crash, it is
	// the same one.
	scope := homeserver.NewScope(store.Event{
		Account: at.Account, Conversation: at.ID, Seq: uint64(max(next.Since, 0)), Kind: waitingEntry,
	}, next.Edits)
	scoped, cancel := scope.With(c.br.BackgroundCtx, ctx)
	defer cancel()
	resp, err := c.br.Bot.SendMessage(scoped, portal.MXID, event.EventMessage, &event.Content{Parsed: content}, nil)
	if err != nil {
		return had, fmt.Errorf("tell what waits: %w", homeserver.WithRetryAfter(err))
	}
	if !open {
		next.Event = resp.EventID
	}
	if waits.count == 0 {
		next = waitingNotice{}
	}
	value, err := json.Marshal(next)
	if err != nil {
		return had, err
	}
	c.br.DB.KV.Set(ctx, waitingKey(at), string(value))
	return next.Event != "", nil
}

// roomNotifiers send notices into rooms, each by itself: a room that does not answer
// delays no other, and one that refuses is retried after a back-off. It is safe for use
// by many goroutines.
type roomNotifiers struct {
	retry kernel.Backoff
	group sync.WaitGroup

	mu    sync.Mutex
	busy  map[store.Conversation]bool
	fails map[store.Conversation]noticeFailure
	ended map[store.Conversation]noticeOutcome // since the last call of results
}

// noticeOutcome is the outcome of one notice.
type noticeOutcome struct {
	open bool // the room has a notice that is to be edited
	err  error
}

// noticeFailure is a notice that was not accepted.
type noticeFailure struct {
	tries int
	next  time.Time
}

func newRoomNotifiers(retry kernel.Backoff) *roomNotifiers {
	return &roomNotifiers{
		retry: retry, busy: make(map[store.Conversation]bool),
		fails: make(map[store.Conversation]noticeFailure), ended: make(map[store.Conversation]noticeOutcome),
	}
}

// start sends a notice into a room, unless one is being sent or its pause is not over. It
// reports whether it does.
func (t *roomNotifiers) start(at store.Conversation, tell func() (open bool, err error)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[at] || time.Now().Before(t.fails[at].next) {
		return false
	}
	t.busy[at] = true
	t.group.Go(func() {
		open, err := tell()
		t.end(at, noticeOutcome{open, err})
	})
	return true
}

func (t *roomNotifiers) end(at store.Conversation, how noticeOutcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, at)
	t.ended[at] = how
	if how.err == nil {
		delete(t.fails, at)
		return
	}
	failure := t.fails[at]
	pause := t.retry.Delay(failure.tries)
	if wait := (*homeserver.RetryAfter)(nil); errors.As(how.err, &wait) {
		pause = max(pause, min(wait.Delay, homeserver.MaxRetryAfter))
	}
	t.fails[at] = noticeFailure{failure.tries + 1, time.Now().Add(pause)}
}

// results returns the outcomes since the last call.
func (t *roomNotifiers) results() map[store.Conversation]noticeOutcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := maps.Clone(t.ended)
	clear(t.ended)
	return ended
}
