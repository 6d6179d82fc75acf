// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/media"
)

// NewFile is a file to be sent.
type NewFile struct {
	Body    io.Reader
	Name    string
	Type    string // MIME type, "" for what the content looks like
	Caption string
	Voice   bool
	ReplyTo string // guid of a message, "" for none
	Source  string // makes it safe to repeat the call; "" for a new message every time
}

func (c *Client) sendFile(ctx context.Context, path string, f NewFile) (control.Message, error) {
	query := url.Values{"voice": {strconv.FormatBool(f.Voice)}}
	for key, value := range map[string]string{
		"name": f.Name, "type": f.Type, "caption": f.Caption, "reply_to": f.ReplyTo, "source": f.Source,
	} {
		if value != "" {
			query.Set(key, value)
		}
	}
	var m control.Message
	resp, err := c.stream(ctx, http.MethodPost, path+"?"+query.Encode(), media.Unknown, f.Body)
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&m); err != nil {
		return m, fmt.Errorf("read answer: %w", err)
	}
	return m, nil
}

// Files lists the files of the newest messages of a conversation, newest first.
func (c *Client) Files(ctx context.Context, account, chat string) ([]control.File, error) {
	return get[[]control.File](ctx, c, chatURL(account, chat, "files"))
}

// File tells about the file of a message.
func (c *Client) File(ctx context.Context, account, chat, message string) (control.File, error) {
	return get[control.File](ctx, c, chatURL(account, chat, "messages", message, "file"))
}

// ReadFile copies the file of a message, which must be here.
func (c *Client) ReadFile(ctx context.Context, account, chat, message string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, chatURL(account, chat, "messages", message, "file", "content"), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if err == nil && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	return nil
}
