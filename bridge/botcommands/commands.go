// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/bridge/relay"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

var (
	helpContacts = commands.HelpSection{Name: "Contacts", Order: 15}
	helpGroups   = commands.HelpSection{Name: "Groups", Order: 16}
	helpMessages = commands.HelpSection{Name: "Messages", Order: 25}
)

// roomEnds returns the library's commands that end the use of rooms. The rooms are noted as
// given up first: the bot leaves them one request after the other, and a message that comes
// meanwhile must not find the room that is about to be left.
func (c *Commands) roomEnds() []commands.CommandHandler {
	first := func(command *commands.FullHandler, rooms func(*commands.Event) ([]*bridgev2.Portal, error)) *commands.FullHandler {
		wrapped := *command
		wrapped.Func = func(ce *commands.Event) {
			portals, err := rooms(ce)
			for _, portal := range portals {
				bound, failed := c.deps.Relay.IsBoundRoom(ce.Ctx, portal)
				switch {
				case failed != nil:
					err = errors.Join(err, failed)
				case bound && command == commands.CommandUnbridge:
					if err := c.commandUnbridge(ce); err != nil {
						replyError(ce, err)
					}
					return
				case bound:
					replyError(ce, relay.ErrBound)
					return
				}
			}
			if err != nil {
				replyError(ce, err)
				return
			}
			for _, portal := range portals {
				err = errors.Join(err, c.deps.Rooms.GiveUp(ce.Ctx, portal.MXID))
			}
			if err != nil {
				ce.Reply("The room is not deleted: %s. Try again.", fault.OneLine(err))
				return
			}
			command.Func(ce)
		}
		return &wrapped
	}
	this := func(ce *commands.Event) ([]*bridgev2.Portal, error) { return []*bridgev2.Portal{ce.Portal}, nil }
	all := func(ce *commands.Event) ([]*bridgev2.Portal, error) {
		return c.deps.Bridge.GetAllPortalsWithMXID(ce.Ctx)
	}
	return []commands.CommandHandler{
		first(commands.CommandDeletePortal, this),
		first(commands.CommandUnbridge, this),
		first(commands.CommandDeleteAllPortals, all),
	}
}

// withoutMeaning returns commands of the library that Mimir gives no meaning, for which it
// has nothing but a mark that all is well. They are not in the help, and say what to use.
func withoutMeaning() []commands.CommandHandler {
	hidden := func(name, answer string) *commands.FullHandler {
		return &commands.FullHandler{
			Name: name, Func: func(ce *commands.Event) { replyText(ce, answer) },
			NetworkConnector: func(bridgev2.NetworkConnector) bool { return false },
		}
	}
	return []commands.CommandHandler{
		hidden("delete-chat", "Mimir does not delete conversations. delete-portal deletes the room; contact and messages stay on the node."),
		hidden("filter", "Every contact and every group has a room. mute silences one, block takes nothing from a contact any more."),
	}
}

// commandList returns the commands that other bridges do not have. One about a contact is
// about the contact of its room, or the one that the argument names.
func (c *Commands) commandList() []commands.CommandHandler {
	command := func(name, args, text string, section commands.HelpSection, run func(*commands.Event)) *commands.FullHandler {
		return &commands.FullHandler{
			Name: name, Func: run, RequiresLogin: true,
			Help: commands.HelpMeta{Section: section, Description: text, Args: args},
		}
	}
	decide := func(name string, purpose node.NamePurpose, text, done string, decide func(context.Context, *client, identity.PublicKey) (store.Contact, error)) *commands.FullHandler {
		return command(name, "[_contact_]", text, helpContacts, func(ce *commands.Event) { c.decide(ce, purpose, done, decide) })
	}
	return []commands.CommandHandler{
		command("my-link", "", "Show the link and the QR code with which others add you", helpContacts, c.commandMyLink),
		command("contacts", "[_part of a name_]", "List your contacts, and who asks to be one", helpContacts, c.commandContacts),
		decide("accept", node.NameRequest, "Accept a contact request, or the invite to a group", "%s is your contact now.",
			func(ctx context.Context, cl *client, contact identity.PublicKey) (store.Contact, error) {
				return cl.deps.Node.AcceptContact(ctx, cl.account, contact)
			}),
		decide("decline", node.NameRequest, "Decline a contact request, or the invite to a group", "You have declined %s.",
			func(ctx context.Context, cl *client, contact identity.PublicKey) (store.Contact, error) {
				return cl.deps.Node.DeclineContact(ctx, cl.account, contact)
			}),
		decide("block", node.NameBlock, "Take nothing from a contact any more", "You have blocked %s.",
			func(ctx context.Context, cl *client, contact identity.PublicKey) (store.Contact, error) {
				return cl.deps.Node.BlockContact(ctx, cl.account, contact)
			}),
		decide("unblock", node.NameUnblock, "Undo block", "%s is unblocked.",
			func(ctx context.Context, cl *client, contact identity.PublicKey) (store.Contact, error) {
				return cl.deps.Node.UnblockContact(ctx, cl.account, contact)
			}),
		inRoom(command("rename", "[_name_]", "Show the contact of this room under another name; none goes back to theirs", helpContacts, c.commandRename)),
		command("create-group", "[_name_]", "Create a group; without a name of the room that this is written in, with the people who are invited to it", helpGroups, c.commandCreateGroup),
		inRoom(command("invite-to-group", "_contact_", "Invite a contact to the group of this room", helpGroups, c.commandInvite)),
		inRoom(command("leave-group", "", "Leave the group of this room", helpGroups, c.commandLeaveGroup)),
		command("bridge", "_group_", "Bridge a group to the room where you say this, for people without Mimir (`bridge.relay`)", helpGroups, c.commandBridge),
		withoutLogin(inRoom(command("relay", "[off | on]", "Whether what you write in this room is sent to Mimir, if you have no login; off ends that for you", helpGroups, func(ce *commands.Event) {
			replyText(ce, "Say it in the room, as yourself.") // which is answered there, see package relay
		}))),
		command("search", "_words_", "Find messages, contacts and groups; in the room of a conversation, its messages", helpMessages, c.commandSearch),
		command("queue", "", "Show what waits for your contacts and groups, and why", helpMessages, c.commandQueue),
		withoutLogin(command("cancel", "", "End a login that was begun; in a room, give up what waits for its contact or group; as a reply, that message alone", helpMessages, c.commandCancel)),
		inRoom(command("trace", "", "As a reply: show the life of a message", helpMessages, c.commandTrace)),
		inRoom(command("fetch", "", "As a reply: fetch a file that was not fetched", helpMessages, c.commandFetch)),
		command("history", "[_contact or group_] [_messages_]", "Make the room of a conversation anew, with the whole history or so many messages", helpMessages, c.commandHistory),
		command("retry", "[_contact or group_]", "Try again at once what does not reach its room; as a reply to a notice, show the message that it replaces", helpMessages, c.commandRetry),
	}
}

