// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

var _ nodeapi.GroupNode = (*testNode)(nil)

// mediatorNode is the key of the mediator of the test's groups.
var mediatorNode = identity.NodeKey{0xd1}

// addGroup makes the account a member of a group.
func (n *testNode) addGroup(account identity.PublicKey, chat uint64, name string) store.ConversationID {
	n.t.Helper()
	n.must(store.Do[bool](context.Background(), n.actor, store.AddGroup{
		Account: account, Mediator: mediatorNode, Chat: chat, Key: store.GroupKey{1}, Name: name, Description: "About " + name,
	}))
	return store.GroupConversation(mediatorNode, chat)
}

// join makes somebody a member of a group, in the eyes of an account.
func (n *testNode) join(account identity.PublicKey, group store.ConversationID, name string, role mediator.Permissions) {
	n.t.Helper()
	n.member(account, group, store.MemberChange{
		Member: key(name), Fields: store.MemberPermissions | store.MemberStanding | store.MemberProfile, Permissions: store.Permissions(role),
		Name: name, ProfileTime: 1,
	})
}

func (n *testNode) member(account identity.PublicKey, group store.ConversationID, change store.MemberChange) {
	n.t.Helper()
	n.apply(store.UpdateMembers{Account: account, Group: group, Changes: []store.MemberChange{change}})
}

// relay delivers a message of a group, as its mediator does.
func (n *testNode) relay(account identity.PublicKey, group store.ConversationID, m store.GroupMessage) store.MessageID {
	n.t.Helper()
	at, _, err := n.GroupPosition(account, group)
	if err != nil {
		n.t.Fatal(err)
	}
	m.Number = at + 1
	if m.GUID == 0 {
		m.GUID = int64(group[1])<<32 + m.Number + 1_000_000
	}
	if m.ServerGUID == 0 {
		m.ServerGUID = m.GUID
	}
	if peer.MessageType(m.Type) == peer.TypeReaction {
		m.Reaction = reactionOf(peer.TypeReaction, m.Payload)
	}
	n.apply(store.AcceptGroupMessages{Account: account, Group: group, Since: at, Upto: m.Number, Messages: []store.GroupMessage{m}})
	id := store.MessageID{GUID: m.GUID}
	switch {
	case m.System:
		id.Variant = 1
	case m.Unreadable:
		id.Variant = 2
	case m.Author == account:
		id.Dir = store.Out
	}
	return id
}

// says delivers texts of a member.
func (n *testNode) says(account identity.PublicKey, group store.ConversationID, author identity.PublicKey, texts ...string) (ids []store.MessageID) {
	n.t.Helper()
	for _, text := range texts {
		ids = append(ids, n.relay(account, group, store.GroupMessage{Author: author, Payload: []byte(text)}))
	}
	return ids
}

// reports delivers what the mediator of a group itself says.
func (n *testNode) reports(account identity.PublicKey, group store.ConversationID, s mediator.System, m store.GroupMessage) {
	n.t.Helper()
	m.System, m.Author, m.Type, m.Payload = true, identity.PublicKey(mediatorNode), int32(peer.TypeSystem), s.AppendTo(nil)
	n.relay(account, group, m)
}

