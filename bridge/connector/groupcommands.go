// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
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
func (c *Connector) groupNamed(ce *commands.Event, name string, purpose node.GroupPurpose) (*client, store.Group, error) {
	problem := node.ErrUnknownGroup
	if c.groups == nil {
		return nil, store.Group{}, problem
	}
	for _, cl := range c.clients(ce) {
		groups, err := c.groups.Groups(cl.account)
		if err != nil {
			return nil, store.Group{}, err
		}
		g, err := node.FindGroup(groups, name, purpose, fold)
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
func (c *Connector) decideInvite(ce *commands.Event, purpose node.NamePurpose) bool {
	if c.groups == nil || purpose != node.NameRequest && ce.RawArgs != "" {
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

func (c *Connector) answerInvite(ctx context.Context, account identity.PublicKey, group store.ConversationID, accept bool) error {
	decide := c.groups.DeclineInvite
	if accept {
		decide = c.groups.AcceptInvite
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
func (c *Connector) commandLeaveGroup(ce *commands.Event) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && !c.conversations.InGroups(conversation) {
		err = errNotGroup
	}
	if err == nil {
		_, err = c.groups.LeaveGroup(ce.Ctx, cl.account, conversation)
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "You leave the group as soon as its mediator confirms it.")
}
