// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

const (
	// maxUnknown bounds the connections whose caller has not sent the homeserver's token,
	// and maxTrusted the others: a homeserver needs a few.
	maxUnknown = 16
	maxTrusted = 256
)

// connections bounds the connections to the listener. A caller without the token gets one
// of a few places, which the next caller takes away, so that strangers cannot shut the
// homeserver out. The zero value is ready for use, by many goroutines.
type connections struct {
	mu      sync.Mutex
	unknown []*countedConn // oldest first
	trusted int
}

// countedListener gives every connection a place.
type countedListener struct {
	net.Listener
	connections *connections
}

func (l *countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.enter(conn), nil
}

// countedConn is a connection with a place.
type countedConn struct {
	net.Conn
	connections *connections
	host        string
	trusted     bool // under connections.mu, as closed is
	closed      bool
}

// enter gives a connection a place among the unknown ones. When there is none, the
// host with the most of them loses its oldest.
func (p *connections) enter(conn net.Conn) *countedConn {
	c := &countedConn{Conn: conn, connections: p, host: hostOf(conn)}
	p.mu.Lock()
	p.unknown = append(p.unknown, c)
	var victim *countedConn
	if len(p.unknown) > maxUnknown {
		count := make(map[string]int)
		for _, other := range p.unknown {
			count[other.host]++
		}
		for _, other := range p.unknown {
			if victim == nil || count[other.host] > count[victim.host] {
				victim = other
			}
		}
	}
	p.mu.Unlock()
	if victim != nil {
		_ = victim.Close() // its reader gets an error
	}
	return c
}

func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return "" // a unix socket
	}
	return host
}

// Close closes the connection and frees its place.
func (c *countedConn) Close() error {
	c.connections.leave(c)
	return c.Conn.Close()
}

func (p *connections) leave(c *countedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.trusted {
		p.trusted--
		return
	}
	p.unknown = slices.DeleteFunc(p.unknown, func(other *countedConn) bool { return other == c })
}

type connectionKey struct{}

// withConnection puts its connection into the context of a request.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// trust frees the place of the connection of a request with the right token. The
// connection stays open for further requests, unless there are too many.
func (p *connections) trust(r *http.Request) {
	c, ok := r.Context().Value(connectionKey{}).(*countedConn)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.closed || c.trusted || p.trusted >= maxTrusted {
		return
	}
	c.trusted = true
	p.trusted++
	p.unknown = slices.DeleteFunc(p.unknown, func(other *countedConn) bool { return other == c })
}
