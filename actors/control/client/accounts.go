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
)

// Accounts lists the accounts of the node.
func (c *Client) Accounts(ctx context.Context) ([]control.Account, error) {
	return get[[]control.Account](ctx, c, "/v1/accounts")
}

// CreateAccount creates an account.
func (c *Client) CreateAccount(ctx context.Context, name string) (control.Account, error) {
	return post[control.Account](ctx, c, "/v1/accounts", map[string]string{"name": name})
}

// ImportAccount creates an account of an identity that exists already.
func (c *Client) ImportAccount(ctx context.Context, in control.Import) (control.Imported, error) {
	return post[control.Imported](ctx, c, "/v1/accounts/import", in)
}

// ExportAccount asks for the secret key of an account: by key, name, or "-" for
// the only account.
func (c *Client) ExportAccount(ctx context.Context, account string) (control.Secret, error) {
	return post[control.Secret](ctx, c, accountURL(account, "export"), struct{}{})
}

// ChangeAccount changes an account.
func (c *Client) ChangeAccount(ctx context.Context, account string, change control.AccountChange) (control.Account, error) {
	return send[control.Account](ctx, c, http.MethodPatch, accountURL(account), change)
}

// RemoveAccount removes an account with everything in it.
func (c *Client) RemoveAccount(ctx context.Context, account string, deleteKey bool) error {
	query := url.Values{"delete_key": {strconv.FormatBool(deleteKey)}}
	return c.remove(ctx, accountURL(account)+"?"+query.Encode())
}

// Check reads the whole store and says what is wrong with it.
func (c *Client) Check(ctx context.Context) (control.Health, error) {
	return post[control.Health](ctx, c, "/v1/check", struct{}{})
}

// Backup writes a backup of the node, unencrypted, and returns what is not in it,
// one phrase each. What was written is incomplete when it returns an error.
func (c *Client) Backup(ctx context.Context, w io.Writer, request control.BackupRequest) (left []string, err error) {
	resp, err := c.do(ctx, http.MethodPost, fmt.Sprintf("/v1/backup?without_hosted=%t", request.WithoutHosted), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	raw, err := url.QueryUnescape(resp.Trailer.Get(control.LeftTrailer))
	if err == nil && raw != "" { // an older node says nothing
		err = json.Unmarshal([]byte(raw), &left)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the backup lacks: %w", err)
	}
	return left, nil
}
