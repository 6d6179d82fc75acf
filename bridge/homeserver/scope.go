// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

// Scope marks the requests that one entry of the event log causes. The events that are
// sent in it get transaction ids that depend only on that entry, on the event's type, and
// on how many of its type came before. So when the entry is shown again, a homeserver
// that remembers transactions creates no second event. It exists because bridgev2 draws a
// random transaction id for each attempt.
type Scope struct {
	seed string

	mu    sync.Mutex
	ids   map[string]string // the library's transaction id to ours; HTTP retries keep theirs
	count map[string]int    // by event type
	sent  id.EventID        // the last message that the homeserver accepted
	err   error             // what the library does not report
	last  error             // the last failure of a request
}

// NewScope returns the scope of a part of an entry.
func NewScope(ev store.Event, part int) *Scope {
	return NewNamedScope(fmt.Sprintf("%s/%s/%d/%s/%s/%d", ev.Account, ev.Conversation, ev.Seq, ev.Kind, ev.Message, part))
}

// NewNamedScope returns the scope of something that is not an entry. Its name takes the
// place of the entry, and must be unique.
func NewNamedScope(name string) *Scope {
	return &Scope{seed: name, ids: make(map[string]string), count: make(map[string]int)}
}

type scopeKey struct{}

// With returns a context for what the entry causes. It has the values of library, the
// context of bridgev2, ends also with work, and allows one attempt for each request: the
// deliverer retries the entry.
func (s *Scope) With(library, work context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithValue(library, scopeKey{}, s))
	stop := context.AfterFunc(work, cancel)
	return mautrix.WithMaxRetries(ctx, 0), func() { stop(); cancel() }
}

// ScopeOf returns the scope that a request belongs to, nil for none.
func ScopeOf(ctx context.Context) *Scope {
	scope, _ := ctx.Value(scopeKey{}).(*Scope)
	return scope
}

// Fail notes an error that the library does not return.
func (s *Scope) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

// Err returns the errors that were noted with Fail.
func (s *Scope) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// failed notes the failure of a request.
func (s *Scope) failed(req *http.Request, resp *http.Response, err error) {
	failure := mautrix.HTTPError{Request: req, Response: resp, WrappedError: err, Message: "request failed"}
	if err == nil {
		if resp.StatusCode < http.StatusBadRequest {
			return
		}
		body, _ := io.ReadAll(resp.Body) //nolint:forbidigo // it is bounded
		resp.Body = io.NopCloser(bytes.NewReader(body))
		answer := &mautrix.RespError{StatusCode: resp.StatusCode}
		if json.Unmarshal(body, answer) == nil && answer.ErrCode != "" {
			failure.RespError = answer
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = failure
}

// LastError returns the last failure of a request, nil when there was none.
func (s *Scope) LastError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// maxSent bounds the homeserver's answer to a message, in bytes.
const maxSent = 64 << 10

// answered notes the event id of a message, and leaves the answer to be read.
func (s *Scope) answered(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSent)) //nolint:forbidigo // it is limited
	if err != nil {
		return fmt.Errorf("read the homeserver's answer: %w", err)
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var answer mautrix.RespSendEvent
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil // the library reports it, too
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = answer.EventID
	return nil
}

// Sent returns the last message that the homeserver accepted, "" for none.
func (s *Scope) Sent() id.EventID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// rewrite puts our transaction id into PUT .../rooms/{room}/send/{type}/{txn} and
// PUT .../rooms/{room}/redact/{event}/{txn}.
func (s *Scope) rewrite(req *http.Request) *http.Request {
	path := req.URL.EscapedPath()
	parts := strings.Split(path, "/")
	n := len(parts)
	if req.Method != http.MethodPut || n < 4 || (parts[n-3] != "send" && parts[n-3] != "redact") {
		return req
	}
	plain := strings.TrimSuffix(req.URL.Path, parts[n-1]) + s.transaction(parts[n-3]+"/"+parts[n-2], parts[n-1])
	out := req.Clone(req.Context())
	out.URL.Path = plain
	if out.URL.RawPath != "" {
		parts[n-1] = s.transaction(parts[n-3]+"/"+parts[n-2], parts[n-1])
		out.URL.RawPath = strings.Join(parts, "/")
	}
	return out
}

// transaction returns our transaction id in place of one of the library.
func (s *Scope) transaction(kind, original string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours, known := s.ids[original]
	if !known {
		sum := sha256.Sum256(fmt.Appendf(nil, "mimird/1/%s/%s/%d", s.seed, kind, s.count[kind]))
		ours = "mimird-" + hex.EncodeToString(sum[:16])
		s.count[kind]++
		s.ids[original] = ours
	}
	return ours
}
