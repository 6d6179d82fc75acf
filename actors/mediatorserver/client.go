// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/connlimit"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// MaxConnectionsPerNode bounds the connections of one node, which has one for each of its
	// accounts.
	MaxConnectionsPerNode = 256
	// loginTime is how long a client may take to log in.
	loginTime = 30 * time.Second
	// idleTime is how long a client may send nothing. Reference: 300 s.
	idleTime = 300 * time.Second
	// progressTime is how long a client may take for the rest of a request, or for a write
	// of up to writeSize bytes.
	progressTime = time.Minute
	writeSize    = 64 << 10
	readBuffer   = 4 << 10
	// maxStrangerRequest is the largest payload that is read before the login.
	maxStrangerRequest = 1 << 10
	// maxSmallRequest needs no credit.
	maxSmallRequest = 16 << 10
	// maxRequests bounds the bytes of larger requests and answers under way, of all
	// connections together.
	maxRequests = 32 << 20
	maxAnswers  = 64 << 20
	// maxReads is how many answers that may be large are put together at a time.
	maxReads = 4
)

var (
	errReplaced = errors.New("the identity has logged in again from the same node")
	errSlow     = errors.New("the client is not reading")
	errRefused  = errors.New("the identity is refused")
	errBehind   = errors.New("the client lacks too many messages to be pushed them")
)

// server accepts connections, within its limits.
type server struct {
	deps  Deps
	opts  Options
	actor kernel.Ref
	inbox kernel.Inbox
	// shared counts the bytes of pushes that wait.
	shared *atomic.Int64
	// requests and answers bound the memory of what is large, reads the work.
	requests, answers *kernel.Credits
	reads             chan struct{}
	// sweep wakes who removes deleted groups.
	sweep   chan struct{}
	clients *connlimit.Limit
	writer  *sharedWriter
}

func newServer(deps Deps, opts Options, actor kernel.Ref, inbox kernel.Inbox, shared *atomic.Int64) *server {
	return &server{
		deps: deps, opts: opts, actor: actor, inbox: inbox, shared: shared,
		requests: kernel.NewCredits(1024, maxRequests), answers: kernel.NewCredits(1024, maxAnswers),
		reads: make(chan struct{}, maxReads), sweep: make(chan struct{}, 1), clients: connlimit.New(opts.MaxConnections, MaxConnectionsPerNode),
		writer: newSharedWriter(deps.Strangers),
	}
}

// serve accepts until the port is closed or the context ends, and then waits for the
// clients.
func (s *server) serve(ctx context.Context, port overlay.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := s.writer.start()
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	for {
		conn, err := port.Accept(ctx)
		if err != nil {
			return err
		}
		if !s.clients.Enter(conn.RemoteKey()) {
			_ = conn.Abort() // the protocol has no refusal
			s.deps.Strangers.Warn("connection to the mediator refused: too many", "component", "mediator", "node", conn.RemoteKey().Short())
			continue
		}
		clients.Go(func() {
			defer s.clients.Leave(conn.RemoteKey())
			s.run(ctx, conn)
		})
	}
}

// client is one connection. The fields of the first part are its goroutines', those of the
// second the actor's.
type client struct {
	server *server
	conn   overlay.Conn
	node   identity.NodeKey
	in     *bufio.Reader
	out    *outbox
	moved  time.Time // when the writer moved its deadline
	end    context.CancelCauseFunc
	user   identity.PublicKey // zero until logged in
	login  *account           // its limit is safe for concurrent use
	nonces []nonce
	until  time.Time // when a connection without a login ends

	account *account
	groups  map[mediator.ChatID]struct{}
	gone    bool
}

// nonce was asked for by a connection and is of use there alone.
type nonce struct {
	user  identity.PublicKey
	nonce [32]byte
}

// maxNonces is for how many identities a connection may ask for a nonce; the oldest is
// forgotten.
const maxNonces = 4

// run serves a connection until it ends.
func (s *server) run(ctx context.Context, conn overlay.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &client{
		server: s, conn: conn, node: conn.RemoteKey(), in: bufio.NewReaderSize(conn, readBuffer), end: cancel,
		until: time.Now().Add(loginTime),
	}
	c.out = newOutbox(s.shared, s.writer.ready(c))
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() }) // ends a blocked read and write
	defer stop()
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(s.deps.Strangers.Protect("mediator", func() error { return c.write(ctx) }))
	}()
	err := s.deps.Strangers.Protect("mediator", func() error { return c.serve(ctx) })
	if errors.Is(err, io.EOF) {
		c.flush(ctx)
	}
	cancel(err)
	c.out.close()
	<-written
	s.inbox.Tell(left{c})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errSlow) {
		s.deps.Strangers.Warn("connection to the mediator ended: pushes wait for too long", "component", "mediator", "node", c.node.Short())
		return
	}
	s.deps.Log.Debug("mediator client ended", "component", "mediator", "node", c.node.Short(), "err", err)
}

// flush writes the answers to a client that sends nothing more.
func (c *client) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, progressTime)
	defer cancel()
	_ = c.out.drained(ctx) // then they are lost with the connection
}

// push queues a push, and ends the connection when the queue is full. It does not block.
func (c *client) push(f *frame) {
	if !c.out.push(f) {
		c.end(errSlow)
	}
}

