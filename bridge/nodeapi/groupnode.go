// SPDX-License-Identifier: MPL-2.0

package nodeapi

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

// GroupNode is what the bridge uses of a node whose accounts are in groups, beside
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
