// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// A group is managed in its room: what our user changes there becomes a task for the
// mediator. The room shows the change already; when it is refused, here or by the mediator,
// the room is set back and told why. See groupchat.Tasks and groupchat.Changes.

var (
	_ bridgev2.RoomNameHandlingNetworkAPI   = (*client)(nil)
	_ bridgev2.RoomTopicHandlingNetworkAPI  = (*client)(nil)
	_ bridgev2.RoomAvatarHandlingNetworkAPI = (*client)(nil)
	_ bridgev2.MembershipHandlingNetworkAPI = (*client)(nil)
	_ bridgev2.PowerLevelHandlingNetworkAPI = (*client)(nil)
)

// management is a change of the room of a group by our user.
type management struct {
	*client
	evt    *event.Event
	portal *bridgev2.Portal
	group  store.ConversationID
	// relayed says that somebody without a login has made it.
	relayed bool
}

// manage returns the management of an event, nil in the room of a contact.
func (cl *client) manage(evt *event.Event, portal *bridgev2.Portal, orig *bridgev2.OrigSender) *management {
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil || !cl.conversations.InGroups(conversation) {
		return nil
	}
	return &management{client: cl, evt: evt, portal: portal, group: conversation, relayed: orig != nil}
}

// HandleMatrixRoomName changes the name of a group for all its members, or what our user calls
// a contact.
func (cl *client) HandleMatrixRoomName(ctx context.Context, msg *bridgev2.MatrixRoomName) (bool, error) {
	m := cl.manage(msg.Event, msg.Portal, msg.OrigSender)
	if m == nil {
		return cl.renameContact(ctx, msg)
	}
	name := groupchat.NameFrom(msg.Content.Name)
	err := m.request(ctx, groupchat.Change{Kind: groupchat.ChangeName, Value: groupchat.TextValue(name)}, groupchat.CheckName(name),
		func(ctx context.Context) (uint64, error) {
			return m.groups.EditGroup(ctx, m.account, m.group, node.GroupEdit{Name: &name})
		})
	if err == nil {
		msg.Portal.Name, msg.Portal.NameSet = msg.Content.Name, true
	}
	return err == nil, err
}

// HandleMatrixRoomTopic changes the description of a group for all its members.
func (cl *client) HandleMatrixRoomTopic(ctx context.Context, msg *bridgev2.MatrixRoomTopic) (bool, error) {
	m := cl.manage(msg.Event, msg.Portal, msg.OrigSender)
	if m == nil {
		return false, bridgev2.ErrRoomMetadataNotSupported
	}
	topic := groupchat.TopicFrom(msg.Content.Topic)
	err := m.request(ctx, groupchat.Change{Kind: groupchat.ChangeTopic, Value: groupchat.TextValue(topic)}, groupchat.CheckTopic(topic),
		func(ctx context.Context) (uint64, error) {
			return m.groups.EditGroup(ctx, m.account, m.group, node.GroupEdit{Description: &topic})
		})
	if err == nil {
		msg.Portal.Topic, msg.Portal.TopicSet = msg.Content.Topic, true
	}
	return err == nil, err
}

// HandleMatrixRoomAvatar changes the picture of a group for all its members.
func (cl *client) HandleMatrixRoomAvatar(ctx context.Context, msg *bridgev2.MatrixRoomAvatar) (bool, error) {
	m := cl.manage(msg.Event, msg.Portal, msg.OrigSender)
	if m == nil {
		return false, bridgev2.ErrRoomMetadataNotSupported
	}
	picture, problem, err := m.picture(msg.Content.URL)
	if err != nil {
		return false, err
	}
	err = m.request(ctx, groupchat.Change{Kind: groupchat.ChangeAvatar, Value: groupchat.AvatarValue(picture)}, problem,
		func(ctx context.Context) (uint64, error) {
			return m.groups.EditGroup(ctx, m.account, m.group, node.GroupEdit{Avatar: picture, SetAvatar: true})
		})
	if err != nil {
		return false, err
	}
	msg.Portal.AvatarMXC, msg.Portal.AvatarSet = msg.Content.URL, true
	msg.Portal.AvatarID, msg.Portal.AvatarHash = "", [sha256.Size]byte{}
	if len(picture) > 0 {
		msg.Portal.AvatarHash = sha256.Sum256(picture)
		msg.Portal.AvatarID = networkid.AvatarID(hex.EncodeToString(msg.Portal.AvatarHash[:]))
	}
	return true, nil
}