func (n *testNode) GroupMembers(account identity.PublicKey, group store.ConversationID) iter.Seq2[store.Member, error] {
	return func(yield func(store.Member, error) bool) {
		page, err := n.Members(account, group, identity.PublicKey{}, 0)
		if err != nil {
			yield(store.Member{}, err)
		}
		for _, m := range page {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (n *testNode) GroupMember(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (store.Member, error) {
	return n.Member(account, group, member)
}

func (n *testNode) GroupMemberAvatar(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) ([]byte, error) {
	return n.MemberAvatar(account, group, member)
}

func (n *testNode) ConversationMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error) {
	return n.Store.Message(account, conversation, id)
}

func (n *testNode) ConversationMessages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	return n.Store.Messages(account, conversation, before, limit)
}

func (n *testNode) ConversationReactions(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
	return n.Store.Reactions(account, conversation, int64(target))
}

func (n *testNode) GroupReaction(account identity.PublicKey, group store.ConversationID, target peer.GUID, author identity.PublicKey) (store.Reaction, error) {
	return n.Store.GroupReaction(account, group, int64(target), author)
}

func (n *testNode) ConversationMedia(account identity.PublicKey, _ store.ConversationID, id store.MessageID) (transfer.Info, error) {
	return n.MediaState(account, identity.PublicKey{}, id)
}

func (n *testNode) OpenConversationMedia(account identity.PublicKey, _ store.ConversationID, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error) {
	return n.OpenMedia(account, identity.PublicKey{}, id)
}

func (n *testNode) AcceptInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error {
	_, err := store.Do[bool](ctx, n.actor, store.DecideInvite{Account: account, Group: group, Accept: true})
	return noInvite(err)
}

// noInvite says what the node says when an invite was answered, or was none.
func noInvite(err error) error {
	if errors.Is(err, store.ErrInvalid) {
		return node.ErrNoInvite
	}
	return err
}

func (n *testNode) DeclineInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID) error {
	_, err := store.Do[bool](ctx, n.actor, store.DecideInvite{Account: account, Group: group})
	return noInvite(err)
}

func (n *testNode) CreateGroup(ctx context.Context, g node.NewGroup) (store.Group, error) {
	return store.Do[store.Group](ctx, n.actor, store.CreateGroup{
		Account: g.Account, Source: g.Source, Mediator: mediatorNode, Name: g.Name, Description: g.Description, Avatar: g.Avatar, Key: store.GroupKey{3},
	})
}

// create creates a group that is to be created, as the mediator does.
func (n *testNode) create(account identity.PublicKey, chat uint64, name string) store.ConversationID {
	n.t.Helper()
	creation, err := n.creation(account, name)
	if err != nil {
		n.t.Fatal(err)
	}
	created, err := store.Do[store.GroupCreation](context.Background(), n.actor, store.FinishCreation{
		Account: account, Group: creation.ID, Chat: chat, Permissions: store.Permissions(mediator.PermissionOwner | mediator.PermissionUser),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return created.Group
}

// creation returns the group with a name that is to be created.
func (n *testNode) creation(account identity.PublicKey, name string) (store.Group, error) {
	groups, err := n.Groups(account)
	if err != nil {
		return store.Group{}, err
	}
	for _, g := range groups {
		if g.State == store.GroupCreating && g.Name == name {
			return g, nil
		}
	}
	return store.Group{}, store.ErrNotFound
}

func (n *testNode) queueTask(ctx context.Context, task store.GroupTask) (uint64, error) {
	queued, err := store.Do[store.GroupTaskQueued](ctx, n.actor, store.EnqueueGroupTask{Task: task})
	return queued.Seq, err
}

func (n *testNode) EditGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, e node.GroupEdit) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{
		Account: account, Group: group, Kind: store.TaskEdit, Name: e.Name, Description: e.Description, Avatar: e.Avatar, SetAvatar: e.SetAvatar,
	})
}

func (n *testNode) InviteToGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, user identity.PublicKey) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskInvite, User: user})
}

func (n *testNode) SetGroupRole(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey, role node.GroupRole) (uint64, error) {
	permissions := map[node.GroupRole]mediator.Permissions{
		node.RoleOwner: mediator.PermissionOwner | mediator.PermissionUser, node.RoleAdmin: mediator.PermissionAdmin,
		node.RoleModerator: mediator.PermissionModerator, node.RoleUser: mediator.PermissionUser, node.RoleReadOnly: mediator.PermissionReadOnly,
	}[role]
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskRole, User: member, Permissions: store.Permissions(permissions)})
}

func (n *testNode) BanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error) {
	if n.banRefused.Load() {
		return 0, node.ErrOwnMembership
	}
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskBan, User: member})
}

func (n *testNode) UnbanFromGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID, member identity.PublicKey) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskUnban, User: member})
}

func (n *testNode) LeaveGroup(ctx context.Context, account identity.PublicKey, group store.ConversationID) (uint64, error) {
	return n.queueTask(ctx, store.GroupTask{Account: account, Group: group, Kind: store.TaskLeave})
}

