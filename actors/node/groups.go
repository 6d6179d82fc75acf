// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	groupactor "github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
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

// ConversationMessagesAfter returns up to limit messages of a contact's or a group's
// conversation, oldest first, after the given order.
func (n *Node) ConversationMessagesAfter(account identity.PublicKey, conversation store.ConversationID, after uint64, limit int) ([]store.Message, error) {
	return n.store.MessagesAfter(account, conversation, after, limit)
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

// GroupReaction returns the reaction of somebody to a message of a group that counts, also one
// that was taken back: its Emoji is "" then. It returns store.ErrNotFound for none.
func (n *Node) GroupReaction(account identity.PublicKey, group store.ConversationID, target peer.GUID, author identity.PublicKey) (store.Reaction, error) {
	return n.store.GroupReaction(account, group, int64(target), author)
}

// GroupPosition returns up to which number of its mediator the history of a group is stored,
// and when the mediator was reached last.
func (n *Node) GroupPosition(account identity.PublicKey, group store.ConversationID) (position int64, reached store.Millis, err error) {
	return n.store.GroupPosition(account, group)
}

// ConversationMedia is [Node.MediaState] for a contact's or a group's conversation.
func (n *Node) ConversationMedia(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error) {
	return n.files.State(account, conversation, id)
}

// OpenConversationMedia is [Node.OpenMedia] for a contact's or a group's conversation.
func (n *Node) OpenConversationMedia(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error) {
	return n.files.Open(account, conversation, id)
}

// FetchConversationMedia is [Node.FetchMedia] for a contact's or a group's conversation.
func (n *Node) FetchConversationMedia(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error) {
	info, err := n.files.Fetch(ctx, account, conversation, id)
	return info, running(err)
}

// CancelGroupMessage is [Node.CancelMessage] for a message to a group.
func (n *Node) CancelGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID, reason string) (bool, error) {
	return n.cancel(ctx, account, group, id, reason)
}

// GroupMemberAvatar returns the picture of a member of a group, nil for none. It changes
// with store.Member.ProfileTime.
func (n *Node) GroupMemberAvatar(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) ([]byte, error) {
	return n.store.MemberAvatar(account, group, member)
}

// GroupPresence returns who is online in a group, and when the others were last, as far as
// its mediator has said. It is empty while the mediator is not reached.
func (n *Node) GroupPresence(account identity.PublicKey, group store.ConversationID) map[identity.PublicKey]groupactor.Presence {
	return n.groups.Presence(store.Conversation{Account: account, ID: group})
}

// StageOutside is the stage of a group in which nothing is to be done.
const StageOutside = groupactor.StageOutside

// GroupProgress returns what the node is doing about a group at this moment.
func (n *Node) GroupProgress(account identity.PublicKey, group store.ConversationID) groupactor.Progress {
	return n.groups.Progress(store.Conversation{Account: account, ID: group})
}

// mayWrite fails unless messages can be queued for a group.
func (n *Node) mayWrite(account identity.PublicKey, group store.ConversationID) error {
	g, err := n.Group(account, group)
	switch {
	case err != nil:
		return err
	case g.State == store.GroupReadOnly:
		return ErrGroupReadOnly
	case !g.State.IsActive():
		return ErrNotInGroup
	case g.Key.IsZero():
		return ErrGroupKey
	}
	return nil
}

// NewGroup is a group to be created.
type NewGroup struct {
	Account identity.PublicKey
	// Source makes creating idempotent: the same source of the same account again returns
	// the group that was begun the first time. "" means a new group.
	Source string
	// Mediator keeps the group; zero means the first one of Options.Mediators.
	Mediator identity.NodeKey
	// Name has 1 to wire.MaxGroupName characters, Description at most
	// wire.MaxGroupDescription. Avatar is an image file of at most wire.MaxGroupAvatar bytes,
	// nil for none.
	Name, Description string
	Avatar            []byte
}