// picture returns the picture of an event, nil for none, or a problem for people. An error
// has the event handled again.
func (m *management) picture(url id.ContentURIString) (picture []byte, problem string, err error) {
	if url == "" {
		return nil, "", nil
	}
	file, err := m.attachments.Get(m.evt.ID)
	switch {
	case err != nil:
		return nil, refusalText(err), nil
	case file == nil: // the event is handled again with it
		return nil, "", m.again(m.evt, &appservice.NeededFile{Event: m.evt.ID, Room: m.evt.RoomID, URL: url})
	}
	info, err := file.Stat()
	if err != nil {
		return nil, "", m.again(m.evt, err)
	}
	if problem := groupchat.CheckAvatar(info.Size()); problem != "" {
		return nil, problem, nil
	}
	picture, err = io.ReadAll(io.NewSectionReader(file, 0, info.Size())) //nolint:forbidigo // its size is checked above
	if err != nil {
		return nil, "", m.again(m.evt, err)
	}
	if !media.IsPicture(http.DetectContentType(picture)) {
		return nil, "it is not a picture that the apps show (JPEG, PNG, GIF, WebP or BMP)", nil
	}
	return picture, "", nil
}

// HandleMatrixPowerLevels changes roles: the level of each member whose level was changed
// becomes a role. Mimir has no other rules, so they are set back.
func (cl *client) HandleMatrixPowerLevels(ctx context.Context, msg *bridgev2.MatrixPowerLevelChange) (bool, error) {
	m := cl.manage(msg.Event, msg.Portal, msg.OrigSender)
	if m == nil {
		return false, bridgev2.ErrPowerLevelsNotSupported
	}
	defer m.members.NoteHandled(m.conversation(), m.evt.ID)
	if changesRules(msg) {
		return false, m.refuse(ctx, groupchat.Change{Kind: groupchat.ChangeRules, Event: m.evt.ID},
			"Mimir has the roles owner (100), admin (75), moderator (50), user (0) and read-only (-10), and no other rules")
	}
	tasks, err := m.tasks()
	if err != nil {
		return false, m.again(m.evt, err)
	}
	var refused error
	for user, level := range msg.Users {
		key, ok := m.memberOf(user, level.Target)
		if !ok {
			continue // not of the group
		}
		member, err := m.groups.GroupMember(m.account, m.group, key)
		if nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return false, m.again(m.evt, err)
		}
		role := groupchat.RoleAt(level.NewLevel)
		if member = tasks.Member(member); groupchat.Level(member.Permissions) == groupchat.Level(store.Permissions(role)) {
			continue
		}
		problem := ""
		if key == m.account {
			problem = "nobody can change their own role; ask another admin"
		}
		err = m.request(ctx, groupchat.Change{Kind: groupchat.ChangeRole, User: key, Value: groupchat.RoleValue(role)}, problem,
			func(ctx context.Context) (uint64, error) {
				return m.groups.SetGroupRole(ctx, m.account, m.group, key, node.RoleOf(store.Permissions(role)))
			})
		if err != nil && isRetried(err) {
			return false, err
		}
		if err != nil {
			refused = err
		}
	}
	return refused == nil, refused
}

// changesRules reports whether power levels were changed that are not those of somebody.
func changesRules(msg *bridgev2.MatrixPowerLevelChange) bool {
	for _, change := range []*bridgev2.SinglePowerLevelChange{
		msg.UsersDefault, msg.EventsDefault, msg.StateDefault, msg.Invite, msg.Kick, msg.Ban, msg.Redact,
	} {
		if change != nil {
			return true
		}
	}
	return len(msg.Events) > 0
}

// memberOf returns the identity that a user of the room stands for.
func (m *management) memberOf(user id.UserID, target bridgev2.GhostOrUserLogin) (key identity.PublicKey, ok bool) {
	switch target := target.(type) {
	case *bridgev2.Ghost:
		key, err := mimirid.ParseUser(target.ID)
		return key, err == nil
	case *bridgev2.UserLogin:
		key, err := mimirid.ParseLogin(target.ID)
		return key, err == nil && user == target.UserMXID
	default:
		return key, false
	}
}

