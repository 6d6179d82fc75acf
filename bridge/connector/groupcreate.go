// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// A new group exists when its mediator has answered, after some seconds of work or when it
// can be reached. Until then the bridge's tables have what is to be done with it: the room
// that becomes its room, and who is to be invited. See package groups.

var _ bridgev2.GroupCreatingNetworkAPI = (*client)(nil)

const (
	// createTime is how long programs wait for a new group.
	createTime = 45 * time.Second
	createPoll = 100 * time.Millisecond
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
		Participants:    bridgev2.GroupFieldCapability{Allowed: true, MaxLength: groups.MaxInvited},
	}}
}

// CreateGroup creates a group for a program or for the room of a command. It waits for the
// mediator and for the room.
func (cl *client) CreateGroup(ctx context.Context, params *bridgev2.GroupCreateParams) (*bridgev2.CreateChatResponse, error) {
	if cl.groups == nil {
		return nil, groups.ErrNone
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
	creation, err := cl.plans.Create(ctx, g, params.RoomID, invite)
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
