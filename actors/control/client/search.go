// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mimird/mimird/actors/control"
)

// Search finds messages, contacts and groups of an account, the latest message first. The
// page after this one is asked for with Found.Next as Search.Before.
func (c *Client) Search(ctx context.Context, account string, q control.Search) (control.Found, error) {
	query := url.Values{}
	for name, value := range map[string]string{"words": q.Words, "with": q.With, "from": q.From, "before": q.Before} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339))
		}
	}
	if q.Files {
		query.Set("files", "true")
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[control.Found](ctx, c, accountURL(account, "search")+"?"+query.Encode())
}

// RebuildSearch has the search index removed and built again, and does not wait for that.
func (c *Client) RebuildSearch(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/search/rebuild", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
