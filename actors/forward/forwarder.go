// SPDX-License-Identifier: MPL-2.0

package forward

import (
	"context"
	"fmt"
	"io"
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
	Files Files
	// Now is the wall clock, for what is stored.
	Now func() time.Time
}

// Files are the files of messages; [transfer.Service] implements it, and says what its errors are.
type Files interface {
	State(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error)
	Open(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error)
	Fetch(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error)
	Send(ctx context.Context, m store.EnqueueMessage, f transfer.File) (store.Message, error)
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
	f.forward = newFlow(f.deps, cursor{Consumer, f.account, store.ConversationID{}}, crashpoint.AfterForward, f.forwardEvent, forwardLane)
	f.answers = newFlow(f.deps, cursor{AnswerConsumer, f.home, f.phone()}, crashpoint.AfterAnswer, f.answerEvent, f.answerLane)
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
