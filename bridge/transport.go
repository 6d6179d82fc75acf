// SPDX-License-Identifier: MPL-2.0

package bridge

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
	"time"

	"go.mau.fi/util/retryafter"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/store"
)

const (
	// answerTimeout is how long the homeserver may take until it begins to answer a
	// request, and requestTimeout until it has answered. A homeserver that hangs is
	// noticed after the first.
	answerTimeout  = 30 * time.Second
	requestTimeout = time.Minute
	// slowTimeout is both for requests that may wait on purpose, and for media.
	slowTimeout = 3 * time.Minute
)

// transport is what all requests to the homeserver go through. It gives the
// events of a [sendScope] transaction ids of our own, repeats requests that
// nobody else repeats, watches how the homeserver does, lets what was written to
// it finish, and ends all requests when the bridge ends: the library starts some in
// goroutines that nobody stops.
type transport struct {
	*roundTrips
	normal, slow http.RoundTripper
	patient      http.RoundTripper // for what creates a room
	retries      int
	pause        time.Duration // before a request is repeated; it doubles five times
	homeserver   *health
	spoke        func(begun time.Time) // the homeserver took an event that it has to send back
	// mustEncrypt reports whether nothing may be sent into a room as it is.
	mustEncrypt func(ctx context.Context, room id.RoomID) (bool, error)
	// made returns a room that was created before for the same, see createroom.go.
	made     func(ctx context.Context, key networkid.PortalKey) (id.RoomID, error)
	users    *reregister
	refused  func(req *http.Request, status int) // is told of refused requests
	creating chan struct{}                       // a place for each room that is being created
	end      context.CancelFunc                  // of the life of all round trips
}

