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
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// Name is the name of the actor below that of the account.
	Name = "forwarder"
	// Consumer names the cursor of what is forwarded. There is one for the whole log, kept
	// under the zero conversation, so that messages keep their order.
	Consumer = "hand_over"
	// AnswerConsumer names the cursor of the answers, in the log of home, for its
	// conversation with the phone.
	AnswerConsumer = "phone_answers"

	// page bounds the events that are read together.
	page = 100
	// retryPause is the pause after a message could not be queued, such as when an
	// outbox is full.
	retryPause = time.Minute
	// maxFileAttempts is how often a file is read before it is given up. A full disk does
	// not count.
	maxFileAttempts = 10
)

// Deps is what forwarders use. The node builds it.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store  *store.Store
	Writer kernel.Ref
	// Files has the files of messages.
	Files *transfer.Service
	// Now is the wall clock, for what is stored.
	Now func() time.Time
}

func (d *Deps) nowMillis() store.Millis { return store.MillisOf(d.Now()) }

// Look tells a forwarder that the log of its account has new events.
type Look struct{}

// Follows returns the conversations of home of which forwarders follow the log with
// AnswerConsumer. It reads the store.
func Follows(s *store.Store, home identity.PublicKey) ([]store.ConversationID, error) {
	accounts, err := s.Accounts()
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	var found []store.ConversationID
	for _, a := range accounts {
		if a.ForwardTo == home {
			found = append(found, store.ContactConversation(a.ID))
		}
	}
	return found, nil
}

// forwarder owns the two flows between an account and its phone.
type forwarder struct {
	link
	forward, answers *flow
}

// NewSpec makes the spec of the forwarder of an account that forwards through home.
func NewSpec(d *Deps, account, home identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: Name, Kind: Name, New: func() kernel.Actor {
		return &forwarder{link: link{deps: d, account: account, home: home}}
	}}
}

func (f *forwarder) Started(c *kernel.Context) error {
	account, err := f.deps.Store.Account(f.account)
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	// The phone is a contact of home.
	c.Tell(f.deps.Writer, store.Write{Op: store.AddContact{Contact: store.Contact{
		Account: f.home, ID: f.account, Nickname: account.Name, State: store.ContactAccepted, Added: f.deps.nowMillis(),
	}}})
	f.deps.Store.WatchLog(c, f.home)
	f.forward = newFlow(f.deps, cursor{Consumer, f.account, store.ConversationID{}}, crashpoint.AfterForward, f.forwardEvent)
	f.answers = newFlow(f.deps, cursor{AnswerConsumer, f.home, f.phone()}, crashpoint.AfterAnswer, f.answerEvent)
	c.Go("forward", func(ctx context.Context) error { return f.forward.run(ctx, c) })
	c.Go("answers", func(ctx context.Context) error { return f.answers.run(ctx, c) })
	return nil
}

func (f *forwarder) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case Look:
		f.forward.look()
	case store.LogChanged:
		f.onHomeChanged(msg)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
}

func (f *forwarder) Stopping(*kernel.Context) {}

func (f *forwarder) onHomeChanged(msg store.LogChanged) {
	msg.Release()
	_, touched := msg.Changes.Conversations[store.Conversation{Account: f.home, ID: f.phone()}]
	if touched || msg.Changes.All {
		f.answers.look()
	}
}

// cursor names a part of the event log and how far a consumer is there.
type cursor struct {
	consumer     string
	account      identity.PublicKey
	conversation store.ConversationID // zero for the whole log
}

// flow deals with the events of a part of the log, one at a time and in order.
type flow struct {
	deps *Deps
	at   cursor
	// done is passed when an event was dealt with and the cursor does not say so.
	done crashpoint.Name
	// handle deals with an event. It returns whether it has queued something. After an
	// errRetry it is called again for the same event, with the number of the attempt;
	// any other error ends the flow.
	handle func(ctx context.Context, e store.Event, attempt int) (queued bool, err error)
	wake   chan struct{}
}

// errRetry wraps what can be otherwise in a minute.
var errRetry = errors.New("refused for now")

func newFlow(d *Deps, at cursor, done crashpoint.Name, handle func(context.Context, store.Event, int) (bool, error)) *flow {
	return &flow{deps: d, at: at, done: done, handle: handle, wake: make(chan struct{}, 1)}
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
	after, err := f.begin(ctx)
	for err == nil && ctx.Err() == nil {
		var events []store.Event
		if events, err = f.read(after); err != nil {
			break
		}
		if len(events) == 0 {
			select {
			case <-ctx.Done():
			case <-f.wake:
			}
			continue
		}
		after, err = f.deal(ctx, c, events)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the actor ends
	}
	return err
}

// begin returns where the flow begins. One without a cursor begins at the end of the log:
// what was said before is not for anybody.
func (f *flow) begin(ctx context.Context) (uint64, error) {
	after, err := f.deps.Store.Cursor(f.at.consumer, f.at.account, f.at.conversation)
	if err != nil {
		return 0, fmt.Errorf("read cursor: %w", err)
	}
	if after > 0 {
		return after, nil
	}
	if after, err = f.deps.Store.LastEvent(f.at.account); err != nil {
		return 0, fmt.Errorf("read last event: %w", err)
	}
	return after, f.move(ctx, after)
}

func (f *flow) read(after uint64) ([]store.Event, error) {
	var events []store.Event
	var err error
	if f.at.conversation.IsZero() {
		events, err = f.deps.Store.Events(f.at.account, after, page)
	} else {
		events, err = f.deps.Store.ConversationEvents(f.at.account, f.at.conversation, after, page)
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// deal deals with events and moves the cursor behind each that something was queued for,
// and behind the last one. It returns how far it is.
func (f *flow) deal(ctx context.Context, c *kernel.Context, events []store.Event) (uint64, error) {
	var after uint64
	for i, e := range events {
		queued, err := f.persist(ctx, c, e)
		if err != nil {
			return after, err
		}
		after = e.Seq
		if queued {
			crashpoint.At(f.done)
		}
		if queued || i == len(events)-1 {
			if err := f.move(ctx, after); err != nil {
				return after, err
			}
		}
	}
	return after, nil
}

// persist deals with an event, and retries until that is possible: none is left out.
func (f *flow) persist(ctx context.Context, c *kernel.Context, e store.Event) (queued bool, err error) {
	for attempt := 1; ; attempt++ {
		queued, err = f.handle(ctx, e, attempt)
		if err == nil || !errors.Is(err, errRetry) || ctx.Err() != nil {
			return queued, err
		}
		c.Log().Warn("forwarding refused, retrying", "task", f.at.consumer, "retry_in", retryPause, "err", err)
		retry := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			retry.Stop()
			return false, nil
		case <-retry.C:
		}
	}
}

// move moves the cursor.
func (f *flow) move(ctx context.Context, seq uint64) error {
	op := store.MoveCursor{Consumer: f.at.consumer, Account: f.at.account, Conversation: f.at.conversation, Seq: seq}
	if _, err := store.Do[bool](ctx, f.deps.Writer, op); err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	return nil
}
