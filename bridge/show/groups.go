// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A group has one room for all logins whose accounts are in it, see grouplogins.go. What the
// mediator and the members say comes from the event logs of these accounts; name, picture,
// roles and members of the room follow the store, whatever they were before.

// groupEvent shows an event of a group.
func (d *delivery) groupEvent(ctx context.Context) error {
	switch d.ev.Kind {
	case store.MessageReceived, store.MessageQueued, store.MessageSynced:
		return d.message(ctx)
	case store.MessageDelivered:
		return d.inOutbox(ctx)
	case store.MessageFailed:
		return d.failed(ctx)
	case store.MessageDeleted:
		return d.deleted(ctx)
	case store.MediaChanged:
		return d.mediaChanged(ctx)
	case store.GroupAdded, store.GroupChanged:
		return d.groupChanged(ctx)
	case store.MembersChanged:
		d.deps.Members.Want(d.at.Conversation)
		return nil
	case store.GroupRemoved:
		return d.groupRemoved(ctx)
	case store.GroupTaskDone, store.GroupTaskFailed:
		return d.taskEnded(ctx)
	case store.ConversationRead:
		d.deps.Marks.Want(d.at.Conversation)
		return nil
	case store.InviteReceived: // shown with the group, at the event before
		return nil
	default: // nothing that a room shows, or newer than this program
		return nil
	}
}

// isGroup reports whether the conversation is that of a group.
func (d *delivery) isGroup() bool { return d.at.ID.Kind() == store.KindGroup }

// senderOf is the sender of events for a message: the contact, a member, our user, or the
// bot for what a mediator says.
func (d *delivery) senderOf(m store.Message) bridgev2.EventSender {
	switch {
	case m.ID.Dir == store.Out, d.isGroup() && m.Author == d.at.Account:
		return d.ownSender()
	case !d.isGroup():
		return d.contactSender()
	case m.Author.IsZero(), peer.MessageType(m.Type) == peer.TypeSystem:
		return bridgev2.EventSender{}
	default:
		return d.memberSender(m.Author)
	}
}

// insteadOfContent returns what a message of a group is shown as when it has no content of
// its own. other is false for a message like those of contacts. The content is nil when
// the room shows the message in another way.
func (d *delivery) insteadOfContent(ctx context.Context, m store.Message) (content *event.MessageEventContent, other bool) {
	var text string
	switch {
	case !d.isGroup():
		return nil, false
	case m.Deleted:
		text = groupchat.Deleted
	case peer.MessageType(m.Type) == peer.TypeSystem:
		if !d.old && d.deps.Changes.IsReport(ctx, d.at.ID, m) {
			return nil, true
		}
		text = groupchat.SystemText(m.Payload, d.nameIn)
	case m.Unreadable:
		text = groupchat.Unreadable
		if readable, err := d.isReadableByOthers(m); err == nil && readable {
			return nil, true
		}
	default:
		return nil, false
	}
	if text == "" || m.Deleted && peer.MessageType(m.Type) == peer.TypeReaction {
		return nil, true
	}
	return msgconv.Notice(text), true
}

// nameIn returns what somebody is called in the group of the delivery.
func (d *delivery) nameIn(key identity.PublicKey) string {
	name, err := d.deps.GroupRooms.MemberName(d.at.Account, d.at.ID, key)
	if err != nil {
		return people.NameOr("", key)
	}
	return name
}

// groupChanged creates the room of a group, or makes it what the group is now, and tells
// it of a new state.
func (d *delivery) groupChanged(ctx context.Context) error {
	g, err := d.deps.Groups.Group(d.at.Account, d.at.ID)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case g.State == store.GroupCreating, g.State == store.GroupCreated:
		return nil // its room comes with the group itself
	case g.State == store.GroupFailed && g.Chat == 0:
		d.deps.Plans.Drop(ctx, d.at.Account, d.at.ID)
		return d.tellOwner(ctx, fmt.Sprintf("The group %s could not be created: %s. Try again with `create-group`.",
			groupchat.Name(g), msgconv.CleanName(g.Reason)))
	case g.State == store.GroupInvited, g.State.IsActive():
		if err := d.newGroup(ctx); err != nil {
			return err
		}
		belongs, err := d.belongs()
		if err != nil {
			return err
		}
		if !belongs {
			break // the room is that of others
		}
		if portal, err := d.ensureRoom(ctx); err != nil || portal == nil {
			return err
		}
	}
	if err := d.changeGroup(ctx); err != nil {
		return err
	}
	d.deps.Members.Want(d.at.Conversation)
	if g.State == store.GroupInvited {
		return d.invited(ctx, g)
	}
	return d.tellState(ctx, g)
}

