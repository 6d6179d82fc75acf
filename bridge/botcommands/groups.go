// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// What users say to the bot about groups. Commands about a conversation are in commands.go
// and others, and mean a group as well as a contact.

var (
	// errGroupCommand answers a command about a contact in the room of a group.
	errGroupCommand   = errors.New("this is the room of a group, and the command is about a contact: say whom")
	errGroupName      = errors.New("a group has one name for all of its members: change the name of the room to change it for everybody")
	errAmbiguousGroup = errors.New("several groups are called that: say it in the room of the one that you mean")
	errNoInviteWaits  = errors.New("there is no invite to answer")
)

// groupNamed returns the group of one of the user's logins that a name means.
func (c *Commands) groupNamed(ce *commands.Event, name string, purpose node.GroupPurpose) (*client, store.Group, error) {
	problem := node.ErrUnknownGroup
	if c.deps.Groups == nil {
		return nil, store.Group{}, problem
	}
	for _, cl := range c.clients(ce) {
		groups, err := c.deps.Groups.Groups(cl.account)
		if err != nil {
			return nil, store.Group{}, err
		}
		g, err := node.FindGroup(groups, name, purpose, people.Fold)
		if err == nil {
			return cl, g, nil
		}
		if !errors.Is(err, node.ErrUnknownGroup) {
			problem = err
		}
	}
	return nil, store.Group{}, problem
}

// decideInvite answers the invite to a group: that of the room, or the one that the argument
// names unless it names a contact. It reports false when the command is about a contact.
func (c *Commands) decideInvite(ce *commands.Event, purpose node.NamePurpose) bool {
	if c.deps.Groups == nil || purpose != node.NameRequest && ce.RawArgs != "" {
		return false
	}
	var account identity.PublicKey
	var group store.ConversationID
	switch {
	case ce.RawArgs != "":
		if _, _, err := c.target(ce, purpose); err == nil {
			return false
		}
		cl, g, err := c.groupNamed(ce, ce.RawArgs, node.GroupInvite)
		if errors.Is(err, node.ErrUnknownGroup) {
			return false
		}
		if errors.Is(err, node.ErrAmbiguousName) {
			err = errAmbiguousGroup
		}
		if err != nil {
			replyError(ce, err)
			return true
		}
		account, group = cl.account, g.ID
	case ce.Portal == nil:
		return false
	default:
		cl, conversation, err := c.roomOf(ce)
		if conversation.Kind() != store.KindGroup {
			return false
		}
		if err == nil && purpose != node.NameRequest {
			err = errGroupCommand
		}
		if err != nil {
			replyError(ce, err)
			return true
		}
		account, group = cl.account, conversation
	}
	if err := c.answerInvite(ce.Ctx, account, group, ce.Command == "accept"); err != nil {
		replyError(ce, err)
	} else if ce.Portal == nil {
		replyText(ce, "The answer to the invite is on its way.")
	}
	return true // its room is told, see tellState
}

func (c *Commands) answerInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID, accept bool) error {
	decide := c.deps.Groups.DeclineInvite
	if accept {
		decide = c.deps.Groups.AcceptInvite
	}
	switch err := decide(ctx, account, group); {
	case nodeapi.IsGone(err), errors.Is(err, node.ErrNoInvite):
		return errNoInviteWaits
	case errors.Is(err, node.ErrGroupKey):
		return errors.New("the invite has no key that you can use: ask for another one")
	default:
		return err
	}
}

// errNotGroup answers a command about a group in another room.
var errNotGroup = errors.New("this is not the room of a group")

// commandLeaveGroup leaves the group of a room. Its room stays, and is told.
func (c *Commands) commandLeaveGroup(ce *commands.Event) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && !c.deps.Conversations.InGroups(conversation) {
		err = errNotGroup
	}
	if err == nil {
		_, err = c.deps.Groups.LeaveGroup(ce.Ctx, cl.account, conversation)
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "You leave the group as soon as its mediator confirms it.")
}

// commandCreateGroup creates a group with the name that is given, or of the room that the
// command is written in: with its name, its topic and the ghosts who are invited to it.
func (c *Commands) commandCreateGroup(ce *commands.Event) {
	name := strings.TrimSpace(ce.RawArgs)
	clients := c.clients(ce)
	switch {
	case c.deps.Groups == nil:
		replyError(ce, groups.ErrNone)
	case len(clients) == 0:
		replyError(ce, errors.New("you have no login"))
	case name == "" && (ce.Portal != nil || ce.RoomID == ce.User.ManagementRoom):
		replyError(ce, fmt.Errorf("say the name of the group, of 1 to %d characters", wire.MaxGroupName))
	case name == "":
		commands.CommandCreateGroup.Func(ce)
	default:
		if _, err := c.deps.Plans.Create(ce.Ctx, node.NewGroup{Account: clients[0].account, Name: name}, "", nil); err != nil {
			replyError(ce, err)
			return
		}
		replyText(ce, "The group is being created; its room appears as soon as its mediator has answered.")
	}
}

// commandInvite invites a contact to the group of a room.
func (c *Commands) commandInvite(ce *commands.Event) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && !c.deps.Conversations.InGroups(conversation) {
		err = errNotGroup
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	link, err := people.Find(cl.deps.Node, cl.account, ce.RawArgs, node.NameContact)
	if err == nil {
		_, err = c.deps.Groups.InviteToGroup(ce.Ctx, cl.account, conversation, link.Key)
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "The invite is on its way; the room says so when it is refused.")
}
