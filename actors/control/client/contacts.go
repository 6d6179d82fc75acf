// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/jsonlist"
	"github.com/mimird/mimird/actors/retention"
)

// Contacts lists the contacts of an account: by key, name, or "-" for the only
// account.
func (c *Client) Contacts(ctx context.Context, account string) ([]control.Contact, error) {
	return get[[]control.Contact](ctx, c, accountURL(account, "contacts"))
}

// EachContact calls handle for each contact of an account, as the node reads them, until
// handle returns an error. None is in memory after its call.
func (c *Client) EachContact(ctx context.Context, account string, handle func(control.Contact) error) error {
	resp, err := c.do(ctx, http.MethodGet, accountURL(account, "contacts"), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := jsonlist.Read(resp.Body, handle); err != nil {
		return fmt.Errorf("list of contacts: %w", err)
	}
	return nil
}

// Contact asks for one contact.
func (c *Client) Contact(ctx context.Context, account, contact string) (control.Contact, error) {
	return get[control.Contact](ctx, c, accountURL(account, "contacts", contact))
}

// AddContact adds a contact by link or key.
func (c *Client) AddContact(ctx context.Context, account, link string) (control.Contact, error) {
	return post[control.Contact](ctx, c, accountURL(account, "contacts"), control.NewContact{Link: link})
}

// RequestContact adds a contact by link or key, and asks them to do the same.
func (c *Client) RequestContact(ctx context.Context, account, link, text string) (control.Contact, error) {
	return post[control.Contact](ctx, c, accountURL(account, "contacts"), control.NewContact{Link: link, Ask: true, Request: text})
}

// AcceptContact says yes to a contact request.
func (c *Client) AcceptContact(ctx context.Context, account, contact string) (control.Contact, error) {
	return c.contactVerb(ctx, account, contact, "accept")
}

// DeclineContact says no to a contact request.
func (c *Client) DeclineContact(ctx context.Context, account, contact string) (control.Contact, error) {
	return c.contactVerb(ctx, account, contact, "decline")
}

// BlockContact blocks a contact: nothing of theirs is accepted any more.
func (c *Client) BlockContact(ctx context.Context, account, contact string) (control.Contact, error) {
	return c.contactVerb(ctx, account, contact, "block")
}

// UnblockContact makes a blocked contact what they were before.
func (c *Client) UnblockContact(ctx context.Context, account, contact string) (control.Contact, error) {
	return c.contactVerb(ctx, account, contact, "unblock")
}

func (c *Client) contactVerb(ctx context.Context, account, contact, verb string) (control.Contact, error) {
	return post[control.Contact](ctx, c, accountURL(account, "contacts", contact, verb), struct{}{})
}

// ChangeContact renames or mutes a contact.
func (c *Client) ChangeContact(ctx context.Context, account, contact string, change control.ContactChange) (control.Contact, error) {
	return send[control.Contact](ctx, c, http.MethodPatch, accountURL(account, "contacts", contact), change)
}

// RemoveContact removes a contact with all messages.
func (c *Client) RemoveContact(ctx context.Context, account, contact string) error {
	return c.remove(ctx, accountURL(account, "contacts", contact))
}

// ClearContact removes messages of a conversation.
func (c *Client) ClearContact(ctx context.Context, account, contact string, what retention.Clear) (retention.Cleared, error) {
	return post[retention.Cleared](ctx, c, accountURL(account, "contacts", contact, "clear"), what)
}

// TrustDevice lets a contact in from a node.
func (c *Client) TrustDevice(ctx context.Context, account, contact, node string) (control.Contact, error) {
	return post[control.Contact](ctx, c, accountURL(account, "contacts", contact, "devices"), control.Device{Node: node})
}