// The notices about the state of a group have ids of their own: the state may be read from
// several entries.
const (
	inviteNotice = 20
	stateNotice  = 30
)

func (d *delivery) groupNotice(at store.Millis, part int) networkid.MessageID {
	return d.notice(uint64(max(at, 0)), part)
}

// invited shows who invites our user, and how to answer.
func (d *delivery) invited(ctx context.Context, g store.Group) error {
	who := "Somebody"
	if !g.Inviter.IsZero() {
		who = d.nameIn(g.Inviter)
	}
	prefix := d.deps.Bridge.Config.CommandPrefix
	text := fmt.Sprintf("%s invites you to the group %s. Say `%s accept` or `%s decline`.", who, groupchat.Name(g), prefix, prefix)
	if g.Key.IsZero() {
		text = fmt.Sprintf("%s invites you to the group %s, but the invite has no key that you can use: ask for another one. `%s decline` declines this one.",
			who, groupchat.Name(g), prefix)
	}
	if belongs, err := d.belongs(); err != nil || !belongs {
		if err == nil {
			text = strings.NewReplacer("accept`", "accept "+groupchat.Name(g)+"`", "decline`", "decline "+groupchat.Name(g)+"`").Replace(text)
			err = d.tellApart(ctx, fmt.Sprint("invite/", g.Invited), text)
		}
		return err
	}
	return d.send(ctx, inviteNotice, d.groupNotice(g.Invited, inviteNotice), bridgev2.EventSender{}, g.Invited.Time(), msgconv.Single(msgconv.Notice(text)))
}

// tellState tells the room of a group of a new state, once.
func (d *delivery) tellState(ctx context.Context, g store.Group) error {
	portal, err := d.existingRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	shared, err := d.deps.GroupRooms.IsShared(d.at.Conversation)
	if err != nil {
		return err
	}
	if shared { // others are in the room, and it is not about them
		text := groupchat.StateText(g, g.Invited != 0)
		if text == "" || time.Since(g.StateTime.Time()) > alarmAge {
			return nil
		}
		return d.tellApart(ctx, fmt.Sprint("state/", g.State, "/", g.StateTime), groupchat.Name(g)+": "+text)
	}
	known := false
	if g.Invited != 0 {
		if known, err = d.told(ctx, d.groupNotice(g.Invited, inviteNotice)); err != nil {
			return err
		}
	}
	text := groupchat.StateText(g, known)
	if text == "" {
		return nil
	}
	part := stateNotice + int(g.State)
	return d.send(ctx, part, d.groupNotice(g.StateTime, part), bridgev2.EventSender{}, g.StateTime.Time(), msgconv.Single(msgconv.Notice(text)))
}

// groupRemoved says that the node has the group of our user no more.
func (d *delivery) groupRemoved(ctx context.Context) error {
	d.deps.Members.Want(d.at.Conversation)
	const text = "This group was removed from the node: nothing new comes, and what you write is not sent."
	shared, err := d.deps.GroupRooms.IsShared(d.at.Conversation)
	if err != nil || !shared {
		if err == nil {
			err = d.sayIfThere(ctx, text)
		}
		return err
	}
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" || time.Since(d.ev.Time.Time()) > alarmAge {
		return err
	}
	return d.tellApart(ctx, fmt.Sprint("removed/", d.ev.Seq), msgconv.CleanName(portal.Name)+": "+text)
}