// newTransport wraps what the library would use; nil means the standard one. All
// requests end when last is over after ctx has ended, if close did not end them.
func newTransport(
	ctx context.Context, last time.Duration, base http.RoundTripper, homeserver *health, spoke func(begun time.Time),
) *transport {
	t := &transport{
		normal: base, slow: base, patient: base, homeserver: homeserver, spoke: spoke,
		creating: make(chan struct{}, roomsAtOnce),
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(ctx, func() { time.AfterFunc(last, end) })
	t.roundTrips, t.end = newRoundTrips(life), func() { unlink(); end() }
	if base == nil { // otherwise it is one that dials a unix socket
		t.normal, t.slow = newHTTPTransport(answerTimeout), newHTTPTransport(slowTimeout)
		t.patient = newHTTPTransport(roomTimeout)
	}
	return t
}

func newHTTPTransport(timeout time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = timeout
	t.MaxIdleConnsPerHost = 2 * deliveriesAtOnce
	return t
}

// close lets all requests finish, for as long as they may, and makes none any more.
func (t *transport) close() {
	t.roundTrips.close()
	t.end()
	for _, next := range []http.RoundTripper{t.normal, t.slow, t.patient} {
		if closer, ok := next.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.keepSecret(req); err != nil {
		return nil, err
	}
	if scope := scopeOf(req.Context()); scope != nil {
		req = scope.rewrite(req)
	}
	for try := 0; ; try++ {
		begun := time.Now()
		resp, err := t.once(req)
		t.note(req, resp, err, begun)
		if err == nil && t.refused != nil {
			t.refused(req, resp.StatusCode)
		}
		if resp != nil && resp.StatusCode >= http.StatusBadRequest {
			boundAnswer(resp)
		}
		if scope := scopeOf(req.Context()); scope != nil {
			scope.failed(req, resp, err)
		}
		if err != nil && req.Context().Err() != nil && isPing(req) {
			return unheard(req), nil
		}
		if isMessage(req) && err == nil {
			crashpoint.At(crashpoint.AfterRoom) // before the row is made
			if err = scopeOf(req.Context()).answered(resp); err != nil {
				_ = resp.Body.Close()
				resp = nil
			}
		}
		pause := t.pause << min(try, 5)
		if err == nil && t.unknownUser(req, resp) && mayRepeat(req) {
			pause = 0
		} else if try >= t.retriesOf(req) || !worthRepeating(resp, err, &pause) {
			return resp, err
		}
		body := req.Body
		if req.GetBody != nil {
			if body, err = req.GetBody(); err != nil {
				return resp, err
			}
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		req = req.Clone(req.Context())
		req.Body = body
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, req.Context().Err()
		case <-t.closed:
			timer.Stop()
			return nil, errEnded
		}
	}
}

// isPing reports whether a request asks the homeserver to reach us.
func isPing(req *http.Request) bool {
	return strings.Contains(req.URL.Path, "/appservice/") && strings.HasSuffix(req.URL.Path, "/ping")
}

// unheard is what the library gets for a ping that it has no use for any more. At an
// error it sleeps for 5 s, six times, even when it is to stop (mautrix v0.30.0).
func unheard(req *http.Request) *http.Response {
	return answerOK(req, struct{}{})
}

var errPlaintext = errors.New("the room is encrypted and the message is not, so it is not sent")

// keepSecret refuses to send a message as it is into a room that is encrypted,
// whoever forgot to encrypt it. It is the last gate: every request passes it.
func (t *transport) keepSecret(req *http.Request) error {
	if req.Method != http.MethodPut || t.mustEncrypt == nil {
		return nil
	}
	_, path, _ := strings.Cut(req.URL.Path, "/rooms/")
	room, rest, _ := strings.Cut(path, "/send/")
	kind, _, _ := strings.Cut(rest, "/")
	if kind != event.EventMessage.Type && kind != event.EventSticker.Type {
		return nil
	}
	encrypted, err := t.mustEncrypt(req.Context(), id.RoomID(room))
	if err != nil {
		return fmt.Errorf("look whether the room is encrypted: %w", err)
	}
	if encrypted {
		return errPlaintext
	}
	return nil
}

// retriesOf is how often a request is repeated here: what belongs to an entry of
// the event log is not, and what the library was told not to repeat. Whoever wants a
// room asks again later.
func (t *transport) retriesOf(req *http.Request) int {
	if isCreateRoom(req) {
		return 0
	}
	if attempts, ok := req.Context().Value(mautrix.MaxAttemptsContextKey).(int); ok && attempts > 0 {
		return attempts - 1
	}
	if !mayRepeat(req) {
		return 0
	}
	return t.retries
}

// mayRepeat reports whether the body of a request can be sent again.
func mayRepeat(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// worthRepeating reports whether a request may do better next time. It makes the
// pause as long as the homeserver wants.
func worthRepeating(resp *http.Response, err error, pause *time.Duration) bool {
	if err != nil {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		*pause = max(*pause, min(retryafter.Parse(resp.Header.Get("Retry-After"), 0), maxRetryAfter))
		return true
	default:
		return false
	}
}

var errEnded = errors.New("the bridge has ended")

// once makes one attempt, with its time limit.
func (t *transport) once(req *http.Request) (*http.Response, error) {
	if isCreateRoom(req) {
		return t.createRoom(req)
	}
	if !isPoll(req) && !strings.Contains(req.URL.Path, "/media/") {
		return t.do(req, t.normal, requestTimeout)
	}
	resp, err := t.do(req, t.slow, slowTimeout)
	if err != nil {
		return nil, err
	}
	if err := limitDownload(req, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// note learns from a request how the homeserver does. A homeserver that answers
// nothing but /versions and /whoami is not well.
func (t *transport) note(req *http.Request, resp *http.Response, err error, begun time.Time) {
	switch {
	case err != nil && (req.Context().Err() != nil || isClosed(t.closed) || errors.Is(err, errOverLimit)):
	case err != nil:
		t.homeserver.down(fmt.Errorf("the homeserver does not answer: %w", err))
	case resp.StatusCode >= http.StatusInternalServerError:
		t.homeserver.down(fmt.Errorf("the homeserver answers %s", resp.Status))
	case resp.StatusCode == http.StatusTooManyRequests:
	case strings.HasSuffix(req.URL.Path, "/versions"), strings.HasSuffix(req.URL.Path, "/whoami"):
	default:
		t.homeserver.up()
		if resp.StatusCode == http.StatusOK && req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/send/") {
			t.spoke(begun)
		}
	}
}

// sendScope marks the requests that one entry of the event log causes. The events
// sent in it get transaction ids that depend only on that entry, on the event's
// type, and on how many of its type came before. So when the entry is handled
// again, a homeserver that remembers makes no second event of it.
type sendScope struct {
	seed string

	mu    sync.Mutex
	ids   map[string]string // the library's transaction id to ours; HTTP retries keep theirs
	count map[string]int    // by event type
	sent  id.EventID        // the last message that the homeserver took
	err   error             // of what the library does not report
	last  error             // the last failure of a request
}

func newSendScope(ev store.Event, part int) *sendScope {
	return newNamedScope(fmt.Sprintf("%s/%s/%d/%s/%s/%d", ev.Account, ev.Conversation, ev.Seq, ev.Kind, ev.Message, part))
}

// newNamedScope returns the scope of what belongs to no entry. Its name takes the
// place of one, and must not be used for anything else.
func newNamedScope(name string) *sendScope {
	return &sendScope{seed: name, ids: make(map[string]string), count: make(map[string]int)}
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

// maxAnswer bounds what is read of an answer that is an error: a proxy may answer
// with anything, and what is read becomes part of an error that is kept for long.
const maxAnswer = 16 << 10

// boundAnswer cuts the answer to a failed request.
func boundAnswer(resp *http.Response) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) //nolint:forbidigo // it is limited
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
}

// failed notes the failure of a request.
func (s *sendScope) failed(req *http.Request, resp *http.Response, err error) {
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

// lastFailure returns the last failure of a request, nil when there was none.
func (s *sendScope) lastFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// maxSent bounds the homeserver's answer to a message.
const maxSent = 64 << 10

// answered notes which event a message became, and leaves the answer to be read.
func (s *sendScope) answered(resp *http.Response) error {
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
		return nil // the library says so, too
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = answer.EventID
	return nil
}

// shown returns the last message that the homeserver took; none when there was none.
func (s *sendScope) shown() id.EventID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
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

// isMessage reports whether a request puts a message of the event log into a room.
func isMessage(req *http.Request) bool {
	return scopeOf(req.Context()) != nil && (strings.Contains(req.URL.Path, "/send/"+event.EventMessage.Type+"/") ||
		strings.Contains(req.URL.Path, "/send/"+event.EventEncrypted.Type+"/"))
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