// CreateGroup begins to create a group; it is created as soon as the mediator can be
// reached, after some seconds of work (see [Node.GroupProgress]). The group that it returns
// has an id of its own and the state store.GroupCreating; when it exists that one becomes
// store.GroupCreated, and store.Group.Became names the group.
//
// Errors: [ErrUnknownAccount], [ErrMediatorMissing], [ErrAvatar], store.ErrInvalid,
// store.ErrDiskFull.
func (n *Node) CreateGroup(ctx context.Context, g NewGroup) (store.Group, error) {
	if _, err := n.Account(g.Account); err != nil {
		return store.Group{}, err
	}
	if g.Mediator.IsZero() && len(n.opts.Mediators) > 0 {
		g.Mediator = n.opts.Mediators[0]
	}
	if g.Mediator.IsZero() {
		return store.Group{}, ErrMediatorMissing
	}
	g.Name = lineOf(g.Name)
	if err := checkGroupTexts(&g.Name, &g.Description, g.Avatar); err != nil {
		return store.Group{}, err
	}
	if g.Source == "" {
		g.Source = "local:" + randomID()
	}
	key, err := group.NewKey(rand.Reader)
	if err != nil {
		return store.Group{}, err
	}
	created, err := do[store.Group](ctx, n, store.CreateGroup{
		Account: g.Account, Source: g.Source, Mediator: g.Mediator, Name: g.Name, Description: g.Description, Avatar: g.Avatar,
		Key: store.GroupKey(key.Bytes()),
	})
	if err != nil {
		return store.Group{}, fmt.Errorf("create group: %w", err)
	}
	return created, nil
}

// lineOf makes one line of the name of a group: a control character, and one that turns the
// direction of the text, is a space, and several spaces are one.
func lineOf(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// checkGroupTexts fails when a mediator would not take name, description or picture; nil
// texts are not looked at.
func checkGroupTexts(name, description *string, avatar []byte) error {
	switch {
	case name != nil && (*name == "" || !utf8.ValidString(*name) || utf8.RuneCountInString(*name) > wire.MaxGroupName):
		return fmt.Errorf("the name of a group has 1 to %d characters: %w", wire.MaxGroupName, store.ErrInvalid)
	case description != nil && (!utf8.ValidString(*description) || utf8.RuneCountInString(*description) > wire.MaxGroupDescription):
		return fmt.Errorf("the description of a group has at most %d characters: %w", wire.MaxGroupDescription, store.ErrInvalid)
	case len(avatar) > wire.MaxGroupAvatar:
		return fmt.Errorf("%w: the picture of a group has at most %d bytes", ErrAvatar, wire.MaxGroupAvatar)
	}
	return nil
}

// KnownGroup is a group that another device of the account is in.
type KnownGroup struct {
	Account  identity.PublicKey
	Mediator identity.NodeKey
	// Chat is the mediator's id of the group, Key the secret of its members.
	Chat              int64
	Key               [32]byte
	Name, Description string
	Avatar            []byte
}

// AddGroup adds a group that another device of the account is in, such as one from the
// backup of a phone. Its whole history is read. It returns the group's id; for a group that
// is known already nothing changes, but for a missing key.
//
// Errors: [ErrUnknownAccount], store.ErrInvalid, store.ErrDiskFull.
func (n *Node) AddGroup(ctx context.Context, g KnownGroup) (store.ConversationID, error) {
	if _, err := n.Account(g.Account); err != nil {
		return store.ConversationID{}, err
	}
	if g.Chat <= 0 || g.Mediator.IsZero() || g.Key == [32]byte{} {
		return store.ConversationID{}, fmt.Errorf("add group: chat id, mediator or key is missing: %w", store.ErrInvalid)
	}
	id := store.GroupConversation(g.Mediator, uint64(g.Chat))
	_, err := do[bool](ctx, n, store.AddGroup{
		Account: g.Account, Mediator: g.Mediator, Chat: uint64(g.Chat), Key: g.Key, Name: g.Name, Description: g.Description, Avatar: g.Avatar,
	})
	if err != nil {
		return store.ConversationID{}, fmt.Errorf("add group: %w", err)
	}
	return id, nil
}

// AcceptInvite joins a group that the account is invited to; it is a member when the
// mediator has confirmed that. Errors: [ErrUnknownGroup], [ErrNoInvite], [ErrGroupKey].
func (n *Node) AcceptInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error {
	return n.decideInvite(ctx, account, group, true)
}

// DeclineInvite declines an invite. Errors: [ErrUnknownGroup], [ErrNoInvite].
func (n *Node) DeclineInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error {
	return n.decideInvite(ctx, account, group, false)
}

func (n *Node) decideInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID, accept bool) error {
	g, err := n.Group(account, group)
	if err != nil {
		return err
	}
	_, err = do[bool](ctx, n, store.DecideInvite{Account: account, Group: group, Accept: accept})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrUnknownGroup
	case errors.Is(err, store.ErrInvalid) && accept && g.Key.IsZero():
		return ErrGroupKey
	case errors.Is(err, store.ErrInvalid):
		return ErrNoInvite
	}
	return err
}

