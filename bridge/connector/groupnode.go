// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"io"
	"iter"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// GroupNode is what the connector uses of a node whose accounts are in groups, beside
// [Node]. The same holds for its methods.
type GroupNode interface {
	// Groups returns all groups of an account.
	Groups(account identity.PublicKey) ([]store.Group, error)
	// Group returns one group.
	Group(account identity.PublicKey, group store.ConversationID) (store.Group, error)
	// GroupMembers iterates over those who are or were in a group.
	GroupMembers(account identity.PublicKey, group store.ConversationID) iter.Seq2[store.Member, error]
	// GroupMember returns one of them, or store.ErrNotFound.
	GroupMember(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (store.Member, error)
	// GroupMemberAvatar returns the picture of a member, nil for none.
	GroupMemberAvatar(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) ([]byte, error)
	// The methods below are those of Node without the word Conversation, for contacts and
	// groups.
	ConversationMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error)
	ConversationMessages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error)
	ConversationReactions(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error)
	// GroupReaction returns the reaction of somebody to a message of a group that counts, also
	// one that was taken back: its Emoji is "" then. It returns store.ErrNotFound for none.
	GroupReaction(account identity.PublicKey, group store.ConversationID, target peer.GUID, author identity.PublicKey) (store.Reaction, error)
	// GroupPosition returns up to which number of its mediator the history of a group is
	// stored, and when the mediator was reached last.
	GroupPosition(account identity.PublicKey, group store.ConversationID) (position int64, reached store.Millis, err error)
	ConversationMedia(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error)
	// CreateGroup begins to create a group: what it returns becomes store.GroupCreated when the
	// group exists.
	CreateGroup(ctx context.Context, g node.NewGroup) (store.Group, error)
	// AcceptInvite and DeclineInvite answer an invite to a group.
	AcceptInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error
	DeclineInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error
	// The methods below queue a task for the mediator of a group, and return its number. What
	// comes of it is in the event log, as store.GroupTaskDone or store.GroupTaskFailed.
	EditGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, e node.GroupEdit) (uint64, error)
	InviteToGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, user identity.PublicKey) (uint64, error)
	SetGroupRole(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey, role node.GroupRole) (uint64, error)
	BanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error)
	UnbanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error)
	LeaveGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID) (uint64, error)
	// GroupTasks returns up to limit tasks that are not answered, oldest first.
	GroupTasks(account identity.PublicKey, group store.ConversationID, limit int) ([]store.GroupTask, error)
	// SetGroupMuted says whether a group's messages should make a noise.
	SetGroupMuted(ctx context.Context, account identity.PublicKey, group store.ConversationID, muted bool) error
	// CancelGroupMessage gives up an undelivered message and reports whether it was one.
	CancelGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID, reason string) (bool, error)
	// DeleteGroupMessage asks the mediator to delete a message for everybody.
	DeleteGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID) (uint64, error)
	OpenConversationMedia(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error)
	FetchConversationMedia(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error)
	ConversationUndelivered(account identity.PublicKey, conversation store.ConversationID) iter.Seq2[store.Message, error]
	ConversationOutboxSize(account identity.PublicKey, conversation store.ConversationID) (store.OutboxSize, error)
	// OutboxConversations returns the contacts and groups for which something is
	// undelivered.
	OutboxConversations(account identity.PublicKey) ([]store.ConversationID, error)
}

// inGroups reports whether a conversation is that of a group, which the node takes part in.
func (c *Connector) inGroups(conversation store.ConversationID) bool {
	return c.groups != nil && conversation.Kind() == store.KindGroup
}

// readMessage returns one message of a conversation, or store.ErrNotFound. The direction of
// a message in a group need not be that of the account, see mimirid.ParseMessage.
func (c *Connector) readMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error) {
	if c.inGroups(conversation) {
		m, err := c.groups.ConversationMessage(account, conversation, id)
		if isGone(err) {
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

// readMessages returns a page of a conversation, see Node.Messages.
func (c *Connector) readMessages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	if c.inGroups(conversation) {
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

// readReactions returns the reactions to a message that count.
func (c *Connector) readReactions(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
	if c.inGroups(conversation) {
		return c.groups.ConversationReactions(account, conversation, target)
	}
	return c.node.Reactions(account, conversation.Contact(), target)
}

// fileState returns what is known of the file of a message.
func (c *Connector) fileState(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error) {
	if c.inGroups(conversation) {
		return c.groups.ConversationMedia(account, conversation, id)
	}
	return c.node.MediaState(account, conversation.Contact(), id)
}

// openFile opens the file of a message, see Node.OpenMedia.
func (c *Connector) openFile(
	account identity.PublicKey, conversation store.ConversationID, id store.MessageID,
) (io.ReadSeekCloser, transfer.Info, error) {
	if c.inGroups(conversation) {
		return c.groups.OpenConversationMedia(account, conversation, id)
	}
	return c.node.OpenMedia(account, conversation.Contact(), id)
}

// fetchFile asks for the file of a message, see Node.FetchMedia.
func (c *Connector) fetchFile(
	ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID,
) (transfer.Info, error) {
	if c.inGroups(conversation) {
		return c.groups.FetchConversationMedia(ctx, account, conversation, id)
	}
	return c.node.FetchMedia(ctx, account, conversation.Contact(), id)
}

// readUndelivered iterates over the undelivered messages of a conversation, oldest first.
func (c *Connector) readUndelivered(account identity.PublicKey, conversation store.ConversationID) iter.Seq2[store.Message, error] {
	if c.inGroups(conversation) {
		return c.groups.ConversationUndelivered(account, conversation)
	}
	return c.node.Undelivered(account, conversation.Contact())
}

// oldestUndelivered returns the oldest undelivered message of a conversation.
func (c *Connector) oldestUndelivered(account identity.PublicKey, conversation store.ConversationID) (m store.Message, found bool, err error) {
	for m, err := range c.readUndelivered(account, conversation) {
		return m, err == nil, err
	}
	return store.Message{}, false, nil
}

// outboxSize counts the undelivered messages of a conversation.
func (c *Connector) outboxSize(account identity.PublicKey, conversation store.ConversationID) (store.OutboxSize, error) {
	if c.inGroups(conversation) {
		return c.groups.ConversationOutboxSize(account, conversation)
	}
	return c.node.OutboxSize(account, conversation.Contact())
}

// outboxes returns the conversations of an account in which something is undelivered.
func (c *Connector) outboxes(account identity.PublicKey) ([]store.ConversationID, error) {
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

// cancelMessage gives up an undelivered message, see Node.CancelMessage.
func (c *Connector) cancelMessage(
	ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID, reason string,
) (bool, error) {
	if c.inGroups(conversation) {
		return c.groups.CancelGroupMessage(ctx, account, conversation, id, reason)
	}
	return c.node.CancelMessage(ctx, account, conversation.Contact(), id, reason)
}
