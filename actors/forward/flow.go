// SPDX-License-Identifier: MPL-2.0

package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// page bounds the events that are read together.
	page = 100
	// retryPause is the pause after a message could not be queued, such as when an
	// outbox is full.
	retryPause = time.Minute
	// maxHeld and maxLanes bound the events that are in memory until they are retried, and
	// of how many conversations they are. With more of them the flow reads no further.
	maxHeld  = 1000
	maxLanes = 16
)

// cursor names a part of the event log and how far a consumer is there.
type cursor struct {
	consumer     string
	account      identity.PublicKey
	conversation store.ConversationID // zero for the whole log
}

// flow deals with the events of a part of the log, one at a time. An event that has to be
// retried holds only those behind it that are in the same lane: events of one lane keep
// their order, and the others go on. The cursor stays before the first event that is held,
// so after a restart what was dealt with behind it is dealt with again, which queues nothing
// twice.
type flow struct {
	deps *Deps
	at   cursor
	// done is passed when an event was dealt with and the cursor does not say so.
	done crashpoint.Name
	// handle deals with an event. It returns whether it has queued something. After an
	// errRetry it is called again for the same event, with the number of the attempt;
	// any other error ends the flow.
	handle func(ctx context.Context, e store.Event, attempt int) (queued bool, err error)
	// lane returns the lane of an event: a conversation of the account, zero for none.
	lane func(e store.Event) (store.ConversationID, error)
	wake chan struct{}

	read, moved uint64 // the last event that was read, and the cursor
	lanes       map[store.ConversationID]*lane
	held        int // in all lanes
}

// lane has the events that are held for one conversation. The first one was attempted, and
// is attempted again when it is due.
type lane struct {
	events   []store.Event
	attempts int
	due      time.Time
}

// errRetry wraps what can be otherwise in a minute.
var errRetry = errors.New("refused for now")

func newFlow(d *Deps, at cursor, done crashpoint.Name, handle func(context.Context, store.Event, int) (bool, error),
	lanes func(store.Event) (store.ConversationID, error),
) *flow {
	return &flow{
		deps: d, at: at, done: done, handle: handle, lane: lanes,
		wake: make(chan struct{}, 1), lanes: make(map[store.ConversationID]*lane),
	}
}

// look says that there may be new events. It does not block.
func (f *flow) look() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run deals with the events until ctx ends.
func (f *flow) run(ctx context.Context, c *kernel.Context) error {
	err := f.begin(ctx)
	for err == nil && ctx.Err() == nil {
		err = f.round(ctx, c)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the actor ends
	}
	return err
}

// begin finds where the flow begins. One without a cursor begins at the end of the log:
// what was said before is not for anybody.
func (f *flow) begin(ctx context.Context) (err error) {
	if f.moved, err = f.deps.Store.Cursor(f.at.consumer, f.at.account, f.at.conversation); err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	if f.read = f.moved; f.read > 0 {
		return nil
	}
	if f.read, err = f.deps.Store.LastEvent(f.at.account); err != nil {
		return fmt.Errorf("read last event: %w", err)
	}
	return f.move(ctx)
}

// round retries the events that are due and handles a page of new ones. When there are none
// of either, it waits.
func (f *flow) round(ctx context.Context, c *kernel.Context) error {
	if err := f.retry(ctx, c); err != nil {
		return err
	}
	if f.full() {
		f.wait(ctx, nil)
		return nil
	}
	events, err := f.next()
	if err != nil {
		return err
	}
	if len(events) == 0 {
		f.wait(ctx, f.wake)
		return nil
	}
	for i, e := range events {
		queued, err := f.deal(ctx, c, e)
		if err != nil {
			return err
		}
		f.read = e.Seq
		if err := f.dealt(ctx, queued, i == len(events)-1); err != nil {
			return err
		}
		if f.full() {
			return nil
		}
	}
	return nil
}

func (f *flow) next() (events []store.Event, err error) {
	if f.at.conversation.IsZero() {
		events, err = f.deps.Store.Events(f.at.account, f.read, page)
	} else {
		events, err = f.deps.Store.ConversationEvents(f.at.account, f.at.conversation, f.read, page)
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// wait returns when there may be new events, or when an event is due.
func (f *flow) wait(ctx context.Context, wake <-chan struct{}) {
	var due <-chan time.Time
	if len(f.lanes) > 0 {
		var first time.Time
		for _, l := range f.lanes {
			if first.IsZero() || l.due.Before(first) {
				first = l.due
			}
		}
		timer := time.NewTimer(time.Until(first))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-due:
	}
}

// full reports whether so much is held that no more may be read.
func (f *flow) full() bool { return f.held >= maxHeld || len(f.lanes) >= maxLanes }

// deal deals with an event, or holds it.
func (f *flow) deal(ctx context.Context, c *kernel.Context, e store.Event) (queued bool, err error) {
	if len(f.lanes) > 0 {
		at, err := f.lane(e)
		if err != nil {
			return false, err
		}
		if l := f.lanes[at]; l != nil {
			l.events = append(l.events, e)
			f.held++
			return false, nil
		}
	}
	queued, err = f.handle(ctx, e, 1)
	if !errors.Is(err, errRetry) || ctx.Err() != nil {
		return queued, err
	}
	at, failed := f.lane(e)
	if failed != nil {
		return false, failed
	}
	l := &lane{events: []store.Event{e}}
	f.lanes[at] = l
	f.held++
	f.failed(c, l, err)
	return false, nil
}

// failed notes that the first event of a lane could not be dealt with.
func (f *flow) failed(c *kernel.Context, l *lane, err error) {
	l.attempts++
	l.due = time.Now().Add(retryPause)
	c.Log().Warn("forwarding refused, retrying",
		"task", f.at.consumer, "event", l.events[0].Seq, "count", len(l.events), "retry_in", retryPause, "err", err)
}

// retry deals with the lanes that are due: none of their events is left out.
func (f *flow) retry(ctx context.Context, c *kernel.Context) error {
	for at, l := range f.lanes {
		if time.Now().Before(l.due) {
			continue
		}
		for len(l.events) > 0 {
			queued, err := f.handle(ctx, l.events[0], l.attempts+1)
			if errors.Is(err, errRetry) && ctx.Err() == nil {
				f.failed(c, l, err)
				break
			}
			if err != nil {
				return err
			}
			l.events, l.attempts = l.events[1:], 0
			f.held--
			if len(l.events) == 0 {
				delete(f.lanes, at)
			}
			if err := f.dealt(ctx, queued, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// dealt moves the cursor if something was queued, or if it is time to.
func (f *flow) dealt(ctx context.Context, queued, now bool) error {
	if queued {
		crashpoint.At(f.done)
	}
	if !queued && !now {
		return nil
	}
	return f.move(ctx)
}

// move moves the cursor behind everything that was dealt with.
func (f *flow) move(ctx context.Context) error {
	to := f.read
	for _, l := range f.lanes {
		to = min(to, l.events[0].Seq-1)
	}
	if to <= f.moved {
		return nil
	}
	op := store.MoveCursor{Consumer: f.at.consumer, Account: f.at.account, Conversation: f.at.conversation, Seq: to}
	if _, err := store.Do[bool](ctx, f.deps.Writer, op); err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	f.moved = to
	return nil
}
