// SPDX-License-Identifier: MPL-2.0

// Package account is one identity of the node: it starts an actor for each of its
// contacts (actors/contact) and one for its groups (actors/group), tells them what the event
// log has for them, has the resolver announce the account, and has messages forwarded to a
// phone (actors/forward) if the account's record says so. The node starts one actor for each
// account.
package account

import (
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/contact"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// account is one identity of this node: it keeps an actor for each contact, sends
// incoming streams to them, and tells them when the event log has something for them.
// The log is the only way to make it act: the API queues a message or adds a contact
// by writing to the store.
type account struct {
	// Fixed at creation.
	deps *Deps
	id   identity.PublicKey

	// State.
	record store.Account // as it was read last
}

// Deps is what the account actors of a node use. The node builds it before
// it starts the first account.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store  *store.Store
	Writer kernel.Ref
	// Resolver gets announce.
	Resolver kernel.Ref
	Log      *strangerlog.Log
	Keys     *keyring.Ring
	// Contact is for the account's contacts, Group for its groups, Forward for the phone.
	Contact *contact.Deps
	Group   *group.Deps
	Forward *forward.Deps
}

// NewSpec makes the spec of an account's actor.
func NewSpec(d *Deps, id identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: Name(id), Kind: "account", New: func() kernel.Actor {
		return &account{deps: d, id: id}
	}}
}

const (
	// NamePrefix begins the names of account actors.
	NamePrefix = "account-"
	// ChildPause is how long a child that failed too often stays stopped. The node
	// does the same with accounts.
	ChildPause = 5 * time.Minute
)

// childDue is the end of ChildPause.
type childDue struct{ Name string }

// Name returns the name of an account's actor below the node.
func Name(id identity.PublicKey) string { return NamePrefix + id.String() }

func (a *account) Started(c *kernel.Context) error {
	if err := a.deps.Keys.Load(a.id); err != nil {
		return err
	}
	var err error
	if a.record, err = a.deps.Store.Account(a.id); err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	// Watch first, then read: a change in between is seen twice, not missed.
	a.deps.Store.WatchLog(c, a.id)
	if err := a.spawnMissing(c); err != nil {
		return err
	}
	c.Tell(a.deps.Resolver, resolver.Announce{Account: a.id})
	return errors.Join(a.updateForwarder(c), a.startGroups(c))
}

// startGroups starts the actor of the account's groups.
func (a *account) startGroups(c *kernel.Context) error {
	if _, running := c.Child(group.Name); running {
		return nil
	}
	if _, err := c.Spawn(group.NewSpec(a.deps.Group, a.id)); err != nil {
		return fmt.Errorf("start groups: %w", err)
	}
	return nil
}

// tellGroups tells the actor of the account's groups, unless it was given up for now.
func (a *account) tellGroups(c *kernel.Context, msg any) {
	if child, ok := c.Child(group.Name); ok {
		c.Tell(child, msg)
	}
}

// tellForwarder tells the forwarder, if there is one, that the log has grown.
func (a *account) tellForwarder(c *kernel.Context) {
	if child, ok := c.Child(forward.Name); ok {
		c.Tell(child, forward.Look{})
	}
}

// updateForwarder starts or stops the forwarder, as the record says.
func (a *account) updateForwarder(c *kernel.Context) error {
	child, running := c.Child(forward.Name)
	switch {
	case a.record.ForwardTo.IsZero() && running:
		c.Stop(child)
	case !a.record.ForwardTo.IsZero() && !running:
		if _, err := c.Spawn(forward.NewSpec(a.deps.Forward, a.id, a.record.ForwardTo)); err != nil {
			return fmt.Errorf("start forwarder: %w", err)
		}
	}
	return nil
}

