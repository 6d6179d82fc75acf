// SPDX-License-Identifier: MPL-2.0

// Package nodeapi is what the bridge uses of the node: the interfaces [Node] and [GroupNode],
// and [Conversations], which reads contacts and groups in one way. The other packages of the
// bridge ask it for a message, a file or an outbox, and need not know which of the two it is.
//
// It has no state of its own, and everything in it may be called from any goroutine.
package nodeapi

import (
	"context"
	"errors"
	"io"
	"iter"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Conversations are those of all accounts of a node.
type Conversations struct {
	node   Node
	groups GroupNode // nil when the node takes part in no groups
}

// New returns the conversations of a node. groups is nil when it takes part in no groups.
func New(node Node, groups GroupNode) *Conversations {
	return &Conversations{node: node, groups: groups}
}

// InGroups reports whether a conversation is that of a group, which the node takes part in.
func (c *Conversations) InGroups(conversation store.ConversationID) bool {
	return c.groups != nil && conversation.Kind() == store.KindGroup
}

// Message returns one message of a conversation, or store.ErrNotFound. The direction of
// a message in a group need not be that of the account, see mimirid.ParseMessage.
func (c *Conversations) Message(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error) {
	if c.InGroups(conversation) {
		m, err := c.groups.ConversationMessage(account, conversation, id)
		if IsGone(err) {
			id.Dir = store.Out - id.Dir
			m, err = c.groups.ConversationMessage(account, conversation, id)
		}
		if err != nil {
			return m, err
		}
		return c.withSource(account, conversation, m)
	}
	return c.node.Message(account, conversation.Contact(), id)
}

// Messages returns a page of a conversation, see Node.Messages.
func (c *Conversations) Messages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	if c.InGroups(conversation) {
		page, err := c.groups.ConversationMessages(account, conversation, before, limit)
		for i := range page {
			if err == nil {
				page[i], err = c.withSource(account, conversation, page[i])
			}
		}
		return page, err
	}
	return c.node.Messages(account, conversation.Contact(), before, limit)
}

// Reactions returns the reactions to a message that count.
func (c *Conversations) Reactions(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
	if c.InGroups(conversation) {
		return c.groups.ConversationReactions(account, conversation, target)
	}
	return c.node.Reactions(account, conversation.Contact(), target)
}

// FileState returns what is known of the file of a message.
func (c *Conversations) FileState(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error) {
	if c.InGroups(conversation) {
		return c.groups.ConversationMedia(account, conversation, id)
	}
	return c.node.MediaState(account, conversation.Contact(), id)
}

// OpenFile opens the file of a message, see Node.OpenMedia.
func (c *Conversations) OpenFile(
	account identity.PublicKey, conversation store.ConversationID, id store.MessageID,
) (io.ReadSeekCloser, transfer.Info, error) {
	if c.InGroups(conversation) {
		return c.groups.OpenConversationMedia(account, conversation, id)
	}
	return c.node.OpenMedia(account, conversation.Contact(), id)
}

// FetchFile asks for the file of a message, see Node.FetchMedia.
func (c *Conversations) FetchFile(
	ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID,
) (transfer.Info, error) {
	if c.InGroups(conversation) {
		return c.groups.FetchConversationMedia(ctx, account, conversation, id)
	}
	return c.node.FetchMedia(ctx, account, conversation.Contact(), id)
}

// Undelivered iterates over the undelivered messages of a conversation, oldest first.
func (c *Conversations) Undelivered(account identity.PublicKey, conversation store.ConversationID) iter.Seq2[store.Message, error] {
	if c.InGroups(conversation) {
		return c.groups.ConversationUndelivered(account, conversation)
	}
	return c.node.Undelivered(account, conversation.Contact())
}

// OldestUndelivered returns the oldest undelivered message of a conversation.
func (c *Conversations) OldestUndelivered(account identity.PublicKey, conversation store.ConversationID) (m store.Message, found bool, err error) {
	for m, err := range c.Undelivered(account, conversation) {
		return m, err == nil, err
	}
	return store.Message{}, false, nil
}

