// SPDX-License-Identifier: MPL-2.0

package node

import (
	"iter"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Groups returns the groups of an account, in the order of their ids: those that it is
// in, was in, is invited to or creates, see store.Group.State. Left out are creations that
// have become groups.
func (n *Node) Groups(account identity.PublicKey) ([]store.Group, error) {
	var found []store.Group
	err := n.store.EachGroup(account, func(g store.Group) bool {
		if g.State != store.GroupCreated {
			found = append(found, g)
		}
		return true
	})
	return found, err
}

// Group returns one group, also a creation that has become one. It fails with
// [ErrUnknownGroup].
func (n *Node) Group(account identity.PublicKey, group store.ConversationID) (store.Group, error) {
	g, err := n.store.Group(account, group)
	return g, known(err, ErrUnknownGroup)
}

// GroupMembers iterates over those who are or were in a group, in the order of their
// keys; store.Member.Standing tells which. It reads the store page by page.
func (n *Node) GroupMembers(account identity.PublicKey, group store.ConversationID) iter.Seq2[store.Member, error] {
	return func(yield func(store.Member, error) bool) {
		var after identity.PublicKey
		for {
			page, err := n.store.Members(account, group, after, 0)
			if err != nil {
				yield(store.Member{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			after = page[len(page)-1].ID
		}
	}
}

// GroupMember returns one member of a group, or store.ErrNotFound.
func (n *Node) GroupMember(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (store.Member, error) {
	return n.store.Member(account, group, member)
}

// GroupTasks returns up to limit tasks of a group that its mediator has not answered,
// oldest first; the limit is at most store.MaxPage.
func (n *Node) GroupTasks(account identity.PublicKey, group store.ConversationID, limit int) ([]store.GroupTask, error) {
	return n.store.GroupTasks(account, group, limit)
}

// ConversationMessage returns one message of a contact's or a group's conversation, or
// store.ErrNotFound.
func (n *Node) ConversationMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error) {
	return n.store.Message(account, conversation, id)
}

// ConversationMessages returns up to limit messages of a contact's or a group's
// conversation, newest first, before the given order; 0 means the newest.
func (n *Node) ConversationMessages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	return n.store.Messages(account, conversation, before, limit)
}

// ConversationUndelivered iterates over all undelivered messages of a contact's or a
// group's conversation, oldest first.
func (n *Node) ConversationUndelivered(account identity.PublicKey, conversation store.ConversationID) iter.Seq2[store.Message, error] {
	return n.store.Undelivered(account, conversation)
}

// OutboxConversations returns the conversations of an account, of contacts and groups,
// in which something is undelivered.
func (n *Node) OutboxConversations(account identity.PublicKey) ([]store.ConversationID, error) {
	return n.store.OutboxConversations(account)
}

// ConversationReactions is [Node.Reactions] for a contact's or a group's conversation: in
// a group there is at most one of each member, see store.Reaction.Author.
func (n *Node) ConversationReactions(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
	return n.store.Reactions(account, conversation, int64(target))
}
