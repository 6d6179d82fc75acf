// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mimird/mimird/actors/control"
)

// A chat is a conversation of either kind: a contact, by key, link or name, or a group, by id
// or name; a name means a contact before it means a group.

// maxPicture bounds the picture of a contact, group or account.
const maxPicture = 1 << 20

func chatURL(account, chat string, rest ...string) string {
	return accountURL(account, append([]string{"conversations", chat}, rest...)...)
}

// Conversation asks for the state of one chat.
func (c *Client) Conversation(ctx context.Context, account, chat string) (control.Conversation, error) {
	return get[control.Conversation](ctx, c, chatURL(account, chat))
}

// ChatMessages lists messages of a chat with their reactions, newest first. Large messages
// make it fewer than the limit; the chat is at its end when there are none.
func (c *Client) ChatMessages(ctx context.Context, account, chat string, which control.Range) ([]control.Message, error) {
	query := url.Values{
		"limit": {strconv.Itoa(which.Limit)}, "before": {strconv.FormatUint(which.Before, 10)}, "after": {strconv.FormatUint(which.After, 10)},
	}
	return get[[]control.Message](ctx, c, chatURL(account, chat, "messages")+"?"+query.Encode())
}

// MissedCalls lists the last 100 missed calls of a contact, newest first; none of a group.
func (c *Client) MissedCalls(ctx context.Context, account, chat string) ([]control.Call, error) {
	return get[[]control.Call](ctx, c, chatURL(account, chat, "calls"))
}

// ChatMessage asks for one message of a chat, by its id.
func (c *Client) ChatMessage(ctx context.Context, account, chat, message string) (control.Message, error) {
	return get[control.Message](ctx, c, chatURL(account, chat, "messages", message))
}

// Send queues a text. When it returns without an error the text cannot be lost.
func (c *Client) Send(ctx context.Context, account, chat string, text control.Text) (control.Message, error) {
	return post[control.Message](ctx, c, chatURL(account, chat, "messages"), text)
}

// React reacts to a message of a chat, by its guid.
func (c *Client) React(ctx context.Context, account, chat string, r control.Reaction) (control.Message, error) {
	return post[control.Message](ctx, c, chatURL(account, chat, "reactions"), r)
}

// CancelMessage gives up a message of a chat, by its id, that was not delivered yet.
func (c *Client) CancelMessage(ctx context.Context, account, chat, message string) (control.Message, error) {
	return post[control.Message](ctx, c, chatURL(account, chat, "messages", message, "cancel"), struct{}{})
}

// FetchFile asks for the file of a message of a chat; it returns at once.
func (c *Client) FetchFile(ctx context.Context, account, chat, message string) (control.File, error) {
	return post[control.File](ctx, c, chatURL(account, chat, "messages", message, "file", "fetch"), struct{}{})
}

// SendFile queues a file. When it returns without an error the file cannot be lost.
func (c *Client) SendFile(ctx context.Context, account, chat string, f NewFile) (control.Message, error) {
	return c.sendFile(ctx, chatURL(account, chat, "files"), f)
}

// OpenFile asks for the file of a message of a chat, which must be here, or for a part of
// it, as in the header Range of HTTP; "" for all. The caller closes the body of the answer.
func (c *Client) OpenFile(ctx context.Context, account, chat, message, part string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mimird"+chatURL(account, chat, "messages", message, "file", "content"), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if part != "" {
		req.Header.Set("Range", part)
	}
	return c.ask(req)
}

// Avatar returns the picture of a chat, or of the account itself when chat is "".
func (c *Client) Avatar(ctx context.Context, account, chat string) ([]byte, error) {
	path := accountURL(account, "avatar")
	if chat != "" {
		path = chatURL(account, chat, "avatar")
	}
	return c.bytes(ctx, path)
}

// QR returns the QR code of an account's link, as an SVG picture.
func (c *Client) QR(ctx context.Context, account string) ([]byte, error) {
	return c.bytes(ctx, accountURL(account, "qr"))
}

func (c *Client) bytes(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxPicture)) //nolint:forbidigo // through a limit
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return raw, nil
}

// LastEvent returns the sequence number of the newest event of an account, 0 for none.
func (c *Client) LastEvent(ctx context.Context, account string) (uint64, error) {
	last, err := get[control.LastEvent](ctx, c, accountURL(account, "events", "last"))
	return last.Seq, err
}