// OutboxSize counts the undelivered messages of a conversation.
func (c *Conversations) OutboxSize(account identity.PublicKey, conversation store.ConversationID) (store.OutboxSize, error) {
	if c.InGroups(conversation) {
		return c.groups.ConversationOutboxSize(account, conversation)
	}
	return c.node.OutboxSize(account, conversation.Contact())
}

// Outboxes returns the conversations of an account in which something is undelivered.
func (c *Conversations) Outboxes(account identity.PublicKey) ([]store.ConversationID, error) {
	if c.groups != nil {
		return c.groups.OutboxConversations(account)
	}
	contacts, err := c.node.OutboxContacts(account)
	conversations := make([]store.ConversationID, len(contacts))
	for i, contact := range contacts {
		conversations[i] = store.ContactConversation(contact)
	}
	return conversations, err
}

// Cancel gives up an undelivered message, see Node.CancelMessage.
func (c *Conversations) Cancel(
	ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID, reason string,
) (bool, error) {
	if c.InGroups(conversation) {
		return c.groups.CancelGroupMessage(ctx, account, conversation, id, reason)
	}
	return c.node.CancelMessage(ctx, account, conversation.Contact(), id, reason)
}

// withSource returns a message of a group with the source that it has for its author, when
// that is an account of the node: what one of our users has written in the room comes to the
// others through the mediator, and the author's own copy says where it was written.
func (c *Conversations) withSource(account identity.PublicKey, group store.ConversationID, m store.Message) (store.Message, error) {
	if m.ID.Dir == store.Out || m.ID.Variant != 0 || m.Author.IsZero() || m.Author == account {
		return m, nil
	}
	copied, err := c.groups.ConversationMessage(m.Author, group, store.MessageID{Dir: store.Out, GUID: m.ID.GUID})
	if IsGone(err) {
		return m, nil
	}
	m.Source = copied.Source
	return m, err
}

// All returns the conversations of an account, with contacts and in groups.
func (c *Conversations) All(account identity.PublicKey) (all []store.ConversationID, err error) {
	contacts, err := c.node.Contacts(account)
	if err != nil {
		return nil, err
	}
	for _, contact := range contacts {
		all = append(all, store.ContactConversation(contact.ID))
	}
	if c.groups == nil {
		return all, nil
	}
	groups, err := c.groups.Groups(account)
	for _, g := range groups {
		all = append(all, g.ID)
	}
	return all, err
}

// UndeliveredIDs returns the undelivered messages of a conversation, oldest first. The outbox
// has no bound, so it is read a row at a time.
func (c *Conversations) UndeliveredIDs(account identity.PublicKey, conversation store.ConversationID) ([]store.MessageID, error) {
	return c.selectUndelivered(account, conversation, func(store.Message) bool { return true })
}

// UndeliveredOf returns the undelivered messages that come from an event of Matrix, oldest
// first; none for the id "".
func (c *Conversations) UndeliveredOf(account identity.PublicKey, conversation store.ConversationID, evt id.EventID) ([]store.MessageID, error) {
	return c.selectUndelivered(account, conversation, func(m store.Message) bool { return evt != "" && msgconv.SourceEvent(m.Source) == evt })
}

func (c *Conversations) selectUndelivered(
	account identity.PublicKey, conversation store.ConversationID, want func(store.Message) bool,
) ([]store.MessageID, error) {
	var found []store.MessageID
	for m, err := range c.Undelivered(account, conversation) {
		if err != nil {
			return nil, err
		}
		if want(m) {
			found = append(found, m.ID)
		}
	}
	return found, nil
}

// GiveUp cancels messages and returns how many: one that was delivered meanwhile does not
// count.
func (c *Conversations) GiveUp(
	ctx context.Context, account identity.PublicKey, conversation store.ConversationID, messages []store.MessageID, reason string,
) (int, error) {
	given := 0
	var errs []error
	for _, m := range messages {
		ok, err := c.Cancel(ctx, account, conversation, m, reason)
		if ok {
			given++
		}
		errs = append(errs, err)
	}
	return given, errors.Join(errs...)
}
