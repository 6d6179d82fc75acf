// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

type downloadLimitKey struct{}

// WithDownloadLimit returns a context in which downloads of media that are larger than
// a limit, in bytes, fail with errOverLimit.
func WithDownloadLimit(ctx context.Context, limit int64) context.Context {
	return context.WithValue(ctx, downloadLimitKey{}, limit)
}

// ErrOverLimit means that a file is larger than its download limit.
var ErrOverLimit = errors.New("the file is too large")

// limitDownload makes the reading of an answer fail that is larger than its request
// allows, so that no file fills the disk before it is refused.
func limitDownload(req *http.Request, resp *http.Response) error {
	limit, limited := req.Context().Value(downloadLimitKey{}).(int64)
	if !limited || resp.StatusCode != http.StatusOK || !strings.Contains(req.URL.Path, "/media/") {
		return nil
	}
	if resp.ContentLength > limit {
		return ErrOverLimit
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: limit}
	return nil
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrOverLimit
	}
	return n, err
}
