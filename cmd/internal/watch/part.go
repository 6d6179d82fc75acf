// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/httpserve"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
)

const (
	// requestTime bounds one request.
	requestTime = 10 * time.Second
	// maxHeader bounds what a stranger sends.
	maxHeader = 8 << 10
)

// Handlers are the paths that the control socket and the listener of the configuration
// serve.
func Handlers() map[string]func(control.Ask) http.Handler {
	return map[string]func(control.Ask) http.Handler{"/metrics": Handler, "/healthz": Alive, "/readyz": Ready}
}

// New returns, as a part of a node, a server for metrics and health at a TCP address. It
// asks the node over its control socket.
func New(address, socket string) func(*node.Node) kernel.Actor {
	return func(*node.Node) kernel.Actor { return &server{address: address, socket: socket} }
}

// server is the actor that owns the listener.
type server struct{ address, socket string }

// Started implements kernel.Starter.
func (s *server) Started(c *kernel.Context) error {
	listener, err := new(net.ListenConfig).Listen(c.Lifetime(), "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for metrics (metrics.listen): %w", err)
	}
	api := client.New(s.socket)
	mux := http.NewServeMux()
	for path, handler := range Handlers() {
		mux.Handle("GET "+path, handler(api))
	}
	server := &http.Server{
		Handler: http.MaxBytesHandler(mux, 0), ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return c.Lifetime() },
	}
	c.Log().Info("metrics served", "address", listener.Addr().String())
	c.Go("serve", func(ctx context.Context) error {
		defer api.Close()
		return httpserve.Run(ctx, server, listener)
	})
	return nil
}

// Receive implements kernel.Actor.
func (s *server) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.Fail(fmt.Errorf("serve metrics: %w", done.Err))
	}
}
