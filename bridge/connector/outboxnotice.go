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
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
)

// A contact's device may be away for days. The room says so in one notice, which is
// edited as things go, and a message that has waited too long is given up, where
// the configuration says so.

const (
	// waitingEntry is the kind of the entries that these notices count as. None in a
	// log has it.
	waitingEntry store.EventKind = 254

	// waitingTick bounds how often outboxes are looked at.
	waitingTickMin, waitingTickMax = 20 * time.Millisecond, 30 * time.Second
)

// waitingNotice says what a room was told. It is kept with the bridge's tables.
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

// outboxWatch is what is known of the outboxes between two looks. The event log says
// which of them have changed; the others are not read again.
type outboxWatch struct {
	*Connector
	// told has the conversations whose notice was looked up in the tables; true when
	// one may be open.
	told map[store.Conversation]bool
	// oldest is when the oldest undelivered message of a conversation was queued. What
	// has changed since is not in it.
	oldest map[store.Conversation]store.Millis
	// seen are the accounts whose open notices are known.
	seen map[identity.PublicKey]struct{}
	// rooms are told each by itself.
	rooms *tellers
}

// waitingNow is what is undelivered in a conversation.
type waitingNow struct {
	count int
	since store.Millis // when the oldest message was queued
}

// watchOutboxes tells rooms what waits, until stop ends.
func (c *Connector) watchOutboxes(stop, work context.Context) {
	config := c.config.Network
	if config.WaitingNotice == 0 && config.GiveUp == 0 {
		return
	}
	patience := config.WaitingNotice
	if patience == 0 {
		patience = config.GiveUp
	}
	watch := c.node.WatchEvents()
	defer watch.Close()
	tick := time.NewTicker(min(max(patience/4, waitingTickMin), waitingTickMax))
	defer tick.Stop()
	w := outboxWatch{
		Connector: c, told: make(map[store.Conversation]bool),
		oldest: make(map[store.Conversation]store.Millis), seen: make(map[identity.PublicKey]struct{}),
		rooms: newTellers(c.retry),
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
			err := fault.Guard(c.log, "watch outboxes", func() error { return w.look(work, account) })
			if err != nil && stop.Err() == nil {
				c.log.Debug("what waits for contacts cannot be told now, it is tried again", "account", account.Short(), "err", fault.OneLine(err))
			}
		}
	}
}

// forget drops what is known of outboxes that have changed.
func (w *outboxWatch) forget(changes store.Changes) {
	if changes.All {
		clear(w.oldest)
	}
	for at := range changes.Conversations {
		delete(w.oldest, at)
	}
}

// note notes how rooms were told. One that was not is told again.
func (w *outboxWatch) note(stop context.Context) {
	for at, how := range w.rooms.results() {
		w.told[at] = how.open
		if how.err == nil {
			continue
		}
		delete(w.oldest, at)
		if stop.Err() == nil {
			w.log.Debug("room cannot be told what waits, retrying", "contact", at.Contact().Short(), "err", fault.OneLine(how.err))
		}
	}
}