func withoutLogin(h *commands.FullHandler) *commands.FullHandler {
	h.RequiresLogin = false
	return h
}

func inRoom(h *commands.FullHandler) *commands.FullHandler {
	h.RequiresPortal = true
	return h
}

// client is a login of the user who gives a command.
type client struct {
	*Commands
	login   *bridgev2.UserLogin
	account identity.PublicKey
}

// clients returns the logins of the user who gives a command, the one of the room first.
func (c *Commands) clients(ce *commands.Event) []*client {
	var all []*client
	for _, login := range ce.User.GetUserLogins() {
		account, err := mimirid.ParseLogin(login.ID)
		cl := &client{Commands: c, login: login, account: account}
		switch {
		case err != nil:
		case ce.Portal != nil && (ce.Portal.Receiver == login.ID || cl.isInGroupOf(ce.Portal)):
			all = slices.Insert(all, 0, cl)
		default:
			all = append(all, cl)
		}
	}
	return all
}

// isInGroupOf reports whether the login is one of those that share the room of a group.
func (cl *client) isInGroupOf(portal *bridgev2.Portal) bool {
	_, group, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil || !cl.deps.Conversations.InGroups(group) {
		return false
	}
	logins, err := cl.deps.GroupRooms.Logins(group)
	return err == nil && slices.ContainsFunc(logins, func(l groups.Login) bool { return l.Account == cl.account && l.Belongs })
}

var errNotYourRoom = errors.New("this conversation belongs to another user")

// roomOf returns the login and the conversation of a room.
func (c *Commands) roomOf(ce *commands.Event) (*client, store.ConversationID, error) {
	account, conversation, err := mimirid.ParsePortal(ce.Portal.PortalKey)
	if err == nil && conversation.Kind() == store.KindGroup && c.deps.Groups == nil {
		err = groups.ErrGone
	}
	if err != nil {
		return nil, conversation, err
	}
	for _, cl := range c.clients(ce) {
		if cl.account == account || cl.isInGroupOf(ce.Portal) {
			return cl, conversation, nil
		}
	}
	return nil, conversation, errNotYourRoom
}

// contactOf returns the login and the contact of a room.
func (c *Commands) contactOf(ce *commands.Event) (*client, identity.PublicKey, error) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && conversation.Kind() == store.KindGroup {
		err = errGroupCommand
	}
	return cl, conversation.Contact(), err
}

// target returns the contact that a command is about.
func (c *Commands) target(ce *commands.Event, purpose node.NamePurpose) (*client, identity.PublicKey, error) {
	if ce.RawArgs == "" {
		if ce.Portal == nil {
			return nil, identity.PublicKey{}, errors.New("say who: a link, a key, or the name of a contact")
		}
		return c.contactOf(ce)
	}
	var problem error
	for _, cl := range c.clients(ce) {
		link, err := people.Find(cl.deps.Node, cl.account, ce.RawArgs, purpose)
		if err == nil {
			_, err = cl.deps.Node.Contact(cl.account, link.Key)
		}
		if err == nil {
			return cl, link.Key, nil
		}
		if problem == nil {
			problem = err
		}
	}
	return nil, identity.PublicKey{}, problem
}