// GroupRole is a role in a group.
type GroupRole string

// The roles that can be given to members.
const (
	RoleOwner     GroupRole = "owner"
	RoleAdmin     GroupRole = "admin"
	RoleModerator GroupRole = "moderator"
	RoleUser      GroupRole = "user"
	RoleReadOnly  GroupRole = "read-only"
)

var rolePermissions = map[GroupRole]mediator.Permissions{
	RoleOwner:     mediator.PermissionOwner | mediator.PermissionUser,
	RoleAdmin:     mediator.PermissionAdmin,
	RoleModerator: mediator.PermissionModerator,
	RoleUser:      mediator.PermissionUser,
	RoleReadOnly:  mediator.PermissionReadOnly,
}

// RoleOf returns the role that permissions mean: one of the above, "banned" or "none".
func RoleOf(p store.Permissions) GroupRole { return GroupRole(mediator.Permissions(p).String()) }

// The methods below queue a task for the mediator of a group, and return its number when it
// cannot be lost any more. What comes of it is in the event log, as store.GroupTaskDone or
// store.GroupTaskFailed; [Node.AwaitGroupTask] waits for it. Their errors are
// [ErrUnknownGroup], [ErrNotInGroup], store.ErrTasksFull, store.ErrDiskFull and
// store.ErrInvalid.

// InviteToGroup invites somebody. It requires an owner, admin or moderator.
func (n *Node) InviteToGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, user identity.PublicKey) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskInvite, User: user})
}

// SetGroupRole gives a member another role. It requires an owner or admin, and an owner
// where an owner is concerned.
func (n *Node) SetGroupRole(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey, role GroupRole) (uint64, error) {
	permissions, ok := rolePermissions[role]
	if !ok {
		return 0, fmt.Errorf("there is no role %.64q: %w", role, store.ErrInvalid)
	}
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskRole, User: member, Permissions: store.Permissions(permissions)})
}

// BanFromGroup bans a member. It requires an owner, admin or moderator. A banned member
// keeps the key of the group and what they have read. It fails with [ErrOwnMembership], too:
// a group whose only owner is banned can never have another one.
func (n *Node) BanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error) {
	if member == account {
		return 0, ErrOwnMembership
	}
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskBan, User: member})
}

// UnbanFromGroup lifts a ban and makes somebody a member again, with the role "user". It
// requires an owner, admin or moderator. For a member it fails with [ErrNotBanned], as the
// mediator would take their role away; for the account itself with [ErrOwnMembership].
func (n *Node) UnbanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error) {
	if member == account {
		return 0, ErrOwnMembership
	}
	known, err := n.GroupMember(account, group, member)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if err == nil && known.Standing == store.StandingMember {
		tasks, err := n.GroupTasks(account, group, store.MaxPage)
		if err != nil {
			return 0, err
		}
		banned := func(t store.GroupTask) bool { return t.Kind == store.TaskBan && t.User == member }
		if !slices.ContainsFunc(tasks, banned) {
			return 0, ErrNotBanned
		}
	}
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskUnban, User: member})
}

// LeaveGroup leaves a group. Its messages stay; [Node.RemoveGroup] removes them. The owner
// cannot leave.
func (n *Node) LeaveGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskLeave})
}

// DeleteGroup deletes a group for everybody. Only its creator can.
func (n *Node) DeleteGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskDelete})
}

