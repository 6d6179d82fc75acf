// SPDX-License-Identifier: MPL-2.0

package httpserve_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/httpserve"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener whose connections are in memory, so that time is virtual.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// get sends a request; the channel has its error when the response has been read, nil for none.
func (p *pipes) get(path string) <-chan error {
	client, server := net.Pipe()
	p.conns <- server
	answered := make(chan error, 1)
	go func() {
		defer func() { _ = client.Close() }() // the error of the request counts
		request, err := http.NewRequest(http.MethodGet, "http://node"+path, http.NoBody)
		if err == nil {
			err = request.Write(client)
		}
		if err == nil {
			var response *http.Response
			if response, err = http.ReadResponse(bufio.NewReader(client), request); err == nil {
				err = response.Body.Close()
			}
		}
		answered <- err
	}()
	return answered
}

// At the end of its context the server finishes the request that ends soon, and closes the
// connection of the one that does not.
func TestRun_ContextEnds_DrainsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/soon" {
				virtual.Sleep(500 * time.Millisecond)
				return
			}
			<-end
		})
		listener := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- httpserve.Run(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, listener)
		}()
		soon, late := listener.get("/soon"), listener.get("/late")
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := <-soon; err != nil {
			t.Errorf("request that ends in time: %v", err)
		}
		if err := <-late; err == nil {
			t.Error("request that does not end was answered")
		}
		close(end)
	})
}

func TestRun_ListenerFails_ReturnsItsError(t *testing.T) {
	listener := newPipes()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err := httpserve.Run(t.Context(), &http.Server{ReadHeaderTimeout: time.Minute}, listener)
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("run: %v", err)
	}
}
