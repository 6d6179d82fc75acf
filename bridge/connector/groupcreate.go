// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// A new group exists when its mediator has answered, after some seconds of work or when it
// can be reached. Until then the bridge's tables have what is to be done with it: the room
// that becomes its room, and who is to be invited. See [delivery.newGroup].

var _ bridgev2.GroupCreatingNetworkAPI = (*client)(nil)

const (
	// createTime is how long programs wait for a new group.
	createTime = 45 * time.Second
	createPoll = 100 * time.Millisecond
	// maxInvited bounds the people who are invited to a new group.
	maxInvited = 100
	// groupType is the one type of groups.
	groupType = "group"
)

// groupCreation returns what programs can say about a new group.
func (c *Connector) groupCreation() map[string]bridgev2.GroupTypeCapabilities {
	if c.groups == nil {
		return nil
	}
	return map[string]bridgev2.GroupTypeCapabilities{groupType: {
		TypeDescription: "a group chat",
		Name:            bridgev2.GroupFieldCapability{Allowed: true, Required: true, MinLength: 1},
		Topic:           bridgev2.GroupFieldCapability{Allowed: true},
		Participants:    bridgev2.GroupFieldCapability{Allowed: true, MaxLength: maxInvited},
	}}
}

// CreateGroup creates a group for a program or for the room of a command. It waits for the
// mediator and for the room.
func (cl *client) CreateGroup(ctx context.Context, params *bridgev2.GroupCreateParams) (*bridgev2.CreateChatResponse, error) {
	if cl.groups == nil {
		return nil, errNoGroups
	}
	g := node.NewGroup{Account: cl.account}
	if params.Name != nil {
		g.Name = params.Name.Name
	}
	if params.Topic != nil {
		g.Description = params.Topic.Topic
	}
	if params.RoomID != "" {
		levels, err := cl.br.Matrix.GetPowerLevels(ctx, params.RoomID)
		if err != nil {
			return nil, fmt.Errorf("read the power levels: %w", err)
		}
		if bot := cl.matrix.Bot().UserID; levels.GetUserLevel(bot) < groupchat.LevelOwner {
			return nil, fmt.Errorf("the room cannot be used: give %s the power level %d in it first", bot, groupchat.LevelOwner)
		}
	}
	var invite []identity.PublicKey
	for _, user := range params.Participants {
		key, err := mimirid.ParseUser(user)
		if err != nil {
			return nil, err
		}
		invite = append(invite, key)
	}
	creation, err := cl.createGroup(ctx, g, params.RoomID, invite)
	if err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, createTime)
	defer cancel()
	poll := time.NewTicker(createPoll)
	defer poll.Stop()
	for {
		portal, err := cl.createdRoom(ctx, creation)
		if err != nil {
			return nil, err
		}
		if portal != nil {
			return &bridgev2.CreateChatResponse{PortalKey: portal.PortalKey, Portal: portal}, nil
		}
		select {
		case <-poll.C:
		case <-patience.Done():
			return nil, errors.New("the mediator has not answered yet: the group is created as soon as it does, and its room appears then")
		}
	}
}

// createdRoom returns the portal of a group that was created, when it has a room.
func (cl *client) createdRoom(ctx context.Context, creation store.ConversationID) (*bridgev2.Portal, error) {
	g, err := cl.groups.Group(cl.account, creation)
	switch {
	case err != nil:
		return nil, err
	case g.State == store.GroupFailed:
		return nil, fmt.Errorf("the mediator refused: %s", g.Reason)
	case g.State != store.GroupCreated:
		return nil, nil
	}
	// The library writes its copy in memory without a lock while it creates the room.
	key := mimirid.Portal(cl.account, g.Became)
	row, err := cl.br.DB.Portal.GetByKey(ctx, key)
	if err != nil || row == nil || row.MXID == "" {
		return nil, err
	}
	return cl.br.GetExistingPortalByKey(ctx, key)
}

// createGroup begins to create a group, and notes what is to be done with it.
func (cl *client) createGroup(
	ctx context.Context, g node.NewGroup, room id.RoomID, invite []identity.PublicKey,
) (creation store.ConversationID, err error) {
	g.Name, g.Description = groupchat.NameFrom(g.Name), groupchat.TopicFrom(g.Description)
	for _, problem := range []string{groupchat.CheckName(g.Name), groupchat.CheckTopic(g.Description)} {
		if problem != "" {
			return creation, errors.New(problem)
		}
	}
	if len(invite) > maxInvited {
		return creation, fmt.Errorf("more than %d people are invited at once", maxInvited)
	}
	g.Source = "matrix:" + rand.Text()
	creation = store.CreationConversation(g.Account, g.Source)
	cl.plans.Change(ctx, cl.account, func(plans []groups.Plan) []groups.Plan { // before the group can exist
		return append(plans, groups.Plan{Creation: creation, Room: room, Invite: invite})
	})
	if _, err := cl.groups.CreateGroup(ctx, g); err != nil {
		cl.plans.Drop(ctx, cl.account, creation)
		if errors.Is(err, node.ErrMediatorMissing) {
			err = errors.New("no mediator is configured for new groups: the operator names one under groups.mediators")
		}
		return creation, err
	}
	return creation, nil
}

var errNoGroups = errors.New("this node takes part in no groups")

// commandCreateGroup creates a group with the name that is given, or of the room that the
// command is written in: with its name, its topic and the ghosts who are invited to it.
func (c *Connector) commandCreateGroup(ce *commands.Event) {
	name := strings.TrimSpace(ce.RawArgs)
	clients := c.clients(ce)
	switch {
	case c.groups == nil:
		replyError(ce, errNoGroups)
	case len(clients) == 0:
		replyError(ce, errors.New("you have no login"))
	case name == "" && (ce.Portal != nil || ce.RoomID == ce.User.ManagementRoom):
		replyError(ce, fmt.Errorf("say the name of the group, of 1 to %d characters", wire.MaxGroupName))
	case name == "":
		commands.CommandCreateGroup.Func(ce)
	default:
		if _, err := clients[0].createGroup(ce.Ctx, node.NewGroup{Account: clients[0].account, Name: name}, "", nil); err != nil {
			replyError(ce, err)
			return
		}
		replyText(ce, "The group is being created; its room appears as soon as its mediator has answered.")
	}
}

// commandInvite invites a contact to the group of a room.
func (c *Connector) commandInvite(ce *commands.Event) {
	cl, conversation, err := c.roomOf(ce)
	if err == nil && !c.conversations.InGroups(conversation) {
		err = errNotGroup
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	link, err := cl.find(ce.RawArgs, node.NameContact)
	if err == nil {
		_, err = c.groups.InviteToGroup(ce.Ctx, cl.account, conversation, link.Key)
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "The invite is on its way; the room says so when it is refused.")
}
