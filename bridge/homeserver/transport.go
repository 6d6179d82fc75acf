// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.mau.fi/util/retryafter"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/crashpoint"
)

const (
	// answerTimeout is how long the homeserver may take until it begins to answer a
	// request, and requestTimeout until it has answered. The first finds a homeserver that
	// hangs.
	answerTimeout  = 30 * time.Second
	requestTimeout = time.Minute
	// SlowTimeout is both for long polls and for media.
	SlowTimeout = 3 * time.Minute
	// maxIdleConns is how many connections are kept open for further requests: two for
	// each delivery that runs at the same time.
	maxIdleConns = 128
)

// Deps is what a [transport] uses.
type Deps struct {
	Log *slog.Logger
	// Base is used instead of the network, when set. Of the library it is a transport
	// that dials a unix socket.
	Base http.RoundTripper
	// Linger is how long requests may last after the end of the context that NewTransport
	// got.
	Linger time.Duration
	// Retries is how often a request is repeated that nobody else repeats, and Pause the
	// time before the first repetition; it doubles five times.
	Retries int
	Pause   time.Duration
	// Homeserver notes whether the homeserver answers.
	Homeserver *Monitor
	// Sent is called after the homeserver has accepted an event that it has to send back
	// to the bridge; begun is when the request began.
	Sent func(begun time.Time)
	// MustEncrypt reports whether a room is encrypted, so that no plaintext may be sent
	// into it.
	MustEncrypt func(ctx context.Context, room id.RoomID) (bool, error)
	// FindRoom returns a room that exists already for a conversation or a Matrix space,
	// "" when there is none. No second one is created for it.
	FindRoom func(ctx context.Context, key networkid.PortalKey) (id.RoomID, error)
	// RoomCreated is called with a new room before the library hears of it.
	RoomCreated func(room id.RoomID, key networkid.PortalKey)
	// IsOurs tells the bot and the ghosts from other users. When the homeserver does not
	// know one of them any more, the transport registers it and calls Registered.
	IsOurs     func(id.UserID) bool
	Registered func(ctx context.Context, user id.UserID)
	// Refused is called with the status of every answer.
	Refused func(req *http.Request, status int)
}

// Transport is the [http.RoundTripper] of all requests to the homeserver. It gives the
// events of a [Scope] transaction ids of our own, repeats requests that no caller repeats,
// notes whether the homeserver answers, lets a request that was written finish, and ends
// all requests when the bridge ends: the library makes some in goroutines that it does not
// stop.
type Transport struct {
	*roundTrips
	deps                Deps
	normal, slow, rooms http.RoundTripper // rooms is for requests that create one
	creating            chan struct{}     // a place for each room that is being created
	end                 context.CancelFunc
	registrations
}

// NewTransport returns the transport of one start of the bridge. All requests end at
// deps.Linger after the end of ctx, or with close.
func NewTransport(ctx context.Context, deps Deps) *Transport {
	t := &Transport{deps: deps, normal: deps.Base, slow: deps.Base, rooms: deps.Base, creating: make(chan struct{}, RoomsAtOnce)}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(ctx, func() { time.AfterFunc(deps.Linger, end) })
	t.roundTrips, t.end = newRoundTrips(life), func() { unlink(); end() }
	if deps.Base == nil {
		t.normal, t.slow = newHTTPTransport(answerTimeout), newHTTPTransport(SlowTimeout)
		t.rooms = newHTTPTransport(roomTimeout)
	}
	return t
}

func newHTTPTransport(timeout time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = timeout
	t.MaxIdleConnsPerHost = maxIdleConns
	return t
}