// conversationOf returns the conversation that a command is about: that of its room, or the
// one with the contact, or in the group, that the argument names. Names of groups are chosen
// by others, so that of a contact comes first.
func (c *Commands) conversationOf(ce *commands.Event) (*client, store.ConversationID, error) {
	if ce.RawArgs == "" && ce.Portal != nil {
		return c.roomOf(ce)
	}
	cl, contact, err := c.target(ce, node.NameContact)
	if err == nil {
		return cl, store.ContactConversation(contact), nil
	}
	if cl, g, groupErr := c.groupNamed(ce, ce.RawArgs, node.GroupAny); groupErr == nil {
		return cl, g.ID, nil
	} else if errors.Is(groupErr, node.ErrAmbiguousName) {
		err = errAmbiguousGroup
	}
	return nil, store.ConversationID{}, err
}

func (c *Commands) decide(
	ce *commands.Event, purpose node.NamePurpose, done string, decide func(context.Context, *client, identity.PublicKey) (store.Contact, error),
) {
	if c.decideInvite(ce, purpose) {
		return
	}
	cl, key, err := c.target(ce, purpose)
	if err != nil {
		replyError(ce, err)
		return
	}
	asked := ce.Portal != nil && ce.Portal.MessageRequest
	contact, err := decide(ce.Ctx, cl, key)
	switch {
	case nodeapi.IsGone(err):
		replyError(ce, errors.New("there is no contact request to answer"))
	case err != nil:
		replyError(ce, err)
	case asked && contact.State == store.ContactAccepted:
		// The room of the request is told so, however it was accepted.
	default:
		replyText(ce, fmt.Sprintf(done, c.deps.Names.OfContact(contact)))
	}
}

func (c *Commands) commandRename(ce *commands.Event) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && conversation.Kind() == store.KindGroup {
		err = errGroupName
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	contact, err := cl.deps.Node.RenameContact(ce.Ctx, cl.account, conversation.Contact(), msgconv.CleanName(ce.RawArgs))
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, fmt.Sprintf("The contact is shown as %s.", c.deps.Names.ForUser(contact)))
}

// maxListed bounds the lines of an answer.
const maxListed = 200

func (c *Commands) commandContacts(ce *commands.Event) {
	var lines []string
	for _, cl := range c.clients(ce) {
		contacts, err := cl.deps.Node.Contacts(cl.account)
		if ce.RawArgs != "" {
			contacts, err = people.Named(cl.deps.Node, cl.account, func(name string) bool { return strings.Contains(name, people.Fold(ce.RawArgs)) }, ce.RawArgs)
		}
		if err != nil {
			replyError(ce, err)
			return
		}
		for _, contact := range contacts {
			if contact.State != store.ContactStranger {
				lines = append(lines, c.contactLine(contact))
			}
		}
	}
	if len(lines) == 0 {
		replyText(ce, "There is nobody yet. Give others your link (my-link), or take theirs (start-chat).")
		return
	}
	replyLines(ce, lines)
}

func (c *Commands) contactLine(contact store.Contact) string {
	line := fmt.Sprintf("%s (%s…)", c.deps.Names.ForUser(contact), contact.ID.String()[:node.MinKeyPrefix])
	switch {
	case contact.State == store.ContactRequested:
		line += " asks to be your contact"
	case contact.State == store.ContactBlocked:
		line += " is blocked"
	case contact.Asked == store.AskWaiting, contact.Asked == store.AskSent:
		line += " was asked and has not answered"
	}
	if contact.Muted {
		line += ", muted"
	}
	if !contact.LastSeen.Time().IsZero() {
		line += ", seen " + notices.Moment(contact.LastSeen)
	}
	return line
}

// replyText answers a command. The text is not markup: it contains names that others have
// chosen.
func replyText(ce *commands.Event, text string) {
	content := msgconv.Notice(strings.ReplaceAll(text, "$cmdprefix", ce.Bridge.Config.CommandPrefix))
	content.Mentions = &event.Mentions{}
	_, err := ce.Bot.SendMessage(ce.Ctx, ce.OrigRoomID, event.EventMessage, &event.Content{Parsed: content}, nil)
	if err != nil {
		ce.Log.Err(err).Msg("Failed to answer a command")
	}
}

func replyError(ce *commands.Event, err error) {
	replyText(ce, "That did not work: "+fault.OneLine(err)+".")
	ce.MessageStatus = &bridgev2.MessageStatus{Status: event.MessageStatusFail, InternalError: err, ErrorAsMessage: true, IsCertain: true}
}

func replyLines(ce *commands.Event, lines []string) {
	if over := len(lines) - maxListed; over > 0 {
		lines = append(lines[:maxListed], fmt.Sprintf("… and %d more", over))
	}
	replyText(ce, strings.Join(lines, "\n"))
}
