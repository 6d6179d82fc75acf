// SPDX-License-Identifier: MPL-2.0

package notices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
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

// OutboxDeps is what [WatchOutboxes] uses.
type OutboxDeps struct {
	Bridge        *bridgev2.Bridge
	Node          nodeapi.Node
	Groups        nodeapi.GroupNode // nil when the node takes part in no groups
	Conversations *nodeapi.Conversations
	Names         *people.Names
	Log           *slog.Logger
	// Config has the times after which a room is told, and a message is cancelled.
	Config config.Network
	// Retry is the back-off of a notice that was refused.
	Retry kernel.Backoff
	// Attached returns the accounts that have a login.
	Attached func() []identity.PublicKey
	// Addressed returns a text about what one of our users has sent, with the user before it
	// when others read it as well.
	Addressed func(at store.Conversation, text string) (string, error)
}

// outboxWatcher is what is known of the outboxes from one check to the next. The event log
// says which of them have changed; the others are not read again.
type outboxWatcher struct {
	deps OutboxDeps
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

// WatchOutboxes tells rooms what is undelivered, and cancels what is so for too long, until
// stop ends; a notice that is being sent ends with work.
func WatchOutboxes(stop, work context.Context, deps OutboxDeps) {
	config := deps.Config
	if config.WaitingNotice == 0 && config.GiveUp == 0 {
		return
	}
	least := config.WaitingNotice
	if least == 0 {
		least = config.GiveUp
	}
	watch := deps.Node.WatchEvents()
	defer watch.Close()
	tick := time.NewTicker(min(max(least/4, waitingTickMin), waitingTickMax))
	defer tick.Stop()
	w := outboxWatcher{
		deps: deps, told: make(map[store.Conversation]bool),
		oldest: make(map[store.Conversation]store.Millis), seen: make(map[identity.PublicKey]struct{}),
		rooms: newRoomNotifiers(deps.Retry),
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
		for _, account := range w.deps.Attached() {
			err := fault.Guard(w.deps.Log, "watch outboxes", func() error { return w.checkAccount(work, account) })
			if err != nil && stop.Err() == nil {
				w.deps.Log.Debug("check of outboxes failed, retrying", "account", account.Short(), "err", fault.OneLine(err))
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

// note notes the outcomes of  One that failed is sent again.
func (w *outboxWatcher) note(stop context.Context) {
	for at, how := range w.rooms.results() {
		w.told[at] = how.open
		if how.err == nil {
			continue
		}
		delete(w.oldest, at)
		if stop.Err() == nil {
			w.deps.Log.Debug("outbox notice failed, retrying", "contact", at.ID.Short(), "err", fault.OneLine(how.err))
		}
	}
}

// checkAccount checks the conversations of an account that have an outbox or an open
// notice. One that fails is checked again, and does not delay the others.
func (w *outboxWatcher) checkAccount(ctx context.Context, account identity.PublicKey) error {
	waiting, err := w.deps.Conversations.Outboxes(account)
	if err != nil {
		return err
	}
	if _, seen := w.seen[account]; !seen {
		conversations, err := w.deps.Conversations.All(account) // a notice may be open since the last start
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
		first, found, err := w.deps.Conversations.OldestUndelivered(at.Account, at.ID)
		if err != nil {
			return err
		}
		if oldest = 0; found {
			oldest = first.Created
		}
	}
	if w.waitedFor(oldest, w.deps.Config.GiveUp) {
		if err := w.giveUpOld(ctx, at); err != nil {
			return err
		}
		return nil // the change is in the event log
	}
	w.oldest[at] = oldest
	open := w.told[at]
	if long := w.waitedFor(oldest, w.deps.Config.WaitingNotice); !open && !long || open && unchanged {
		return nil
	}
	size, err := w.deps.Conversations.OutboxSize(at.Account, at.ID)
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
		err = fault.Guard(w.deps.Log, "tell what waits", func() (err error) {
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
	for m, err := range w.deps.Conversations.Undelivered(at.Account, at.ID) {
		if err != nil {
			return err
		}
		if !w.waitedFor(m.Created, w.deps.Config.GiveUp) {
			break
		}
		old = append(old, m.ID)
	}
	unreached := "the contact's device"
	if at.ID.Kind() == store.KindGroup {
		unreached = "the mediator of the group"
	}
	reason := fmt.Sprintf("%s could not be reached for %s", unreached, w.deps.Config.GiveUp)
	for _, m := range old {
		if _, err := w.deps.Conversations.Cancel(ctx, at.Account, at.ID, m, reason); err != nil {
			return err
		}
	}
	return nil
}

// openNotice returns the open notice of a conversation from the tables.
func (w *outboxWatcher) openNotice(ctx context.Context, at store.Conversation) (last waitingNotice, open bool) {
	open = json.Unmarshal([]byte(w.deps.Bridge.DB.KV.Get(ctx, waitingKey(at))), &last) == nil && last.Event != ""
	return last, open
}

// receiver is who does not have what is undelivered, in the words of the notice.
type receiver struct {
	name  string // "Bob", "the mediator of Choir"
	title string // the same at the beginning of a sentence
	when  string // the condition of the delivery
}

// receiverOf returns who does not have what is undelivered in a conversation.
func (w *outboxWatcher) receiverOf(at store.Conversation) (receiver, error) {
	if w.deps.Conversations.InGroups(at.ID) {
		g, err := w.deps.Groups.Group(at.Account, at.ID)
		name := groupchat.Name(g)
		return receiver{"the mediator of " + name, "The mediator of " + name, "the mediator can be reached"}, err
	}
	contact, err := w.deps.Node.Contact(at.Account, at.Contact())
	if err != nil {
		return receiver{}, err
	}
	name := w.deps.Names.OfContact(contact)
	return receiver{name, name, "a device of theirs is there"}, nil
}

// tellWaiting sends or edits the notice of one room. It reports whether a notice is open.
func (w *outboxWatcher) tellWaiting(ctx context.Context, at store.Conversation, who receiver, waits waitingNow) (open bool, err error) {
	last, had := w.openNotice(ctx, at)
	open = had
	if (!open && waits.count == 0) || (open && waits.count == last.Count) {
		return had, nil
	}
	portal, err := w.deps.Bridge.GetExistingPortalByKey(ctx, mimirid.Portal(at.Account, at.ID))
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
			who.name, Moment(next.Since), CountText(waits.count), who.when)
	case open:
		text = fmt.Sprintf("✅ %s has everything that waited since %s.", who.title, Moment(last.Since))
	default:
		return had, nil
	}
	if text, err = w.deps.Addressed(at, text); err != nil {
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
	scoped, cancel := scope.With(w.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	resp, err := w.deps.Bridge.Bot.SendMessage(scoped, portal.MXID, event.EventMessage, &event.Content{Parsed: content}, nil)
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
	w.deps.Bridge.DB.KV.Set(ctx, waitingKey(at), string(value))
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
