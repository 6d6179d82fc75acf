// SPDX-License-Identifier: MPL-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/node"
)

// readTime is how long the server of a [Local] waits for a request that has begun.
const readTime = 30 * time.Second

// Local is a [Client] of a node in this process that is open and not started: what
// only reads works as with a running one, and what writes is refused with
// [node.ErrNotRunning]. The caller ends it with Close, before the node.
type Local struct {
	Client
	server *http.Server
	served sync.WaitGroup
}

// NewLocal serves a node to its own process, without a socket.
func NewLocal(n *node.Node, opts control.Options) *Local {
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	l := &Local{
		Client: Client{&http.Client{Transport: &http.Transport{DialContext: listener.dial}}},
		server: &http.Server{Handler: control.Handler(n, opts), ReadHeaderTimeout: readTime},
	}
	l.served.Go(func() { _ = l.server.Serve(listener) }) // always ErrServerClosed
	return l
}

// Close returns when nothing is served any more.
func (l *Local) Close() error {
	l.Client.Close()
	err := l.server.Close()
	l.served.Wait()
	if err != nil {
		return fmt.Errorf("close local control API: %w", err)
	}
	return nil
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

var errPipesClosed = errors.New("control API is closed")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, errPipesClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "memory"} }
