// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"

	"github.com/mimird/mimird/actors/control/browsers"
)

// Page asks how the page for browsers is, and who is in.
func (c *Client) Page(ctx context.Context) (browsers.PageState, error) {
	return get[browsers.PageState](ctx, c, "/v1/page")
}

// PageLink makes a link to the page that lets one browser in, once.
func (c *Client) PageLink(ctx context.Context) (browsers.PageLink, error) {
	return post[browsers.PageLink](ctx, c, "/v1/page/link", struct{}{})
}

// SetPagePassword sets the password of the page, or removes it when it is "".
func (c *Client) SetPagePassword(ctx context.Context, password string) error {
	return c.put(ctx, "/v1/page/password", browsers.PagePassword{Password: password})
}

// EndPageSession logs a browser out, or all of them when id is "".
func (c *Client) EndPageSession(ctx context.Context, id string) error {
	if id == "" {
		return c.remove(ctx, "/v1/page/sessions")
	}
	return c.remove(ctx, "/v1/page/sessions/"+segment(id))
}