// answer answers the task of a group as its mediator does: it refuses it for a reason, or
// does it and reports it when the reason is "".
func (n *testNode) answer(task store.GroupTask, reason string) {
	n.t.Helper()
	done := store.FinishGroupTask{Account: task.Account, Group: task.Group, Seq: task.Seq, Failed: reason != "", Reason: reason}
	if done.Failed {
		n.apply(done)
		return
	}
	report := mediator.System{Actor: task.Account, User: task.User}
	var effect store.GroupMessage
	switch task.Kind {
	case store.TaskEdit:
		report.Event, report.Name, report.Description = mediator.EventInfoChanged, task.Name, task.Description
		if task.SetAvatar {
			report.Avatar = append([]byte{}, task.Avatar...)
		}
		effect.Info = &store.GroupInfo{Name: task.Name, Description: task.Description, Avatar: task.Avatar, SetAvatar: task.SetAvatar}
	case store.TaskRole:
		report.Event, report.Permissions = mediator.EventPermissions, mediator.Permissions(task.Permissions)
		effect.Member = &store.MemberChange{Member: task.User, Fields: store.MemberPermissions, Permissions: task.Permissions}
	case store.TaskBan:
		report.Event = mediator.EventUserBanned
		effect.Member = &store.MemberChange{Member: task.User, Fields: store.MemberStanding, Standing: store.StandingBanned}
	case store.TaskUnban:
		report.Event = mediator.EventUserAdded
		effect.Member = &store.MemberChange{
			Member: task.User, Fields: store.MemberStanding | store.MemberPermissions, Permissions: store.Permissions(mediator.PermissionUser),
		}
	case store.TaskLeave:
		left := store.GroupLeft
		done.State = &left
	}
	done.Info, done.Member = effect.Info, effect.Member
	n.apply(done)
	if report.Event != 0 {
		n.reports(task.Account, task.Group, report, effect)
	}
}

func (n *testNode) SetGroupMuted(ctx context.Context, account identity.PublicKey, group store.ConversationID, muted bool) error {
	_, err := store.Do[bool](ctx, n.actor, store.UpdateGroup{Account: account, Group: group, Fields: store.GroupFieldMuted, Muted: muted})
	return err
}

func (n *testNode) CancelGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID, reason string) (bool, error) {
	return store.Do[bool](ctx, n.actor, store.FailMessage{Account: account, Conversation: group, GUID: id.GUID, Reason: reason})
}

func (n *testNode) DeleteGroupMessage(ctx context.Context, account identity.PublicKey, group store.ConversationID, id store.MessageID) (uint64, error) {
	queued, err := store.Do[store.GroupTaskQueued](ctx, n.actor, store.EnqueueGroupTask{
		Task: store.GroupTask{Account: account, Group: group, Kind: store.TaskDeleteMessage, Message: id},
	})
	return queued.Seq, err
}

// offerIn delivers a file of a member that is not here yet.
func (n *testNode) offerIn(account identity.PublicKey, group store.ConversationID, author identity.PublicKey, info transfer.Info) store.MessageID {
	n.t.Helper()
	kind, payload := n.filePayload(info)
	n.mu.Lock()
	n.nextGUID++
	id := store.MessageID{GUID: n.nextGUID}
	info.Account, info.Message = account, id
	n.files[id] = &file{conversation: group, info: info}
	n.mu.Unlock()
	return n.relay(account, group, store.GroupMessage{GUID: id.GUID, Author: author, Type: int32(kind), Payload: payload})
}

func (n *testNode) FetchConversationMedia(ctx context.Context, account identity.PublicKey, _ store.ConversationID, id store.MessageID) (transfer.Info, error) {
	return n.FetchMedia(ctx, account, identity.PublicKey{}, id)
}

func (n *testNode) ConversationUndelivered(account identity.PublicKey, conversation store.ConversationID) iter.Seq2[store.Message, error] {
	return n.Store.Undelivered(account, conversation)
}

func (n *testNode) ConversationOutboxSize(account identity.PublicKey, conversation store.ConversationID) (store.OutboxSize, error) {
	return n.Store.OutboxSize(account, conversation)
}
