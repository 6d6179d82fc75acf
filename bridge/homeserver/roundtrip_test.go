// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowServer answers when its time is over, unless the request is cut off before.
type slowServer struct {
	reads, thinks time.Duration // until the request is written, and from then on

	// Read when all is over.
	begun, ended time.Time
	cut          bool
}

func (s *slowServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.begun = time.Now()
	defer func() { s.ended = time.Now() }()
	for _, step := range []struct {
		takes time.Duration
		then  func()
	}{
		{s.reads, func() {
			httptrace.ContextClientTrace(req.Context()).WroteRequest(httptrace.WroteRequestInfo{})
		}},
		{s.thinks, func() {}},
	} {
		select {
		case <-time.After(step.takes):
			step.then()
		case <-req.Context().Done():
			s.cut = true
			return nil, req.Context().Err()
		}
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// What was written to the homeserver goes on though nobody waits for it.
func TestRequestFinishesThoughItsCallerLeaves(t *testing.T) {
	const (
		send = "/_matrix/client/v3/rooms/r/send/m.room.message/1"
		sync = "/_matrix/client/v3/sync"
	)
	for name, c := range map[string]struct {
		path          string
		reads, thinks int // of the server
		leaves        int // when the caller leaves
		stops, closes int // when the bridge is to end, and does; 0 is never
		left, ended   int // when the caller is gone, and the request
		cut           bool
	}{
		"the caller stays":           {send, 0, 9, 99, 0, 0, 9, 9, false},
		"the caller leaves":          {send, 1, 3, 2, 0, 0, 2, 4, false},
		"the homeserver hangs":       {send, 0, 99, 2, 0, 0, 2, 7, true},
		"the request is not written": {send, 9, 1, 2, 0, 0, 2, 2, true},
		"the bridge ends":            {send, 0, 3, 99, 0, 2, 2, 3, false},
		"the bridge is to end":       {send, 0, 99, 99, 1, 3, 3, 5, true},
		"it only looks for news":     {sync, 0, 30, 2, 0, 0, 2, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				server := &slowServer{reads: seconds(c.reads), thinks: seconds(c.thinks)}
				transport := NewTransport(ctx, Deps{Base: server, Linger: linger, Homeserver: new(Monitor), Sent: func(time.Time) {}})
				if c.closes > 0 {
					time.AfterFunc(seconds(c.closes), transport.Close)
				}
				if c.stops > 0 {
					time.AfterFunc(seconds(c.stops), stop)
				}
				caller, leave := context.WithTimeout(t.Context(), seconds(c.leaves))
				defer leave()
				req, err := http.NewRequestWithContext(caller, http.MethodPut, "http://homeserver"+c.path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				resp, err := transport.RoundTrip(req)
				if left := time.Since(begun); left != seconds(c.left) {
					t.Errorf("the caller was there for %s", left)
				}
				if err == nil {
					_ = resp.Body.Close()
				} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errEnded) {
					t.Error(err)
				}
				transport.Close() // waits
				if took := server.ended.Sub(server.begun).Truncate(time.Second); took != seconds(c.ended) || server.cut != c.cut {
					t.Errorf("the request took %s, cut off: %v", took, server.cut)
				}
				if transport.begin() {
					t.Error("a request can begin after the end")
				}
			})
		})
	}
}

// The library would sleep after an error.
func TestPingIsNoErrorForABridgeThatStops(t *testing.T) {
	for name, leaves := range map[string]time.Duration{"while it is under way": time.Second / 2, "before it begins": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := NewTransport(t.Context(), Deps{
					Base: &slowServer{thinks: time.Second}, Linger: linger, Homeserver: new(Monitor), Sent: func(time.Time) {},
				})
				defer transport.Close()
				ctx, cancel := context.WithTimeout(t.Context(), leaves)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://homeserver/_matrix/client/v1/appservice/mimir/ping", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %d", resp.StatusCode)
				}
				_ = resp.Body.Close()
			})
		})
	}
}

// linger is how long requests of these tests may go on.
const linger = 4 * time.Second

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