// serve reads requests and answers them, one after the other.
func (c *client) serve(ctx context.Context) error {
	if err := c.conn.SetReadDeadline(c.until); err != nil {
		return err
	}
	var opening [2]byte
	if _, err := io.ReadFull(c.in, opening[:]); err != nil {
		return err
	}
	if opening != mediator.Opening {
		return errors.New("not a client of a mediator")
	}
	for {
		if err := c.next(ctx); err != nil {
			return err
		}
	}
}

// next serves a request. An error ends the connection.
func (c *client) next(ctx context.Context) error {
	if err := c.conn.SetReadDeadline(c.deadline(idleTime)); err != nil {
		return err
	}
	if _, err := c.in.Peek(1); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(c.deadline(progressTime)); err != nil {
		return err
	}
	head, err := mediator.ReadHead(c.in)
	if err != nil {
		return err
	}
	if tooLarge := c.tooLarge(head); tooLarge != "" {
		if err := head.Skip(c.in); err != nil {
			return err
		}
		return c.out.answer(ctx, mediator.AppendError(nil, head.ID, tooLarge))
	}
	if head.Size <= maxSmallRequest {
		return c.handleNext(ctx, head)
	}
	waiting, cancel := context.WithTimeout(ctx, progressTime)
	defer cancel()
	if err := c.server.requests.Acquire(waiting, int64(head.Size)); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer c.server.requests.Release(int64(head.Size))
	// A slow sender does not keep the memory for long.
	if err := c.conn.SetReadDeadline(time.Now().Add(progressTime + rateTime(head.Size))); err != nil {
		return err
	}
	return c.handleNext(ctx, head)
}

func (c *client) handleNext(ctx context.Context, head mediator.Head) error {
	call, err := head.Call(c.in)
	if err != nil {
		return err
	}
	return c.handle(ctx, call)
}

// rateTime is how long a transfer of that many bytes may take at 32 KiB a second.
func rateTime(size int) time.Duration { return time.Duration(size/(32<<10)) * time.Second }

// tooLarge returns the text of the answer to a request that is not read.
func (c *client) tooLarge(head mediator.Head) string {
	switch {
	case c.user.IsZero() && head.Size > maxStrangerRequest:
		return textWithoutLogin(head.Command)
	case head.Size > c.server.maxRequest():
		if head.Command == mediator.CommandSendMessage {
			return mediator.TextMessageTooLarge
		}
		return mediator.TextFieldTooLarge
	}
	return ""
}

// maxRequest is the largest payload that is read.
func (s *server) maxRequest() int {
	return max(s.opts.MaxMessage, maxProfile, wire.MaxGroupAvatar) + 4<<10
}

func (c *client) deadline(wait time.Duration) time.Time {
	if c.user.IsZero() {
		return c.until
	}
	return time.Now().Add(wait)
}

// joinBuffers are for frames that a connection's own writer writes together.
var joinBuffers = sync.Pool{New: func() any { return new([writeSize]byte) }}

// write is the connection's own writer: it writes what the shared writer would
// have to wait for, until ctx ends.
func (c *client) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.out.wake:
		}
		for more := true; more; {
			var err error
			if more, err = c.writeNext(); err != nil {
				return err
			}
		}
	}
}

// writeNext writes the first frames of the outbox and reports whether there are more.
func (c *client) writeNext() (bool, error) {
	buf, _ := joinBuffers.Get().(*[writeSize]byte)
	defer joinBuffers.Put(buf)
	data, frames, invites := c.out.next(buf[:0], writeSize)
	if frames == 0 {
		return false, nil
	}
	if err := c.writeParts(data); err != nil {
		return false, err
	}
	more := c.out.take(frames)
	c.sent(invites)
	return more, nil
}

// writeNow writes the first frames of the outbox and reports whether there are more. What
// would have to wait it leaves to the connection's own writer. The shared writer calls it.
func (c *client) writeNow(to overlay.PromptWriter, buf *[writeSize]byte) bool {
	data, frames, invites := c.out.next(buf[:0], writeSize)
	switch {
	case frames == 0:
		return false
	case len(data) > writeSize || !to.WriteNow(data):
		c.out.wait()
		return false
	}
	more := c.out.take(frames)
	c.sent(invites)
	return more
}

// writeParts writes data in parts of up to writeSize. It fails when the peer takes them more
// slowly than rateTime allows, which ends the connection.
func (c *client) writeParts(data []byte) error {
	until := time.Now().Add(progressTime + rateTime(len(data)))
	for len(data) > 0 {
		part := data[:min(len(data), writeSize)]
		if time.Now().After(until) {
			return errSlow
		}
		if err := c.writePart(part); err != nil {
			return err
		}
		data = data[len(part):]
	}
	return nil
}

// writePart writes, for at most progressTime. The deadline is moved only now and then.
func (c *client) writePart(b []byte) error {
	if now := time.Now(); now.Sub(c.moved) > progressTime/4 {
		c.moved = now
		if err := c.conn.SetWriteDeadline(now.Add(progressTime)); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(b)
	return err
}

// sent tells the actor of invites that were written.
func (c *client) sent(invites []*inviteSent) {
	for _, invite := range invites {
		c.server.inbox.Tell(*invite)
	}
}
