// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
)

// errCut is what a client sees of a connection that the homeserver breaks.
var errCut = errors.New("connection reset by the fake homeserver")

// RoundTrip implements [http.RoundTripper] for a homeserver in memory. A request ends
// with its context, also while the homeserver hangs.
func (h *Homeserver) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(req.Body, maxBody)); err != nil { //nolint:forbidigo // it is limited
			return nil, fmt.Errorf("read the request: %w", err)
		}
		_ = req.Body.Close()
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	served := req.Clone(req.Context())
	served.Body, served.RequestURI = io.NopCloser(bytes.NewReader(body)), req.URL.RequestURI()
	answer := httptest.NewRecorder()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil { // http.ErrAbortHandler
				done <- errCut
			}
		}()
		h.handler.ServeHTTP(answer, served)
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		resp := answer.Result()
		resp.Request = req
		return resp, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

var _ http.RoundTripper = (*Homeserver)(nil)