// changeGroup makes name, topic, picture and the power of our user what the group says. It
// runs where the library handles the room's events, as changeRoom does.
func (d *delivery) changeGroup(ctx context.Context) error {
	meta := d.meta(bridgev2.RemoteEventUnknown, bridgev2.EventSender{}, time.Time{})
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		shown, logins, err := d.deps.GroupRooms.Room(d.at.ID)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
			return
		}
		g, err := d.deps.Groups.Group(d.at.Account, d.at.ID)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
			return
		}
		info := groups.RoomInfo(shown)
		request := groups.IsRequest(logins)
		info.MessageRequest = &request
		bound, err := d.deps.Relay.IsBoundRoom(ctx, portal)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
			return
		}
		if !bound {
			portal.UpdateInfo(ctx, info, nil, nil, time.Time{})
		}
		if portal.UpdateCapabilities(ctx, d.at.Login, false) {
			if err := portal.Save(ctx); err != nil {
				homeserver.ScopeOf(ctx).Fail(err)
			}
		}
		if !bound && (!portal.NameSet || !portal.TopicSet || !portal.AvatarSet) {
			homeserver.ScopeOf(ctx).Fail(fmt.Errorf("%w: name, topic or picture of the room was not set", homeserver.ErrProfile))
		}
		if puppet := d.at.Login.User.DoublePuppet(ctx); puppet != nil && g.Muted != d.at.Muted && d.userIsIn(ctx, portal.MXID) {
			if err := puppet.MuteRoom(ctx, portal.MXID, *groups.Muted(g).MutedUntil); err != nil {
				d.deps.Log.Warn("room not muted", "contact", d.at.ID.Short(), "err", fault.OneLine(err))
			}
		}
		d.at.Muted = g.Muted
	}
	return d.queueExisting(ctx, 0, &meta)
}

// inOutbox shows that the mediator has a message of ours.
func (d *delivery) inOutbox(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	shown, err := d.shownAs(ctx, *m)
	if err != nil {
		return err
	}
	meta := d.meta(bridgev2.RemoteEventUnknown, bridgev2.EventSender{}, d.ev.Time.Time())
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, portal.Receiver, shown)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
		for _, row := range visible(rows) {
			d.deps.Status.Send(ctx, &bridgev2.MessageStatus{Status: event.MessageStatusSuccess}, &bridgev2.MessageStatusEventInfo{
				RoomID: portal.MXID, SourceEventID: row.MXID, Sender: row.SenderMXID, EventType: event.EventMessage,
			})
		}
	}
	return d.change(ctx, "receipt", bridgev2.EventSender{}, "", func(ctx context.Context) error { return d.queue(ctx, 0, &meta) })
}

// deletedPart is the part of an entry that the redactions of a message are.
const deletedPart = 1_000_050

// deleted takes a message that was deleted for everybody out of the room. Its row goes
// last, so that a redaction that fails is repeated.
func (d *delivery) deleted(ctx context.Context) error {
	shown := mimirid.Message(d.at.ID, d.ev.Message, 0)
	m, err := d.storedMessage()
	switch {
	case err != nil:
		return err
	case m == nil:
	case peer.MessageType(m.Type) == peer.TypeReaction:
		return d.syncReaction(ctx, peer.GUID(m.ReplyTo), reactorOf(*m))
	default:
		if shown, err = d.shownAs(ctx, *m); err != nil {
			return err
		}
	}
	meta := d.meta(bridgev2.RemoteEventUnknown, bridgev2.EventSender{}, d.ev.Time.Time())
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		if err := d.redactAll(ctx, portal, shown); err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
	}
	return d.change(ctx, "deletion", bridgev2.EventSender{}, "A message was deleted for everybody, and cannot be deleted in Matrix (%s).",
		func(ctx context.Context) error { return d.queue(ctx, deletedPart, &meta) })
}

// redactAll redacts the events of a message, each of its parts, and leaves tombstones.
func (d *delivery) redactAll(ctx context.Context, portal *bridgev2.Portal, message networkid.MessageID) error {
	_, id, first, err := mimirid.ParseMessage(message)
	if err != nil {
		return err
	}
	for part := first; ; part++ { // a long text has several
		message := mimirid.Message(d.at.ID, id, part)
		rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, portal.Receiver, message)
		if err != nil {
			return fmt.Errorf("look for what is deleted: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		for _, row := range visible(rows) {
			_, err := d.deps.Bridge.Bot.SendMessage(ctx, portal.MXID, event.EventRedaction,
				&event.Content{Parsed: &event.RedactionEventContent{Redacts: row.MXID}}, &bridgev2.MatrixSendExtra{Timestamp: d.ev.Time.Time(), MessageMeta: row})
			if err != nil {
				return fmt.Errorf("redact a message: %w", err)
			}
		}
		if err := d.Bury(ctx, rows[0]); err != nil {
			return err
		}
		for _, row := range visible(rows) {
			if err := d.deps.Bridge.DB.Message.Delete(ctx, row.RowID); err != nil {
				return fmt.Errorf("forget a deleted message: %w", err)
			}
		}
	}
}

