// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/retention"
)

func groupURL(account, group string, rest ...string) string {
	return accountURL(account, append([]string{"groups", group}, rest...)...)
}

// Groups lists the groups of an account.
func (c *Client) Groups(ctx context.Context, account string) ([]control.Group, error) {
	return get[[]control.Group](ctx, c, accountURL(account, "groups"))
}

// Group tells about one group, with what its mediator has not answered yet.
func (c *Client) Group(ctx context.Context, account, group string) (control.Group, error) {
	return get[control.Group](ctx, c, groupURL(account, group))
}

// CreateGroup begins to create a group. The group that it returns is a creation, in the state
// creating; see Group.Became.
func (c *Client) CreateGroup(ctx context.Context, account string, g control.NewGroup) (control.Group, error) {
	return post[control.Group](ctx, c, accountURL(account, "groups"), g)
}

// JoinGroup adds a group that another device of the account is in.
func (c *Client) JoinGroup(ctx context.Context, account string, g control.JoinedGroup) (control.Group, error) {
	return post[control.Group](ctx, c, accountURL(account, "groups", "join"), g)
}

// AcceptInvite joins a group that the account is invited to.
func (c *Client) AcceptInvite(ctx context.Context, account, group string) (control.Group, error) {
	return post[control.Group](ctx, c, groupURL(account, group, "accept"), nil)
}

// DeclineInvite declines an invite.
func (c *Client) DeclineInvite(ctx context.Context, account, group string) (control.Group, error) {
	return post[control.Group](ctx, c, groupURL(account, group, "decline"), nil)
}

// SetGroup changes what the node does about a group.
func (c *Client) SetGroup(ctx context.Context, account, group string, settings control.GroupSettings) (control.Group, error) {
	return send[control.Group](ctx, c, http.MethodPatch, groupURL(account, group), settings)
}

// RemoveGroup removes a group that the account is not in, with all messages.
func (c *Client) RemoveGroup(ctx context.Context, account, group string) error {
	return c.remove(ctx, groupURL(account, group))
}

// ClearGroup is [Client.ClearContact] for a group.
func (c *Client) ClearGroup(ctx context.Context, account, group string, what retention.Clear) (retention.Cleared, error) {
	return post[retention.Cleared](ctx, c, groupURL(account, group, "clear"), what)
}

// GroupMembers lists those who are or were in a group.
func (c *Client) GroupMembers(ctx context.Context, account, group string) ([]control.GroupMember, error) {
	return get[[]control.GroupMember](ctx, c, groupURL(account, group, "members"))
}

// The methods below ask the mediator of a group for something, and wait for its answer at
// most for a time, in whole seconds up to ten minutes; without one in that time the state is
// "queued". A refusal is an [Error] with the reason.

// InviteToGroup invites somebody by key, link, or the name of a contact.
func (c *Client) InviteToGroup(ctx context.Context, account, group, identity string, wait time.Duration) (control.GroupTask, error) {
	return post[control.GroupTask](ctx, c, groupURL(account, group, "invites")+waitQuery(wait), control.Invitee{Identity: identity})
}

// EditGroup changes name, description or picture of a group for everybody.
func (c *Client) EditGroup(ctx context.Context, account, group string, e control.GroupEdit, wait time.Duration) (control.GroupTask, error) {
	return post[control.GroupTask](ctx, c, groupURL(account, group, "edit")+waitQuery(wait), e)
}

// LeaveGroup leaves a group. Its messages stay.
func (c *Client) LeaveGroup(ctx context.Context, account, group string, wait time.Duration) (control.GroupTask, error) {
	return post[control.GroupTask](ctx, c, groupURL(account, group, "leave")+waitQuery(wait), nil)
}

// DeleteGroup deletes a group for everybody.
func (c *Client) DeleteGroup(ctx context.Context, account, group string, wait time.Duration) (control.GroupTask, error) {
	return post[control.GroupTask](ctx, c, groupURL(account, group, "delete")+waitQuery(wait), nil)
}

// SetGroupRole gives a member another role.
func (c *Client) SetGroupRole(ctx context.Context, account, group, member, role string, wait time.Duration) (control.GroupTask, error) {
	return send[control.GroupTask](ctx, c, http.MethodPut, groupURL(account, group, "members", member, "role")+waitQuery(wait), control.MemberRole{Role: role})
}

// BanFromGroup bans a member of a group, or lifts a ban.
func (c *Client) BanFromGroup(ctx context.Context, account, group, member string, banned bool, wait time.Duration) (control.GroupTask, error) {
	verb := "unban"
	if banned {
		verb = "ban"
	}
	return post[control.GroupTask](ctx, c, groupURL(account, group, "members", member, verb)+waitQuery(wait), nil)
}

// DeleteGroupMessage deletes a message, by its id, for everybody.
func (c *Client) DeleteGroupMessage(ctx context.Context, account, group, message string, wait time.Duration) (control.GroupTask, error) {
	return post[control.GroupTask](ctx, c, groupURL(account, group, "messages", message, "delete")+waitQuery(wait), nil)
}

func waitQuery(wait time.Duration) string {
	return "?wait=" + strconv.FormatInt(int64(wait/time.Second), 10)
}