// spawnMissing starts an actor for every contact that has none.
func (a *account) spawnMissing(c *kernel.Context) error {
	contacts, err := a.deps.Store.Contacts(a.id)
	if err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	for _, known := range contacts {
		if _, ok := c.Child(known.ID.String()); ok {
			continue
		}
		if _, err := a.spawn(c, known.ID); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case session.Inbound:
		a.onInbound(c, msg)
	case store.LogChanged:
		a.onLogChanged(c, msg)
	case uplink.Changed:
		for _, child := range c.Children() {
			c.Tell(child, msg)
		}
	case childDue:
		a.onChildDue(c, msg)
	case kernel.ChildStopped:
		a.onChildStopped(c, msg)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
}

func (a *account) Stopping(c *kernel.Context) {
	c.Tell(a.deps.Resolver, resolver.Announce{Account: a.id, Stop: true})
}

func (a *account) onInbound(c *kernel.Context, msg session.Inbound) {
	child, ok := c.Child(msg.Contact.String())
	if !ok {
		var err error
		if child, err = a.spawn(c, msg.Contact); err != nil {
			msg.Stream.Drop()
			a.deps.Log.Warn("contact actor not started for an incoming stream", "account", a.id.Short(), "contact", msg.Contact.Short(), "err", err)
			return
		}
	}
	c.Tell(child, msg)
}

func (a *account) onLogChanged(c *kernel.Context, msg store.LogChanged) {
	msg.Release()
	if msg.Changes.All {
		a.look(c)
		for _, child := range c.Children() {
			c.Tell(child, contact.Look{})
		}
		a.tellForwarder(c)
		a.tellGroups(c, group.LookAll{})
		if err := a.spawnMissing(c); err != nil {
			c.Fail(err)
		}
		return
	}
	a.tellForwarder(c)
	for conversation, by := range msg.Changes.Conversations {
		if conversation.ID.Kind() == store.KindGroup {
			a.tellGroups(c, group.Look{Group: conversation.ID})
			continue
		}
		id := conversation.Contact()
		if id.IsZero() {
			a.look(c)
			continue
		}
		if child, ok := c.Child(id.String()); ok {
			if !by.Only(store.MessageReceived, store.MessageEdited) { // which change nothing but the messages
				c.Tell(child, contact.Look{})
			}
		} else if err := a.spawnKnown(c, id); err != nil { // it reads the store itself
			c.Fail(err)
		}
	}
}

// spawnKnown starts the actor of a contact, unless the contact was removed: its
// conversation has events too, and needs no actor.
func (a *account) spawnKnown(c *kernel.Context, id identity.PublicKey) error {
	switch _, err := a.deps.Store.Contact(a.id, id); {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read contact: %w", err)
	}
	_, err := a.spawn(c, id)
	return err
}

// look reads the account's record again, and tells the others what has changed.
func (a *account) look(c *kernel.Context) {
	record, err := a.deps.Store.Account(a.id)
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	before := a.record
	a.record = record
	if record.ProfileTime != before.ProfileTime {
		for _, child := range c.Children() {
			c.Tell(child, contact.ProfileChanged{})
		}
		a.tellGroups(c, group.ProfileChanged{})
	}
	if record.ForwardTo != before.ForwardTo {
		if child, ok := c.Child(forward.Name); ok && !record.ForwardTo.IsZero() {
			c.Stop(child) // begins again with the other account, in onChildStopped
		} else if err := a.updateForwarder(c); err != nil {
			c.Fail(err)
		}
	}
	if record.Role == before.Role && record.Priority == before.Priority {
		return
	}
	c.Tell(a.deps.Resolver, resolver.Announce{Account: a.id, Again: true})
	for _, child := range c.Children() {
		c.Tell(child, contact.RoleChanged{})
	}
}

// onChildStopped: a stranger has left, or a child has failed too often. The latter
// starts again with the next event for it, at the latest after childPause.
func (a *account) onChildStopped(c *kernel.Context, msg kernel.ChildStopped) {
	switch {
	case msg.Err != nil:
		c.Log().Error("actor given up for now", "child", msg.Name, "err", msg.Err, "retry_in", ChildPause)
		c.After(ChildPause, childDue{msg.Name})
	case msg.Name == forward.Name:
		a.onChildDue(c, childDue{msg.Name})
	}
}

// onChildDue starts a child that was given up, if it is still needed.
func (a *account) onChildDue(c *kernel.Context, msg childDue) {
	if _, running := c.Child(msg.Name); running {
		return
	}
	var err error
	switch msg.Name {
	case forward.Name:
		err = a.updateForwarder(c)
	case group.Name:
		err = a.startGroups(c)
	default:
		err = a.startContact(c, msg.Name)
	}
	if err != nil {
		c.Fail(err)
	}
}

// startContact starts the actor of a contact by its name.
func (a *account) startContact(c *kernel.Context, name string) error {
	id, err := identity.ParsePublicKey(name)
	if err != nil {
		return nil //nolint:nilerr // of a part that this version does not have
	}
	return a.spawnKnown(c, id)
}

func (a *account) spawn(c *kernel.Context, id identity.PublicKey) (kernel.Ref, error) {
	ref, err := c.Spawn(contact.NewSpec(a.deps.Contact, store.ConversationWith(a.id, id)))
	if err != nil {
		return kernel.Ref{}, fmt.Errorf("start contact: %w", err)
	}
	return ref, nil
}
