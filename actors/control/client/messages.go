// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"

	"github.com/mimird/mimird/actors/control"
)

// Conversations lists the conversations of an account, those with the newest messages
// first.
func (c *Client) Conversations(ctx context.Context, account string) ([]control.Conversation, error) {
	return get[[]control.Conversation](ctx, c, accountURL(account, "conversations"))
}

// MarkRead notes that a conversation was read up to the message with that order, and
// returns the conversation with the new count of unread messages.
func (c *Client) MarkRead(ctx context.Context, account, chat string, order uint64) (control.Conversation, error) {
	return post[control.Conversation](ctx, c, chatURL(account, chat, "read"), control.ReadMark{Order: order})
}

// FindMessage returns the messages of an account that have this id or guid, with their
// conversations and without their lives: one as a rule, and more when the same guid was
// used in several.
func (c *Client) FindMessage(ctx context.Context, account, message string) ([]control.Trace, error) {
	return get[[]control.Trace](ctx, c, accountURL(account, "messages", message)+"?brief=true")
}

// Trace returns the lives of the messages of an account that have this id or guid:
// one as a rule, and more when the same guid was used in several conversations.
func (c *Client) Trace(ctx context.Context, account, message string) ([]control.Trace, error) {
	return get[[]control.Trace](ctx, c, accountURL(account, "messages", message))
}

// Messages is [Client.ChatMessages] for the messages before an order, 0 for the newest.
func (c *Client) Messages(ctx context.Context, account, chat string, before uint64, limit int) ([]control.Message, error) {
	return c.ChatMessages(ctx, account, chat, control.Range{Before: before, Limit: limit})
}
