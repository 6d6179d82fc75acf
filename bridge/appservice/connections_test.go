// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// fakeConn is a connection from a host.
type fakeConn struct {
	net.Conn
	host   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.host), Port: 1} }
func (c *fakeConn) Close() error         { c.closed = true; return nil }

func requestOver(conn net.Conn) *http.Request {
	return new(http.Request).WithContext(withConnection(context.Background(), conn))
}

// Bar S18: callers without the token take no place from the homeserver.
func TestConnections_StrangersKeepNobodyOut(t *testing.T) {
	var p connections
	homeserver := &fakeConn{host: "10.0.0.1"}
	p.trust(requestOver(p.enter(homeserver)))
	fresh := &fakeConn{host: "10.0.0.1"}
	freshPlace := p.enter(fresh)
	var strangers []*fakeConn
	for range 10 * maxUnknown {
		stranger := &fakeConn{host: "10.6.6.6"}
		strangers = append(strangers, stranger)
		p.enter(stranger)
	}
	open := 0
	for _, stranger := range strangers {
		if !stranger.closed {
			open++
		}
	}
	if homeserver.closed || fresh.closed || open != maxUnknown-1 {
		t.Errorf("homeserver closed: %v and %v; %d strangers are open", homeserver.closed, fresh.closed, open)
	}
	if strangers[len(strangers)-1].closed || !strangers[0].closed {
		t.Error("not the oldest was closed")
	}
	p.trust(requestOver(freshPlace))
	if len(p.unknown) != maxUnknown-1 || p.trusted != 2 {
		t.Errorf("%d unknown, %d trusted", len(p.unknown), p.trusted)
	}
	_ = freshPlace.Close()
	_ = freshPlace.Close()
	if p.trusted != 1 {
		t.Errorf("%d trusted after a close", p.trusted)
	}
}

func TestConnections_TrustedOnesAreBounded(t *testing.T) {
	var p connections
	var conns []*countedConn
	for range maxTrusted + 5 {
		conn := p.enter(&fakeConn{host: "10.0.0.1"})
		conns = append(conns, conn)
		p.trust(requestOver(conn))
		p.trust(requestOver(conn))
	}
	if p.trusted != maxTrusted || len(p.unknown) != 5 {
		t.Errorf("%d trusted, %d unknown", p.trusted, len(p.unknown))
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	if p.trusted != 0 || len(p.unknown) != 0 {
		t.Errorf("%d trusted, %d unknown after all", p.trusted, len(p.unknown))
	}
	p.trust(new(http.Request)) // not over a connection of ours
}