// taskEnded makes the room what the group is, and tells it what became of a change that our
// user wanted of the mediator, unless it was done without a word.
func (d *delivery) taskEnded(ctx context.Context) error {
	failed := d.ev.Kind == store.GroupTaskFailed
	change, ours, err := d.settleChange(ctx, failed)
	if err != nil && !errors.Is(err, homeserver.ErrProfile) {
		return err
	}
	reason := msgconv.CleanName(d.ev.Reason)
	if !failed && reason == "" || time.Since(d.ev.Time.Time()) > alarmAge {
		return nil
	}
	name := ""
	if !d.ev.Member.IsZero() {
		name = d.nameIn(d.ev.Member)
	}
	if failed && ours {
		return d.sayToUser(ctx, "⚠️ "+change.Refused(name, reason))
	}
	about := ""
	if name != "" {
		about = " about " + name
	}
	text := fmt.Sprintf("What you asked of the group%s was done: %s", about, reason)
	if failed {
		text = fmt.Sprintf("What you asked of the group%s was refused: %s", about, reason)
	}
	return d.sayToUser(ctx, strings.TrimSuffix(text, ".")+".")
}

// sayToUser says something in the room of a group that is about what our user has asked for.
func (d *delivery) sayToUser(ctx context.Context, text string) error {
	text, err := d.deps.GroupRooms.Addressed(d.at.Conversation, text)
	if err != nil {
		return err
	}
	return d.sayIfThere(ctx, text)
}

// settleChange makes the room what the group is, after the mediator has answered a change of
// our user, and returns the change. Also one that was done may not be what the room shows:
// somebody else may have changed it before the bridge knew. It works where the library
// handles the events of the room, so that the change and its task are noted.
func (d *delivery) settleChange(ctx context.Context, failed bool) (change groupchat.Change, ours bool, err error) {
	d.deps.Members.Want(d.at.Conversation)
	meta := d.meta(bridgev2.RemoteEventUnknown, bridgev2.EventSender{}, time.Time{})
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		change, ours = d.deps.Changes.OfTask(ctx, d.at.Conversation, d.ev.Task)
		bound, err := d.deps.Relay.IsBoundRoom(ctx, portal) // since the change, and then its state is not the group's
		if bound || err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
			return
		}
		switch change.Kind {
		case groupchat.ChangeName, groupchat.ChangeTopic, groupchat.ChangeAvatar:
			err = d.deps.GroupRooms.SetBackRoom(ctx, portal, d.at.ID, change)
		case groupchat.ChangeInvite, groupchat.ChangeBan, groupchat.ChangeUnban:
			if failed {
				err = d.deps.GroupRooms.SetBackMember(ctx, d.at.Account, portal.MXID, d.at.ID, change)
			}
		case groupchat.ChangeRole, groupchat.ChangeRules, groupchat.ChangeLeave:
		}
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
		if err := portal.Save(ctx); err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
	}
	err = d.queueExisting(ctx, settledPart, &meta)
	return change, ours, err
}

// settledPart is the part of an entry that the state of the room after it is.
const settledPart = 1_000_070

// newGroup does what is to be done with a group that was created from Matrix, before it gets
// a room.
func (d *delivery) newGroup(ctx context.Context) error {
	for _, p := range d.deps.Plans.Of(ctx, d.at.Account) {
		creation, err := d.deps.Groups.Group(d.at.Account, p.Creation)
		if nodeapi.IsGone(err) {
			continue // not yet, or a crash came before it
		}
		if err != nil {
			return err
		}
		if creation.State != store.GroupCreated || creation.Became != d.at.ID {
			continue
		}
		if p.Room != "" {
			if err := d.usePlanned(ctx, p.Room); err != nil {
				return err
			}
		}
		for _, user := range p.Invite {
			if _, err := d.deps.Groups.InviteToGroup(ctx, d.at.Account, d.at.ID, user); err != nil {
				return fmt.Errorf("invite to a new group: %w", err)
			}
		}
		d.deps.Plans.Drop(ctx, d.at.Account, p.Creation)
	}
	return nil
}

// usePlanned makes the room of a command that of the new group. What its power levels were
// is not asked of the mediator.
func (d *delivery) usePlanned(ctx context.Context, room id.RoomID) error {
	if err := d.deps.Rooms.Use(ctx, d.at.Login, d.portalKey(), room); err != nil {
		return err
	}
	library, cancel := homeserver.Once(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	levels, err := homeserver.RoomState(library, d.deps.Matrix.Bot(), room, event.StatePowerLevels, "")
	if err == nil {
		d.deps.Members.NoteHandled(d.at.Conversation, levels.ID)
	}
	return err
}
