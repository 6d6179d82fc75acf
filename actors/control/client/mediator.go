// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/mimird/mimird/actors/control"
)

func mediatorURL(rest ...string) string {
	parts := []string{"/v1/mediator"}
	for _, part := range rest {
		parts = append(parts, segment(part))
	}
	return strings.Join(parts, "/")
}

// HostedGroups returns the groups of the mediator that the node is.
func (c *Client) HostedGroups(ctx context.Context) ([]control.HostedGroup, error) {
	return get[[]control.HostedGroup](ctx, c, mediatorURL("groups"))
}

// HostedMembers returns members of a group of the mediator, at most limit.
func (c *Client) HostedMembers(ctx context.Context, group string, limit int) (control.HostedMembers, error) {
	return get[control.HostedMembers](ctx, c, mediatorURL("groups", group, "members")+"?limit="+strconv.Itoa(limit))
}

// DeleteHostedGroup deletes a group of the mediator.
func (c *Client) DeleteHostedGroup(ctx context.Context, group string) error {
	return c.remove(ctx, mediatorURL("groups", group))
}

// SetHostedQuota bounds what a group of the mediator may take; 0 is the default.
func (c *Client) SetHostedQuota(ctx context.Context, group string, quota uint64) error {
	return c.put(ctx, mediatorURL("groups", group, "quota"), control.HostedQuota{Quota: quota})
}

// BanHostedMember bans an identity from a group of the mediator, or lifts that.
func (c *Client) BanHostedMember(ctx context.Context, group, user string, banned bool) error {
	return c.set(ctx, mediatorURL("groups", group, "bans", user), banned)
}

// MediatorBans returns the identities that may not log in at the mediator.
func (c *Client) MediatorBans(ctx context.Context) ([]control.MediatorBan, error) {
	return get[[]control.MediatorBan](ctx, c, mediatorURL("bans"))
}

// BanFromMediator says whether an identity may log in at the mediator.
func (c *Client) BanFromMediator(ctx context.Context, user string, banned bool) error {
	return c.set(ctx, mediatorURL("bans", user), banned)
}

// set makes what a path names exist or not.
func (c *Client) set(ctx context.Context, path string, exists bool) error {
	if exists {
		return c.put(ctx, path, nil)
	}
	return c.remove(ctx, path)
}

// put sends a PUT request. Its answer has no content.
func (c *Client) put(ctx context.Context, path string, body any) error {
	raw, err := encodeBody(body)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPut, path, raw)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