// GroupEdit is a change of a group for all its members. A nil field changes nothing.
type GroupEdit struct {
	Name, Description *string // limits as in [NewGroup]
	Avatar            []byte
	SetAvatar         bool // to Avatar, none when that is empty
}

// EditGroup changes name, description or picture of a group. It requires an owner or admin.
// It fails with [ErrAvatar], too.
func (n *Node) EditGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, e GroupEdit) (uint64, error) {
	if e.Name != nil {
		name := lineOf(*e.Name)
		e.Name = &name
	}
	if err := checkGroupTexts(e.Name, e.Description, e.Avatar); err != nil {
		return 0, err
	}
	return n.queueTask(ctx, store.GroupTask{
		Account: account, Group: group, Kind: store.TaskEdit, Name: e.Name, Description: e.Description, Avatar: e.Avatar, SetAvatar: e.SetAvatar,
	})
}

// DeleteGroupMessage deletes a message for everybody. It requires its author, or an owner,
// admin or moderator. A message that the mediator does not have yet is cancelled with
// [Node.CancelGroupMessage] instead.
func (n *Node) DeleteGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskDeleteMessage, Message: id})
}

func (n *Node) queueTask(ctx context.Context, task store.GroupTask) (uint64, error) {
	g, err := n.Group(task.Account, task.Group)
	if err != nil {
		return 0, err
	}
	if !g.State.IsActive() {
		return 0, ErrNotInGroup
	}
	queued, err := do[store.GroupTaskQueued](ctx, n, store.EnqueueGroupTask{Task: task})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", task.Kind, err)
	}
	return queued.Seq, nil
}

// AwaitGroupTask waits until the mediator has answered a task, or until ctx ends. It
// returns what there is to say about it, for people. It fails with [ErrTaskRefused], whose
// text has the reason. A task that was answered long ago is found, too.
func (n *Node) AwaitGroupTask(ctx context.Context, account identity.PublicKey, group store.ConversationID, task uint64) (note string, err error) {
	watch := n.store.Watch(account)
	defer watch.Close()
	after := task - 1 // see store.EnqueueGroupTask
	for {
		events, err := n.store.ConversationEvents(account, group, after, 0)
		if err != nil {
			return "", err
		}
		for _, ev := range events {
			after = ev.Seq
			switch {
			case ev.Task != task:
			case ev.Kind == store.GroupTaskDone:
				return ev.Reason, nil
			case ev.Kind == store.GroupTaskFailed:
				return "", fmt.Errorf("%w: %s", ErrTaskRefused, ev.Reason)
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case _, open := <-watch.C():
			if !open {
				return "", ErrNotRunning
			}
			watch.Take()
		}
	}
}

// SetGroupMuted mutes a group for consumers, or undoes that.
func (n *Node) SetGroupMuted(ctx context.Context, account identity.PublicKey, group store.ConversationID, muted bool) error {
	return n.updateGroup(ctx, store.UpdateGroup{Account: account, Group: group, Fields: store.GroupFieldMuted, Muted: muted})
}

// SetGroupAutoDownload sets up to which size the files of a group are fetched without being
// asked for: 0 means the setting of the node, below 0 never.
func (n *Node) SetGroupAutoDownload(ctx context.Context, account identity.PublicKey, group store.ConversationID, limit int64) error {
	return n.updateGroup(ctx, store.UpdateGroup{Account: account, Group: group, Fields: store.GroupFieldAutoDownload, AutoDownload: limit})
}

func (n *Node) updateGroup(ctx context.Context, op store.UpdateGroup) error {
	_, err := do[bool](ctx, n, op)
	return known(err, ErrUnknownGroup)
}

// RemoveGroup removes a group that the account is not in, with all messages, or a creation
// that has failed. One that the account is in has to be left before. Errors:
// [ErrUnknownGroup], and store.ErrInvalid for one that the account is in.
func (n *Node) RemoveGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID) error {
	g, err := n.Group(account, group)
	if err != nil {
		return err
	}
	if g.State == store.GroupMember || g.State == store.GroupReadOnly || g.State == store.GroupJoining {
		return fmt.Errorf("remove group: leave it before: %w", store.ErrInvalid)
	}
	_, err = do[bool](ctx, n, store.RemoveGroup{Account: account, Group: group})
	return err
}
