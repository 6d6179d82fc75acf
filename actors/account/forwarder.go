// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	forwarderName = "forwarder"
	// ForwardConsumer names the cursor of the forwarder in the store. There is one for
	// the whole log, kept under the zero conversation, so that messages keep their order.
	ForwardConsumer = "hand_over"
	// forwardPage bounds the events that are read together.
	forwardPage = 100
	// forwardRetry is the pause after the store refused a message, such as when the
	// other account's outbox is full.
	forwardRetry = time.Minute
)

// forwarder forwards the messages that an account receives to the phone that has the
// account too: it queues each message for the account's own identity, in the name of
// home, another account of this node, which is an ordinary contact of the phone.
// docs/roles.md says who uses it.
//
// It is a consumer of the event log with a durable cursor, and the messages that it
// queues have the event as their source: each is queued once, also after a crash.
type forwarder struct {
	deps    *Deps
	account identity.PublicKey
	home    identity.PublicKey

	after uint64 // the last event dealt with
	wait  uint64 // the event whose message the store is asked to queue; 0 for none
}

// forwardDue is the end of forwardRetry.
type forwardDue struct{}

func newForwarderSpec(d *Deps, account, home identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: forwarderName, Kind: forwarderName, New: func() kernel.Actor {
		return &forwarder{deps: d, account: account, home: home}
	}}
}

func (f *forwarder) Started(c *kernel.Context) error {
	after, err := f.deps.Store.Cursor(ForwardConsumer, f.account, store.ConversationID{})
	if err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	f.after = after
	account, err := f.deps.Store.Account(f.account)
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	// The phone is a contact of home.
	c.Tell(f.deps.Writer, store.Write{Op: store.AddContact{Contact: store.Contact{
		Account: f.home, ID: f.account, Nickname: account.Name, State: store.ContactAccepted, Added: f.deps.nowMillis(),
	}}})
	return f.next(c)
}

func (f *forwarder) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case contact.Look, forwardDue:
		if err := f.next(c); err != nil {
			c.Fail(err)
		}
	case store.Written:
		f.onWritten(c, msg)
	}
}

func (f *forwarder) Stopping(*kernel.Context) {}

// next reads the log up to the next message to forward, and queues that.
func (f *forwarder) next(c *kernel.Context) error {
	for f.wait == 0 {
		events, err := f.deps.Store.Events(f.account, f.after, forwardPage)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			op, err := f.message(e)
			if err != nil {
				return err
			}
			if op != nil {
				f.wait = e.Seq
				c.Tell(f.deps.Writer, store.Write{Token: e.Seq, Op: *op})
				return nil
			}
			f.after = e.Seq
		}
		f.move(c)
	}
	return nil
}

// message returns the message that forwards an event, nil for none.
func (f *forwarder) message(e store.Event) (*store.EnqueueMessage, error) {
	if e.Kind != store.MessageReceived || e.Conversation.Contact() == f.home || e.Conversation.Kind() == store.KindGroup {
		return nil, nil // not a message, or one that was forwarded before; the phone reads groups itself
	}
	account, err := f.deps.Store.Account(f.account)
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	if account.Role == store.RoleMirror {
		return nil, nil // its senders bring it to the phone themselves
	}
	m, err := f.deps.Store.Message(f.account, e.Conversation, e.Message)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil // removed with its contact
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	from, err := f.deps.Store.Contact(f.account, e.Conversation.Contact())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	from.ID = e.Conversation.Contact()
	payload := forwarded(m, from.DisplayName())
	if payload == nil {
		return nil, nil
	}
	source := fmt.Sprintf("hand-over:%s:%s:%s", f.account, e.Conversation.Contact(), e.Message)
	return &store.EnqueueMessage{
		Account: f.home, Conversation: store.ContactConversation(f.account), Source: source,
		GUID: int64(peer.DeriveGUID(f.home[:], f.account[:], []byte(source))),
		Type: m.Type, SendTime: m.SendTime, Created: f.deps.nowMillis(), Payload: payload,
	}, nil
}

// forwarded returns a payload with the sender's name in front; nil for a message that
// says nothing outside of its conversation, such as a reaction.
func forwarded(m store.Message, name string) []byte {
	switch peer.MessageType(m.Type) {
	case peer.TypeText:
		return []byte(wire.CutText(name+": "+string(m.Payload), wire.MaxControlPayload))
	case peer.TypeImage, peer.TypeFile:
		a, err := peer.ParseAttachment(m.Payload)
		if err != nil || a.Form != peer.FormServer {
			return nil // only the sender has the file
		}
		caption := name
		if a.Text != "" {
			caption += ": " + a.Text
		}
		a.Text = wire.CutText(caption, wire.MaxCaption)
		return a.AppendTo(nil)
	}
	return nil
}

// onWritten continues after a message was queued. A message that the store refused is
// retried: none is left out.
func (f *forwarder) onWritten(c *kernel.Context, msg store.Written) {
	if msg.Token == 0 || msg.Token != f.wait {
		return
	}
	f.wait = 0
	if msg.Err != nil {
		c.Log().Warn("forwarding refused, retrying", "retry_in", forwardRetry, "err", msg.Err)
		c.After(forwardRetry, forwardDue{})
		return
	}
	f.after = msg.Token
	f.move(c)
	if err := f.next(c); err != nil {
		c.Fail(err)
	}
}

func (f *forwarder) move(c *kernel.Context) {
	c.Tell(f.deps.Writer, store.Write{Op: store.MoveCursor{Consumer: ForwardConsumer, Account: f.account, Seq: f.after}})
}
