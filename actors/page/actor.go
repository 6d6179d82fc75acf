// SPDX-License-Identifier: MPL-2.0

package page

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/httpserve"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/strangerlog"
)

const (
	// Name is the name of the part.
	Name = "page"
	// headerTime is how long a browser may take to send the head of a request.
	headerTime = 10 * time.Second
	// idleTime ends a connection without requests.
	idleTime = 2 * time.Minute
	// maxHeader bounds the head of a request, maxConnections the connections.
	maxHeader      = 16 << 10
	maxConnections = 256
)

// Options configures the page.
type Options struct {
	// Listen is host:port.
	Listen string
	// AnyPort takes another port of the same host when that one is in use.
	AnyPort bool
	// URL is the address under which browsers reach the page when that is not the listener's
	// own, such as that of a proxy: scheme and host, "" for none.
	URL string
	// Access says who may come in.
	Access *Access
	// Client returns what the page asks the node through. The page closes it.
	Client func() *client.Client
	// Backup begins a backup to the target of the configuration, and reports whether none was
	// under way; nil when the configuration names no target.
	Backup func(context.Context) (begun bool, err error)
}

// New returns the page as a part of a node; see node.Part.
func New(opts Options) func(*node.Node) kernel.Actor {
	return func(*node.Node) kernel.Actor { return &pageActor{opts: opts} }
}

// pageActor owns the listener and its HTTP server.
type pageActor struct{ opts Options }

// Started implements kernel.Starter.
func (a *pageActor) Started(c *kernel.Context) error {
	listener, err := a.listen(c.Lifetime())
	if err != nil {
		return fmt.Errorf("listen for browsers (page.listen): %w", err)
	}
	address := a.opts.URL
	if address == "" {
		address = "http://" + listener.Addr().String()
	}
	api := a.opts.Client()
	handler, err := newServer(api, a.opts, address, strangerlog.New(c.Log()))
	if err != nil {
		api.Close()
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return c.Lifetime() },
	}
	a.opts.Access.serve(address)
	c.Log().Info("page served", "uri", address)
	c.Go("serve", func(ctx context.Context) error {
		defer api.Close()
		defer a.opts.Access.serve("")
		return httpserve.Run(ctx, server, netutil.LimitListener(listener, maxConnections))
	})
	return nil
}

func (a *pageActor) listen(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.opts.Listen)
	if !a.opts.AnyPort || !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	host, _, err := net.SplitHostPort(a.opts.Listen)
	if err != nil {
		return nil, err
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
}

// Receive implements kernel.Actor.
func (a *pageActor) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.Fail(fmt.Errorf("serve the page: %w", done.Err))
	}
}