// look sees to the conversations of an account in which something waits or a notice is
// open. One that fails is looked at again, and does not keep the others waiting.
func (w *outboxWatch) look(ctx context.Context, account identity.PublicKey) error {
	waiting, err := w.node.OutboxContacts(account)
	if err != nil {
		return err
	}
	if _, seen := w.seen[account]; !seen {
		contacts, err := w.node.Contacts(account) // a notice may be open since the last start
		if err != nil {
			return err
		}
		for _, contact := range contacts {
			at := store.ConversationWith(account, contact.ID)
			if _, open := w.openNotice(ctx, at); open {
				w.told[at] = true
			}
		}
		w.seen[account] = struct{}{}
	}
	for at, open := range w.told {
		if open && at.Account == account && !slices.Contains(waiting, at.Contact()) {
			waiting = append(waiting, at.Contact())
		}
	}
	var errs []error
	for _, contact := range waiting {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at := store.ConversationWith(account, contact)
		if err := w.lookAt(ctx, at); err != nil {
			delete(w.oldest, at)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lookAt gives up what has waited too long in a conversation, and keeps its notice.
func (w *outboxWatch) lookAt(ctx context.Context, at store.Conversation) error {
	oldest, known := w.oldest[at]
	unchanged := known
	if !known {
		first, err := w.node.Outbox(at.Account, at.Contact(), 1)
		if err != nil {
			return err
		}
		if oldest = 0; len(first) > 0 {
			oldest = first[0].Created
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
	size, err := w.node.OutboxSize(at.Account, at.Contact())
	if err != nil {
		return err
	}
	contact, err := w.node.Contact(at.Account, at.Contact())
	if errors.Is(err, node.ErrUnknownContact) {
		w.told[at] = false
		return nil // removed
	}
	if err != nil {
		return err
	}
	began := w.rooms.start(at, func() (open bool, err error) {
		err = fault.Guard(w.log, "tell what waits", func() (err error) {
			open, err = w.tellWaiting(ctx, contact, waitingNow{size.Messages, oldest})
			return err
		})
		return open, err
	})
	if !began {
		delete(w.oldest, at) // or it would count as told
	}
	return nil
}

// waitedFor reports whether a message that was queued then has waited longer than a
// limit, which is 0 for none.
func (w *outboxWatch) waitedFor(queued store.Millis, limit time.Duration) bool {
	return queued != 0 && limit > 0 && time.Since(queued.Time()) > limit
}

// giveUpOld gives up the messages of a conversation that have waited too long.
func (w *outboxWatch) giveUpOld(ctx context.Context, at store.Conversation) error {
	var old []store.MessageID
	for m, err := range w.node.Undelivered(at.Account, at.Contact()) {
		if err != nil {
			return err
		}
		if !w.waitedFor(m.Created, w.config.Network.GiveUp) {
			break
		}
		old = append(old, m.ID)
	}
	reason := fmt.Sprintf("the contact's device could not be reached for %s", w.config.Network.GiveUp)
	for _, m := range old {
		if _, err := w.node.CancelMessage(ctx, at.Account, at.Contact(), m, reason); err != nil {
			return err
		}
	}
	return nil
}

// openNotice returns the notice that the tables have of a conversation.
func (c *Connector) openNotice(ctx context.Context, at store.Conversation) (last waitingNotice, open bool) {
	open = json.Unmarshal([]byte(c.br.DB.KV.Get(ctx, waitingKey(at))), &last) == nil && last.Event != ""
	return last, open
}

// tellWaiting keeps the notice of one room: waits is what it has to say. It reports
// whether a notice is open.
func (c *Connector) tellWaiting(ctx context.Context, contact store.Contact, waits waitingNow) (open bool, err error) {
	at := store.ConversationWith(contact.Account, contact.ID)
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
	name := c.displayName(contact)
	var text string
	switch {
	case waits.count > 0:
		if !open {
			next = waitingNotice{Room: portal.MXID, Since: waits.since, Count: waits.count}
		}
		text = fmt.Sprintf("⏳ Waiting for %s since %s: %s. It is delivered as soon as a device of theirs is there.",
			name, moment(next.Since), countText(waits.count))
	case open:
		text = fmt.Sprintf("✅ %s has everything that waited since %s.", name, moment(last.Since))
	default:
		return had, nil
	}
	content := msgconv.Notice(text)
	content.Mentions = &event.Mentions{}
	if open {
		content.SetEdit(last.Event)
	}
	// The moment and the number of edits name the notice: said again after a crash,
	// it is the same one.
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

// tellers tell rooms something, each by itself: one that does not answer delays no
// other, and one that refuses is told later. It is safe for use by many goroutines.
type tellers struct {
	retry kernel.Backoff
	group sync.WaitGroup

	mu    sync.Mutex
	busy  map[store.Conversation]bool
	fails map[store.Conversation]tellFailure
	ended map[store.Conversation]telling // since the last call of results
}

// telling is the outcome of one notice.
type telling struct {
	open bool // the room has a notice that is to be edited
	err  error
}

// tellFailure is a notice that was not accepted.
type tellFailure struct {
	tries int
	next  time.Time
}

func newTellers(retry kernel.Backoff) *tellers {
	return &tellers{
		retry: retry, busy: make(map[store.Conversation]bool),
		fails: make(map[store.Conversation]tellFailure), ended: make(map[store.Conversation]telling),
	}
}

// start tells a room, unless it is being told or its pause is not over. It reports
// whether it does.
func (t *tellers) start(at store.Conversation, tell func() (open bool, err error)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[at] || time.Now().Before(t.fails[at].next) {
		return false
	}
	t.busy[at] = true
	t.group.Go(func() {
		open, err := tell()
		t.end(at, telling{open, err})
	})
	return true
}

func (t *tellers) end(at store.Conversation, how telling) {
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
	t.fails[at] = tellFailure{failure.tries + 1, time.Now().Add(pause)}
}

// results returns what has ended since the last call.
func (t *tellers) results() map[store.Conversation]telling {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := maps.Clone(t.ended)
	clear(t.ended)
	return ended
}
