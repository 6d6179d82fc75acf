// SPDX-License-Identifier: MPL-2.0

package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	maxSignature = 4 << 10
	maxHeader    = 64 << 10
	maxRedirects = 5

	// DefaultTimeout bounds a whole check.
	DefaultTimeout = 30 * time.Second
)

// newClient returns the HTTP client of one check. It takes few redirects, none from https to
// http, does not decompress, and tells the server nothing of this node.
func newClient() (client *http.Client, done func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone() // net/http says that it is one
	transport.DisableCompression = true
	transport.MaxResponseHeaderBytes = maxHeader
	client = &http.Client{
		Transport: transport,
		CheckRedirect: func(next *http.Request, past []*http.Request) error {
			if len(past) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if past[len(past)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
				return errors.New("a redirect from https to " + next.URL.Scheme)
			}
			return nil
		},
	}
	return client, transport.CloseIdleConnections
}

// fetch gets one file of at most limit bytes.
func fetch(ctx context.Context, client *http.Client, url string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", Product)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: the server answers %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1)) //nolint:forbidigo // through a limit
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("get %s: more than %d bytes", url, limit)
	}
	return body, nil
}
