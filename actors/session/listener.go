// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// handshakeTime is the time limit of each half of a handshake, as in the apps.
const handshakeTime = 15 * time.Second

// listener accepts streams on the ports of peers. In goroutines it reads the role byte
// and, of control streams, runs the first half of the handshake. Before that a stream has
// no actor, and nothing of it is stored.
type listener struct {
	deps           *Deps
	ports          []overlay.Listener // one for each carrier
	pendingStreams *pendingStreams
	limiter        *handshakeLimiter
}

// NewListener returns the actor that accepts streams of peers. It tells its parent
// [Inbound], and has to get uplink.Opened when there is a new network.
func NewListener(d *Deps) kernel.Actor { return &listener{deps: d, limiter: newHandshakeLimiter()} }

func (l *listener) Started(c *kernel.Context) error {
	carriers := l.deps.carriers()
	if len(carriers) == 0 {
		return nil // begins with uplink.Opened
	}
	l.pendingStreams = newPendingStreams()
	inbox := c.Inbox()
	for _, via := range carriers {
		port, err := via.carrier.Listen(via.generation.port())
		if err != nil {
			return fmt.Errorf("listen on %s port %d: %w", via.generation.Kind(), via.generation.port(), err)
		}
		l.ports = append(l.ports, port)
		c.Go("accept_"+string(via.generation.Kind()), func(ctx context.Context) error {
			return l.accept(ctx, inbox, port, via.generation)
		})
	}
	return nil
}

func (l *listener) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case uplink.Opened:
		l.onOverlayOpened(c)
	case Inbound:
		c.Tell(c.Parent(), msg)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("accept streams: %w", msg.Err))
	}
}

func (l *listener) Stopping(*kernel.Context) {
	for _, port := range l.ports {
		_ = port.Close()
	}
}

func (l *listener) onOverlayOpened(c *kernel.Context) {
	if len(l.ports) > 0 {
		return // the old ports are closing; their error restarts the actor
	}
	if err := l.Started(c); err != nil {
		c.Fail(err)
	}
}

// accept accepts streams until the port is closed or the incarnation ends, and returns
// when the goroutines that it has started have ended.
func (l *listener) accept(ctx context.Context, inbox kernel.Inbox, port overlay.Listener, g Generation) error {
	var greeters sync.WaitGroup
	defer greeters.Wait()
	ctx, over := context.WithCancel(ctx)
	defer over()
	defer l.pendingStreams.abortAll()
	for {
		conn, err := port.Accept(ctx)
		if err != nil {
			return err
		}
		e := l.pendingStreams.enter(conn, l.deps.Pairs(conn.RemoteKey()))
		data := l.deps.Table.sessions.Opened(conn.RemoteKey())
		greeters.Go(func() {
			s := newStream(conn, g)
			err := l.deps.Strangers.Protect("handshake", func() error { return l.greet(inbox, s) })
			l.pendingStreams.leave(e)
			if errors.Is(err, errDataStream) {
				if err = l.deps.Strangers.Protect("data stream", func() error { assign(ctx, data, s); return nil }); err == nil {
					return
				}
			}
			if err != nil {
				_ = conn.Abort() // the protocol has no error for the peer
				l.logPending(conn.RemoteKey(), err)
			}
			data.Forget()
		})
	}
}

// assign moves a data stream to its session, or resets it.
func assign(ctx context.Context, data *attribution.Incoming, s *stream) {
	if session, found := data.Owner(ctx, s); found {
		session.Tell(dataStream{newHandoff(s, nil)})
	}
}

// errDataStream is returned by greet for a data stream, which belongs to a session.
var errDataStream = errors.New("a data stream")

// greet reads the role byte of a new stream and runs the first half of the handshake.
func (l *listener) greet(inbox kernel.Inbox, s *stream) error {
	if err := s.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	if s.generation.hasRoles() {
		role, err := peer.ReadRole(s.reader)
		if err != nil {
			return err
		}
		if role == peer.RoleData {
			return errDataStream
		}
	}
	if !l.limiter.begin(s.RemoteKey(), time.Now()) {
		return errTooManyHandshakes
	}
	security, points := l.deps.secure(s), &pointGuard{deps: l.deps, node: s.RemoteKey()}
	security.Guard = identity.GuardSet{security.Guard, points}
	hs := peer.NewAcceptor(peer.AcceptorConfig{Lookup: l.deps.Keys.Account, Security: security})
	points.hs = hs
	framed := s.generation.drive(hs)
	p, err := framed.Start()
	if err != nil {
		return err
	}
	if _, err := framed.Drive(s.reader, s, p); err != nil {
		return err
	}
	if !checkAddress(framed, s) {
		return wire.NewViolation(wire.CodeValue, "an address that is not behind the node it comes from")
	}
	if contact, err := l.deps.Store.Contact(hs.Local(), hs.Remote()); err == nil && contact.State == store.ContactAccepted {
		l.limiter.release(s.RemoteKey())
	}
	// The second half has a time limit of its own: the apps count both from the start, but
	// the time in which the contact actor decides is ours.
	if err := s.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	return tell(inbox, Inbound{Account: hs.Local(), Contact: hs.Remote(), Stream: newHandoff(s, framed)})
}

func tell(inbox kernel.Inbox, msg any) error {
	if !inbox.Tell(msg) {
		return kernel.ErrStopped
	}
	return nil
}

func (l *listener) logPending(node identity.NodeKey, err error) {
	switch {
	case wire.ViolationCode(err) != "":
		l.deps.Strangers.Warn("stream refused", "component", "listener", "node", node.Short(), "code", wire.ViolationCode(err), "err", err)
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, overlay.ErrReset),
		errors.Is(err, errTooManyHandshakes), errors.Is(err, kernel.ErrStopped):
		l.deps.Log.Debug("stream ended before it was authenticated", "component", "listener", "node", node.Short(), "err", err)
	default:
		l.deps.Strangers.Info("stream failed before it was authenticated", "component", "listener", "node", node.Short(), "err", err)
	}
}