// HandleMatrixMembership invites, bans and unbans members of a group, and leaves it. The
// type of the change is not used: homeservers do not always say what was before.
func (cl *client) HandleMatrixMembership(ctx context.Context, msg *bridgev2.MatrixMembershipChange) (*bridgev2.MatrixMembershipResult, error) {
	m := cl.manage(msg.Event, msg.Portal, msg.OrigSender)
	if m == nil {
		return nil, bridgev2.ErrMembershipNotSupported
	}
	if target, isLogin := msg.Target.(*bridgev2.UserLogin); isLogin && target.UserMXID == m.login.UserMXID {
		if msg.Type.IsSelf && msg.Content.Membership == event.MembershipLeave {
			return nil, m.leaveAll(ctx)
		}
		return nil, nil
	}
	key, ok := m.memberOf(id.UserID(msg.Event.GetStateKey()), msg.Target)
	if !ok {
		return nil, nil // not of the group
	}
	member, err := m.groups.GroupMember(m.account, m.group, key)
	isMember := err == nil
	if err != nil && !nodeapi.IsGone(err) {
		return nil, m.again(m.evt, err)
	}
	tasks, err := m.tasks()
	if err != nil {
		return nil, m.again(m.evt, err)
	}
	defer m.members.NoteHandled(m.conversation(), m.evt.ID)
	standing := store.StandingLeft
	if isMember {
		standing = tasks.Member(member).Standing
	}
	return nil, m.changeMember(ctx, key, standing, msg.Content.Membership, msg.PrevContent)
}

// changeMember makes a task of a membership that our user has given somebody.
func (m *management) changeMember(
	ctx context.Context, key identity.PublicKey, standing store.Standing, to event.Membership, before *event.MemberEventContent,
) error {
	ask := func(kind groupchat.ChangeKind, queue func(context.Context, identity.PublicKey, store.ConversationID, identity.PublicKey) (uint64, error)) error {
		return m.request(ctx, groupchat.Change{Kind: kind, User: key}, "", func(ctx context.Context) (uint64, error) {
			return queue(ctx, m.account, m.group, key)
		})
	}
	known, found := m.ownChanges.OfEvent(ctx, m.conversation(), m.evt.ID, key)
	switch {
	case found && known.Task != 0: // the event is handled again
		return nil
	case found && known.Kind == groupchat.ChangeBan:
		return ask(groupchat.ChangeBan, m.groups.BanFromGroup)
	case to == event.MembershipInvite && standing == store.StandingMember:
		m.members.Want(m.conversation()) // and joins
		return nil
	case to == event.MembershipInvite:
		return ask(groupchat.ChangeInvite, m.groups.InviteToGroup)
	case to == event.MembershipBan && standing == store.StandingBanned:
		return nil
	case to == event.MembershipBan, to == event.MembershipLeave && standing == store.StandingMember:
		return ask(groupchat.ChangeBan, m.groups.BanFromGroup) // Mimir does not tell a kick from a ban
	case to == event.MembershipLeave && standing == store.StandingBanned && (before == nil || before.Membership != event.MembershipJoin):
		return ask(groupchat.ChangeUnban, m.groups.UnbanFromGroup)
	case to == event.MembershipLeave: // an invite was taken back
		return m.refuse(ctx, groupchat.Change{Kind: groupchat.ChangeInvite, Event: m.evt.ID, User: key},
			"an invite that was sent cannot be taken back; ban the person when they have joined")
	default:
		return nil
	}
}

// leaveAll leaves the group with all accounts that our user has in it.
func (m *management) leaveAll(ctx context.Context) error {
	logins, err := m.groupRooms.Logins(m.group)
	if err != nil {
		return m.again(m.evt, err)
	}
	err = m.leave(ctx)
	for _, l := range logins {
		if err == nil && l.Account != m.account && l.UserMXID == m.login.UserMXID && l.Belongs {
			other := *m
			other.client = l.Client.(*client)
			err = other.leave(ctx)
		}
	}
	return err
}

// leave leaves the group, or declines its invite.
func (m *management) leave(ctx context.Context) error {
	g, err := m.groups.Group(m.account, m.group)
	switch {
	case nodeapi.IsGone(err):
		return nil
	case err != nil:
		return m.again(m.evt, err)
	case g.State == store.GroupInvited:
		if err := m.groups.DeclineInvite(ctx, m.account, m.group); err != nil && !nodeapi.IsGone(err) && !errors.Is(err, node.ErrNoInvite) {
			return m.again(m.evt, err)
		}
		return nil
	case !g.State.IsActive():
		return nil
	}
	return m.request(ctx, groupchat.Change{Kind: groupchat.ChangeLeave}, "", func(ctx context.Context) (uint64, error) {
		return m.groups.LeaveGroup(ctx, m.account, m.group)
	})
}

