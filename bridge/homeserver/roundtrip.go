// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// finishTime is how long a request goes on after its caller has left. A homeserver
	// that loses its client in the middle of a write may undo it or not, and Dendrite with
	// SQLite may be unable to write from then on.
	finishTime = 5 * time.Second
	// pollFinishTime is finishTime of a long poll, which writes nothing.
	pollFinishTime = 250 * time.Millisecond
	// maxIgnored bounds what is read of an answer whose caller has left, in bytes.
	maxIgnored = 64 << 10
)

// roundTrips owns the requests that are under way, each in a goroutine of its own: the
// caller may leave at any time, and a request that was written by then goes on for a
// while.
type roundTrips struct {
	life   context.Context // ends all of them
	mu     sync.Mutex
	closed chan struct{} // callers have to leave
	count  sync.WaitGroup
}

func newRoundTrips(life context.Context) *roundTrips {
	return &roundTrips{life: life, closed: make(chan struct{})}
}

// close refuses new requests, makes callers leave, and waits for the requests.
func (r *roundTrips) close() {
	r.mu.Lock()
	if !isClosed(r.closed) {
		close(r.closed)
	}
	r.mu.Unlock()
	r.count.Wait()
}

// begin counts a round trip. It reports false when there can be none.
func (r *roundTrips) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil || isClosed(r.closed) {
		return false
	}
	r.count.Add(1)
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// outcome is the result of a round trip.
type outcome struct {
	resp *http.Response
	err  error
}

// do makes one round trip. It ends after the limit, the reading of the answer included;
// when life ends; and when its caller leaves before the request is written or after the
// answer has begun.
func (r *roundTrips) do(req *http.Request, next http.RoundTripper, limit time.Duration) (*http.Response, error) {
	if !r.begin() {
		return nil, errEnded
	}
	caller := req.Context()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), limit)
	unlink := context.AfterFunc(r.life, cancel)
	release := func() { unlink(); cancel() }

	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { written.Store(info.Err == nil) },
	})
	answered := make(chan outcome, 1)
	go func() {
		resp, err := next.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // the receiver closes it
		answered <- outcome{resp, err}
	}()

	var why error
	select {
	case got := <-answered:
		r.count.Done()
		if got.err != nil {
			release()
			return nil, got.err
		}
		stay := context.AfterFunc(caller, cancel)
		got.resp.Body = &releasingBody{ReadCloser: got.resp.Body, release: func() { stay(); release() }}
		return got.resp, nil
	case <-caller.Done():
		why = caller.Err()
	case <-r.closed:
		why = errEnded
	}
	// The caller leaves.
	leave := func() {
		defer r.count.Done()
		defer release()
		if got := <-answered; got.err == nil {
			_, _ = io.CopyN(io.Discard, got.resp.Body, maxIgnored) // or the connection cannot be reused
			_ = got.resp.Body.Close()
		}
	}
	if !written.Load() {
		cancel() // the reader of the body may be gone soon
		leave()
		return nil, why
	}
	grace := finishTime
	if isPoll(req) {
		grace = pollFinishTime
	}
	timer := time.AfterFunc(grace, cancel)
	go func() {
		leave()
		timer.Stop()
	}()
	return nil, why
}

// isPoll reports whether a request is a long poll.
func isPoll(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/sync") }

// releasingBody calls release when the answer of a round trip is closed.
type releasingBody struct {
	io.ReadCloser
	release func()
}

func (b *releasingBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}
