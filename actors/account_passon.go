// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	passOnName = "pass_on"
	// passOnConsumer is the cursor of the hand-over. It is one for the whole log, kept
	// under the conversation of nobody, so that messages keep their order.
	passOnConsumer = "hand_over"
	// passOnPage is how many events are looked at together.
	passOnPage = 100
	// passOnRetry is the pause when another account's outbox takes nothing.
	passOnRetry = time.Minute
)

// passOn hands over to the phone what an account receives: it queues each message
// for the account's own identity, in the name of another account of this node,
// which is an ordinary contact of the phone. docs/roles.md says for whom that is.
//
// It is a consumer of the event log with a durable cursor, and the messages it
// queues have the event as their source: whatever happens in between, each is
// queued once.
type passOn struct {
	deps    *accountDeps
	account identity.PublicKey
	home    identity.PublicKey

	after uint64 // the last event dealt with
	wait  uint64 // the event whose message the store is asked to queue; 0 for none
}

type passOnDue struct{}

func newPassOnSpec(d *accountDeps, account, home identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: passOnName, Kind: passOnName, New: func() kernel.Actor {
		return &passOn{deps: d, account: account, home: home}
	}}
}

func (p *passOn) Started(c *kernel.Context) error {
	after, err := p.deps.Store.Cursor(passOnConsumer, p.account, store.ConversationID{})
	if err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	p.after = after
	account, err := p.deps.Store.Account(p.account)
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	// Whoever is passed on to is a contact of who passes on.
	c.Tell(p.deps.Writer, store.Write{Op: store.AddContact{Contact: store.Contact{
		Account: p.home, ID: p.account, Nickname: account.Name, State: store.ContactAccepted, Added: p.deps.nowMillis(),
	}}})
	return p.next(c)
}

func (p *passOn) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case lookAgain, passOnDue:
		if err := p.next(c); err != nil {
			c.Fail(err)
		}
	case store.Written:
		p.onWritten(c, msg)
	}
}

func (p *passOn) Stopping(*kernel.Context) {}

// next goes through the log up to the next message that is to be passed on.
func (p *passOn) next(c *kernel.Context) error {
	for p.wait == 0 {
		events, err := p.deps.Store.Events(p.account, p.after, passOnPage)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			op, err := p.message(e)
			if err != nil {
				return err
			}
			if op != nil {
				p.wait = e.Seq
				c.Tell(p.deps.Writer, store.Write{Token: e.Seq, Op: *op})
				return nil
			}
			p.after = e.Seq
		}
		p.move(c)
	}
	return nil
}

// message is what an event makes to be passed on; nil for nothing.
func (p *passOn) message(e store.Event) (*store.EnqueueMessage, error) {
	if e.Kind != store.MessageReceived || e.Conversation.Contact() == p.home {
		return nil, nil // nothing, or what was passed on before
	}
	account, err := p.deps.Store.Account(p.account)
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	if account.Role == store.RoleMirror {
		return nil, nil // its senders bring it to the phone themselves
	}
	m, err := p.deps.Store.Message(p.account, e.Conversation, e.Message)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil // removed with its contact
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	from, err := p.deps.Store.Contact(p.account, e.Conversation.Contact())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	from.ID = e.Conversation.Contact()
	payload := passedOn(m, nameOf(from))
	if payload == nil {
		return nil, nil
	}
	source := fmt.Sprintf("hand-over:%s:%s:%s", p.account, e.Conversation.Contact(), e.Message)
	return &store.EnqueueMessage{
		Account: p.home, Conversation: store.ContactConversation(p.account), Source: source,
		GUID: int64(peer.DeriveGUID(p.home[:], p.account[:], []byte(source))),
		Type: m.Type, SendTime: m.SendTime, Created: p.deps.nowMillis(), Payload: payload,
	}, nil
}

// nameOf is what our user knows a contact by.
func nameOf(c store.Contact) string {
	switch {
	case c.LocalName != "":
		return c.LocalName
	case c.Nickname != "":
		return c.Nickname
	}
	return c.ID.Short()
}

// passedOn is a payload with the sender's name in front; nil for what says nothing
// without its conversation, such as a reaction.
func passedOn(m store.Message, name string) []byte {
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

// onWritten goes on after a message was queued. What the other account cannot take
// now is tried again later: nothing is left out.
func (p *passOn) onWritten(c *kernel.Context, msg store.Written) {
	if msg.Token == 0 || msg.Token != p.wait {
		return
	}
	p.wait = 0
	if msg.Err != nil {
		c.Log().Warn("A message cannot be handed over now", "err", msg.Err)
		c.After(passOnRetry, passOnDue{})
		return
	}
	p.after = msg.Token
	p.move(c)
	if err := p.next(c); err != nil {
		c.Fail(err)
	}
}

func (p *passOn) move(c *kernel.Context) {
	c.Tell(p.deps.Writer, store.Write{Op: store.MoveCursor{Consumer: passOnConsumer, Account: p.account, Seq: p.after}})
}