// Close refuses new requests and waits until the others have finished, or have reached
// their limits.
func (t *Transport) Close() {
	t.close()
	t.end()
	for _, next := range []http.RoundTripper{t.normal, t.slow, t.rooms} {
		if closer, ok := next.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.requireEncryption(req); err != nil {
		return nil, err
	}
	if scope := ScopeOf(req.Context()); scope != nil {
		req = scope.rewrite(req)
	}
	for try := 0; ; try++ {
		begun := time.Now()
		resp, err := t.once(req)
		t.note(req, resp, err, begun)
		if err == nil && t.deps.Refused != nil {
			t.deps.Refused(req, resp.StatusCode)
		}
		if resp != nil && resp.StatusCode >= http.StatusBadRequest {
			boundAnswer(resp)
		}
		if scope := ScopeOf(req.Context()); scope != nil {
			scope.failed(req, resp, err)
		}
		if err != nil && req.Context().Err() != nil && isPing(req) {
			return pingAnswer(req), nil
		}
		if isMessage(req) && err == nil {
			crashpoint.At(crashpoint.AfterRoom) // before the row is inserted
			if err = ScopeOf(req.Context()).answered(resp); err != nil {
				_ = resp.Body.Close()
				resp = nil
			}
		}
		pause := t.deps.Pause << min(try, 5)
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

// pingAnswer is what the library gets for a ping whose context has ended. After an error
// it would sleep for 5 s, six times, even when it is to stop (mautrix v0.30.0).
func pingAnswer(req *http.Request) *http.Response {
	return answerOK(req, struct{}{})
}

// ErrPlaintext is the error of a request that would send plaintext into an encrypted room.
var ErrPlaintext = errors.New("plaintext message for an encrypted room")

// requireEncryption refuses to send a message in plaintext into an encrypted room. Every
// request passes it, so that no bug elsewhere can send one.
func (t *Transport) requireEncryption(req *http.Request) error {
	if req.Method != http.MethodPut || t.deps.MustEncrypt == nil {
		return nil
	}
	_, path, _ := strings.Cut(req.URL.Path, "/rooms/")
	room, rest, _ := strings.Cut(path, "/send/")
	kind, _, _ := strings.Cut(rest, "/")
	if kind != event.EventMessage.Type && kind != event.EventSticker.Type {
		return nil
	}
	encrypted, err := t.deps.MustEncrypt(req.Context(), id.RoomID(room))
	if err != nil {
		return fmt.Errorf("read whether the room is encrypted: %w", err)
	}
	if encrypted {
		return ErrPlaintext
	}
	return nil
}

// retriesOf returns how often the transport repeats a request. It does not repeat what
// belongs to an entry of the event log, what the library was told not to repeat, and the
// creation of rooms: the deliverer retries those.
func (t *Transport) retriesOf(req *http.Request) int {
	if isCreateRoom(req) {
		return 0
	}
	if attempts, ok := req.Context().Value(mautrix.MaxAttemptsContextKey).(int); ok && attempts > 0 {
		return attempts - 1
	}
	if !mayRepeat(req) {
		return 0
	}
	return t.deps.Retries
}

// mayRepeat reports whether the body of a request can be sent again.
func mayRepeat(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// worthRepeating reports whether a request may succeed when it is repeated. It extends the
// pause to what the homeserver asks for.
func worthRepeating(resp *http.Response, err error, pause *time.Duration) bool {
	if err != nil {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		*pause = max(*pause, min(retryafter.Parse(resp.Header.Get("Retry-After"), 0), MaxRetryAfter))
		return true
	default:
		return false
	}
}

var errEnded = errors.New("the bridge has ended")

// once makes one attempt, with its time limit.
func (t *Transport) once(req *http.Request) (*http.Response, error) {
	if isCreateRoom(req) {
		return t.createRoom(req)
	}
	if !isPoll(req) && !strings.Contains(req.URL.Path, "/media/") {
		return t.do(req, t.normal, requestTimeout)
	}
	resp, err := t.do(req, t.slow, SlowTimeout)
	if err != nil {
		return nil, err
	}
	if err := limitDownload(req, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// Direct makes one request that is neither repeated nor counted.
func (t *Transport) Direct(req *http.Request) (*http.Response, error) {
	return t.do(req, t.normal, requestTimeout)
}

// note notes whether the homeserver answers. One that answers only /versions and /whoami
// does not count as up.
func (t *Transport) note(req *http.Request, resp *http.Response, err error, begun time.Time) {
	switch {
	case err != nil && (req.Context().Err() != nil || isClosed(t.closed) || errors.Is(err, ErrOverLimit)):
	case err != nil:
		t.deps.Homeserver.Down(fmt.Errorf("the homeserver does not answer: %w", err))
	case resp.StatusCode >= http.StatusInternalServerError:
		t.deps.Homeserver.Down(fmt.Errorf("the homeserver answers %s", resp.Status))
	case resp.StatusCode == http.StatusTooManyRequests:
	case strings.HasSuffix(req.URL.Path, "/versions"), strings.HasSuffix(req.URL.Path, "/whoami"):
	default:
		t.deps.Homeserver.Up()
		if resp.StatusCode == http.StatusOK && req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/send/") {
			t.deps.Sent(begun)
		}
	}
}

// maxAnswer bounds what is read of the answer to a failed request, in bytes: a proxy may
// answer with anything, and it becomes part of an error that is kept for long.
const maxAnswer = 16 << 10

// boundAnswer cuts the answer to a failed request.
func boundAnswer(resp *http.Response) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) //nolint:forbidigo // it is limited
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
}

// isMessage reports whether a request puts a message of the event log into a room.
func isMessage(req *http.Request) bool {
	return ScopeOf(req.Context()) != nil && (strings.Contains(req.URL.Path, "/send/"+event.EventMessage.Type+"/") ||
		strings.Contains(req.URL.Path, "/send/"+event.EventEncrypted.Type+"/"))
}
