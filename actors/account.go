// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"fmt"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// account is one identity of this node: it keeps an actor for each contact, sends
// incoming streams to them, and tells them when the event log says that there is
// something to do. The log is the one way in which anybody makes it act: whoever
// queues a message or adds a contact writes that to the store and is done.
type account struct {
	// Fixed at creation.
	env *env
	id  identity.PublicKey

	// State.
	record store.Account // as of the last look
}

// newAccountSpec makes the spec of an account's actor.
func newAccountSpec(e *env, id identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: accountName(id), Kind: "account", New: func() kernel.Actor {
		return &account{env: e, id: id}
	}}
}

const accountPrefix = "account-"

func accountName(id identity.PublicKey) string { return accountPrefix + id.String() }

func (a *account) Started(c *kernel.Context) error {
	if err := a.env.keys.load(a.id); err != nil {
		return err
	}
	var err error
	if a.record, err = a.env.store.Account(a.id); err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	// Watch first, look then: what changes in between is seen twice, not missed.
	watchLog(c, a.env.store.Watch(a.id))
	if err := a.spawnMissing(c); err != nil {
		return err
	}
	c.Tell(a.env.resolver, announce{Account: a.id})
	return a.handOver(c)
}

// handOver starts the actor that passes on what comes, or stops it.
func (a *account) handOver(c *kernel.Context) error {
	child, running := c.Child(passOnName)
	switch {
	case a.record.HandOver.IsZero() && running:
		c.Stop(child)
	case !a.record.HandOver.IsZero() && !running:
		if _, err := c.Spawn(newPassOnSpec(a.env, a.id, a.record.HandOver)); err != nil {
			return fmt.Errorf("start hand-over: %w", err)
		}
	}
	return nil
}

// spawnMissing starts an actor for every contact that has none.
func (a *account) spawnMissing(c *kernel.Context) error {
	contacts, err := a.env.store.Contacts(a.id)
	if err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	for _, contact := range contacts {
		if _, ok := c.Child(contact.ID.String()); ok {
			continue
		}
		if _, err := a.spawn(c, contact.ID); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case inbound:
		a.onInbound(c, msg)
	case conversationsChanged:
		a.onConversationsChanged(c, msg)
	case overlayChanged:
		for _, contact := range c.Children() {
			c.Tell(contact, msg)
		}
	case kernel.ChildStopped:
		a.onContactStopped(c, msg)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
}

func (a *account) Stopping(c *kernel.Context) {
	c.Tell(a.env.resolver, announce{Account: a.id, Stop: true})
}

func (a *account) onInbound(c *kernel.Context, msg inbound) {
	contact, ok := c.Child(msg.Contact.String())
	if !ok {
		var err error
		if contact, err = a.spawn(c, msg.Contact); err != nil {
			msg.Stream.drop()
			a.env.strangerLog.Warn("cannot start a contact actor for an incoming stream", "account", a.id.Short(), "contact", msg.Contact.Short(), "err", err)
			return
		}
	}
	c.Tell(contact, msg)
}

func (a *account) onConversationsChanged(c *kernel.Context, msg conversationsChanged) {
	msg.Done.Release(1)
	if msg.Changes.All {
		a.look(c)
		for _, contact := range c.Children() {
			c.Tell(contact, conversationChanged{})
		}
		if err := a.spawnMissing(c); err != nil {
			c.Fail(err)
		}
		return
	}
	if child, ok := c.Child(passOnName); ok {
		c.Tell(child, conversationChanged{})
	}
	for conversation := range msg.Changes.Conversations {
		id := conversation.Contact
		if id.IsZero() {
			a.look(c)
			continue
		}
		if contact, ok := c.Child(id.String()); ok {
			c.Tell(contact, conversationChanged{})
		} else if _, err := a.spawn(c, id); err != nil { // looks for itself
			c.Fail(err)
		}
	}
}

// look reads the account itself again, and passes on what others have to know.
func (a *account) look(c *kernel.Context) {
	record, err := a.env.store.Account(a.id)
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	before := a.record
	a.record = record
	if record.ProfileTime != before.ProfileTime {
		for _, contact := range c.Children() {
			c.Tell(contact, profileChanged{})
		}
	}
	if record.HandOver != before.HandOver {
		if child, ok := c.Child(passOnName); ok && !record.HandOver.IsZero() {
			c.Stop(child) // begins again with the other account, in onContactStopped
		} else if err := a.handOver(c); err != nil {
			c.Fail(err)
		}
	}
	if record.Role == before.Role && record.Priority == before.Priority {
		return
	}
	c.Tell(a.env.resolver, announce{Account: a.id, Again: true})
	for _, contact := range c.Children() {
		c.Tell(contact, roleChanged{})
	}
}

// onContactStopped: a stranger has left, or a contact has failed too often. The
// latter comes back with the next thing to do for it.
func (a *account) onContactStopped(c *kernel.Context, msg kernel.ChildStopped) {
	if msg.Name == passOnName && msg.Err == nil {
		if err := a.handOver(c); err != nil {
			c.Fail(err)
		}
		return
	}
	if msg.Err != nil {
		c.Log().Error("The actor of a contact has been given up for now", "contact", msg.Name[:8], "err", msg.Err)
	}
}

func (a *account) spawn(c *kernel.Context, contact identity.PublicKey) (kernel.Ref, error) {
	ref, err := c.Spawn(newContactSpec(a.env, pair{a.id, contact}))
	if err != nil {
		return kernel.Ref{}, fmt.Errorf("start contact: %w", err)
	}
	return ref, nil
}