func (m *management) conversation() store.Conversation {
	return store.Conversation{Account: m.account, ID: m.group}
}

// tasks returns what our users have asked of the mediator of the group.
func (m *management) tasks() (groupchat.Tasks, error) {
	logins, err := m.groupRooms.Logins(m.group)
	return groups.AllTasks(logins), err
}

// request queues a task for a change, unless there is a problem. An event that is handled
// again queues no second one.
func (m *management) request(
	ctx context.Context, change groupchat.Change, problem string, queue func(context.Context) (uint64, error),
) error {
	change.Event = m.evt.ID
	g, err := m.groups.Group(m.account, m.group)
	if err != nil {
		return m.sendError(m.evt, err)
	}
	if problem == "" {
		problem = change.Allowed(g)
	}
	if m.relayed {
		problem = "only members of the group can do that"
	}
	if problem != "" {
		return m.refuse(ctx, change, problem)
	}
	m.groupRooms.NoteRequest(m.conversation())
	if m.ownChanges.Begin(ctx, m.conversation(), change) {
		return nil
	}
	task, err := queue(ctx)
	if err != nil {
		m.ownChanges.Forget(ctx, m.conversation(), change)
		if err = m.sendError(m.evt, err); isRetried(err) {
			return err
		}
		return m.refuse(ctx, change, refusalText(err))
	}
	change.Task = task
	m.ownChanges.Queued(ctx, m.conversation(), change)
	return nil
}

// isRetried tells an error after which an event is handled again from a refusal.
func isRetried(err error) bool {
	var status bridgev2.MessageStatus
	return errors.As(err, &status) && status.Status == event.MessageStatusPending
}

// refusalText returns the words of a [msgconv.Refusal].
func refusalText(err error) string {
	var status bridgev2.MessageStatus
	if errors.As(err, &status) && status.InternalError != nil {
		return status.InternalError.Error()
	}
	return err.Error()
}

// refuse sets the room back and tells it why a change is not made. The error that it returns
// says so to the library, which does not tell it again.
func (m *management) refuse(ctx context.Context, change groupchat.Change, reason string) error {
	err := m.setBack(ctx, change)
	name := ""
	if !change.User.IsZero() && err == nil {
		name, err = m.groupRooms.MemberName(m.account, m.group, change.User)
	}
	if err == nil {
		err = m.tell(ctx, change, change.Refused(name, reason))
	}
	if err != nil {
		return m.again(m.evt, err)
	}
	return bridgev2.WrapErrorInStatus(errors.New(reason)).WithStatus(event.MessageStatusFail).
		WithErrorReason(event.MessageStatusUnsupported).WithErrorAsMessage().WithIsCertain(true).WithSendNotice(false)
}

// scope returns the scope of the requests for a change that is refused.
func (m *management) scope(what string, change groupchat.Change) *homeserver.Scope {
	return homeserver.NewNamedScope(fmt.Sprintf("%s/%s/%s", what, m.evt.ID, change.User))
}

// tell says something in the room.
func (m *management) tell(ctx context.Context, change groupchat.Change, text string) error {
	scope := m.scope("refused change", change)
	library, cancel := scope.With(m.br.BackgroundCtx, ctx)
	defer cancel()
	content := msgconv.Notice("⚠️ " + text)
	content.Mentions = &event.Mentions{}
	_, err := m.br.Bot.SendMessage(library, m.portal.MXID, event.EventMessage, &event.Content{Parsed: content}, nil)
	return homeserver.WithRetryAfter(err)
}

// setBack makes the room what the group is, where a change that is refused has changed it.
// It runs where the library handles the events of the room.
func (m *management) setBack(ctx context.Context, change groupchat.Change) error {
	scope := m.scope("set back", change)
	library, cancel := scope.With(m.br.BackgroundCtx, ctx)
	defer cancel()
	switch change.Kind {
	case groupchat.ChangeName, groupchat.ChangeTopic, groupchat.ChangeAvatar:
		return m.groupRooms.SetBackRoom(library, m.portal, m.group, change)
	case groupchat.ChangeLeave:
		return nil // the next message invites our user
	case groupchat.ChangeRole, groupchat.ChangeRules:
	default:
		if err := m.groupRooms.SetBackMember(library, m.account, m.portal.MXID, m.group, change); err != nil {
			return err
		}
	}
	m.members.Want(m.conversation())
	return nil
}
