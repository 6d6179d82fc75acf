// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"

	"github.com/mimird/mimird/actors/store"
)

const (
	// answerTimeout is how long the homeserver may take until it begins to answer a
	// request. A homeserver that hangs is noticed after this time.
	answerTimeout = 30 * time.Second
	// slowAnswerTimeout is the same for requests that may wait on purpose, and for
	// media.
	slowAnswerTimeout = 3 * time.Minute
)

// transport is what all requests to the homeserver go through. It gives the
// events of a [sendScope] transaction ids of our own, and watches how the
// homeserver does.
type transport struct {
	normal, slow http.RoundTripper
	homeserver   *health
}

// newTransport wraps what the library would use; nil means the standard one.
func newTransport(base http.RoundTripper, homeserver *health) *transport {
	if base != nil { // it knows how to dial a unix socket
		return &transport{normal: base, slow: base, homeserver: homeserver}
	}
	timed := func(timeout time.Duration) *http.Transport {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = timeout
		t.MaxIdleConnsPerHost = 2 * deliveriesAtOnce
		return t
	}
	return &transport{normal: timed(answerTimeout), slow: timed(slowAnswerTimeout), homeserver: homeserver}
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if scope := scopeOf(req.Context()); scope != nil {
		req = scope.rewrite(req)
	}
	next := t.normal
	if strings.HasSuffix(req.URL.Path, "/sync") || strings.Contains(req.URL.Path, "/media/") {
		next = t.slow
	}
	resp, err := next.RoundTrip(req)
	t.note(req, resp, err)
	return resp, err
}

// CloseIdleConnections is called by http.Client's method of that name.
func (t *transport) CloseIdleConnections() {
	for _, next := range []http.RoundTripper{t.normal, t.slow} {
		if closer, ok := next.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}

// note learns from a request how the homeserver does. A homeserver that answers
// nothing but /versions and /whoami is not well.
func (t *transport) note(req *http.Request, resp *http.Response, err error) {
	switch {
	case err != nil && req.Context().Err() != nil:
	case err != nil:
		t.homeserver.down(fmt.Errorf("the homeserver does not answer: %w", err))
	case resp.StatusCode >= http.StatusInternalServerError:
		t.homeserver.down(fmt.Errorf("the homeserver answers %s", resp.Status))
	case resp.StatusCode == http.StatusTooManyRequests:
	case strings.HasSuffix(req.URL.Path, "/versions"), strings.HasSuffix(req.URL.Path, "/whoami"):
	default:
		t.homeserver.up()
	}
}

// sendScope marks the requests that one entry of the event log causes. The events
// sent in it get transaction ids that depend only on that entry, on the event's
// type, and on the how-manieth of its type it is. So when the entry is handled
// again, a homeserver that remembers makes no second event of it.
type sendScope struct {
	seed string

	mu    sync.Mutex
	ids   map[string]string // the library's transaction id to ours; HTTP retries keep theirs
	count map[string]int    // by event type
	err   error             // of what the library does not report
}

func newSendScope(ev store.Event, part int) *sendScope {
	return &sendScope{
		seed:  fmt.Sprintf("%s/%s/%d/%s/%s/%d", ev.Account, ev.Conversation, ev.Seq, ev.Kind, ev.Message, part),
		ids:   make(map[string]string),
		count: make(map[string]int),
	}
}

type scopeKey struct{}

// with returns a context for what the entry causes. It has the values of library,
// which is bridgev2's own, ends also with work, and allows one attempt: whoever
// handles the entry tries again.
func (s *sendScope) with(library, work context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithValue(library, scopeKey{}, s))
	stop := context.AfterFunc(work, cancel)
	return mautrix.WithMaxRetries(ctx, 0), func() { stop(); cancel() }
}

func scopeOf(ctx context.Context) *sendScope {
	scope, _ := ctx.Value(scopeKey{}).(*sendScope)
	return scope
}

// fail notes an error that has no other way out of the library.
func (s *sendScope) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

func (s *sendScope) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// rewrite puts our transaction id into PUT .../rooms/{room}/send/{type}/{txn} and
// PUT .../rooms/{room}/redact/{event}/{txn}.
func (s *sendScope) rewrite(req *http.Request) *http.Request {
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

// transaction returns our id for a transaction id of the library.
func (s *sendScope) transaction(kind, original string) string {
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
