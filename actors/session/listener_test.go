// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/strangerlog"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// panickyConn is a connection on which the first call panics.
type panickyConn struct {
	overlay.Conn
	aborted chan struct{}
}

func (*panickyConn) RemoteKey() identity.NodeKey { return identity.NodeKey{7} }
func (*panickyConn) SetDeadline(time.Time) error { panic("hostile input") }
func (c *panickyConn) Abort() error              { close(c.aborted); return nil }

// fewConns is a listener that accepts what is in it, and then waits for its context.
type fewConns chan overlay.Conn

func (f fewConns) Accept(ctx context.Context) (overlay.Conn, error) {
	select {
	case conn := <-f:
		return conn, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (fewConns) Close() error { return nil }

func (fewConns) Port() uint16 { return 0 }

func TestListener_PanicInAHandshake_EndsThatStreamOnly(t *testing.T) {
	log := strangerlog.New(slog.New(slog.DiscardHandler))
	l := &listener{deps: &Deps{
		Strangers: log, Log: slog.New(slog.DiscardHandler), Table: NewTable(1, log), Pairs: func(identity.NodeKey) int { return 0 },
	}, pendingStreams: newPendingStreams(), limiter: newHandshakeLimiter()}
	port := make(fewConns, 2)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.accept(ctx, kernel.Inbox{}, port, Gen3) }()
	for range 2 {
		conn := &panickyConn{aborted: make(chan struct{})}
		port <- conn
		<-conn.aborted
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("accept ended with %v", err)
	}
}
