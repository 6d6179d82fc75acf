// SPDX-License-Identifier: MPL-2.0

// Package fileserver is the role of a file server: it keeps encrypted files of others for
// a while, on the disk beside the database and with a row for each in the store. It owns
// a network under a key of its own. The node starts its actor, sees its network in a
// [uplink.Cell], and has its files in backups ([Link], [Omitted]) and checks ([Check]).
package fileserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/connlimit"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxClients bounds the connections, in all and of one node. A further one is refused.
	maxClients        = 128
	maxClientsPerNode = 8
	expireEvery       = time.Hour
	// loginTime is how long a client may take to log in.
	loginTime = 15 * time.Second
	// progressTime is how long a client may take for a read or a write within a request.
	progressTime = time.Minute
	// readBuffer is for requests; chunks are read past it.
	readBuffer = 4 << 10
)

// Options configures the role of a file server, which has a node key and a network of its
// own, so that its address stays when the node's changes.
type Options struct {
	// OpenNetwork joins the overlay under the role's key. It is called at every start of
	// the actor, also after a failure, and must not block on the network.
	OpenNetwork func(key identity.NodePrivateKey) (uplink.Network, error)
	// Quota is the space for all files, in bytes. Default 20 GiB.
	Quota int64
	// PerIdentity is the space for the files of one identity, in bytes. Default 3 GiB, as
	// on the public server.
	PerIdentity int64
	// Keep is how long a file is kept. Default 15 days, as on the public server; apps
	// expect no less.
	Keep time.Duration
}

func (o Options) withDefaults() Options {
	if o.Quota <= 0 {
		o.Quota = 20 << 30
	}
	if o.PerIdentity <= 0 {
		o.PerIdentity = 3 << 30
	}
	if o.Keep <= 0 {
		o.Keep = files.KeepTime
	}
	return o
}

type (
	expireFiles  struct{}
	filesExpired struct{ err error }
)

// actor is the role of a file server. It cannot read the files: they are encrypted.
type actor struct {
	deps Deps
	opts Options
	host *host
}

// Deps is what the actor of [NewActor] uses.
type Deps struct {
	// Dir is where the files are; it is created.
	Dir string
	// Key is the node key of the role.
	Key identity.NodePrivateKey
	// Cell is set to the role's network while that runs.
	Cell *uplink.Cell
	// Store is for reading, Writer is the store actor.
	Store  *store.Store
	Writer kernel.Ref
	// Now is the wall clock.
	Now func() time.Time
	// Log is for goroutines, Strangers for what strangers cause.
	Log       *slog.Logger
	Strangers *strangerlog.Log
}

// NewActor returns the actor of the role of a file server.
func NewActor(deps Deps, opts Options) kernel.Actor {
	return &actor{deps: deps, opts: opts.withDefaults()}
}

// Started implements [kernel.Starter].
func (a *actor) Started(c *kernel.Context) error {
	var err error
	a.host, err = openHost(a.deps, a.opts)
	if err != nil {
		return err
	}
	net, err := a.opts.OpenNetwork(a.deps.Key)
	if err != nil {
		a.host.close()
		return fmt.Errorf("join the overlay as a file server: %w", err)
	}
	port, err := net.Stream().Listen(files.Port)
	if err != nil {
		a.host.close()
		return errors.Join(fmt.Errorf("listen on port %d: %w", files.Port, err), net.Close())
	}
	a.deps.Cell.Set(net)
	h := a.host
	c.Go("serve", func(ctx context.Context) error {
		// Closing waits for the network's own goroutines and for the disk, so it is
		// done here and not in a turn.
		defer h.close()
		defer func() { _ = net.Close() }()
		if err := h.removeLost(ctx); err != nil {
			return err
		}
		return (&server{deps: a.deps, host: h, clients: connlimit.New(maxClients, maxClientsPerNode)}).serve(ctx, port)
	})
	c.Every(expireEvery, expireFiles{})
	a.onExpire(c)
	c.Log().Info("file server started", "node", a.deps.Key.Key().Short())
	return nil
}

// Receive implements [kernel.Actor].
func (a *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case expireFiles:
		a.onExpire(c)
	case filesExpired:
		if msg.err != nil {
			c.Log().Warn("expired files not removed", "err", msg.err)
		}
	case kernel.TaskDone:
		if msg.Name == "serve" {
			c.Fail(fmt.Errorf("file server: %w", msg.Err))
		}
	}
}

// Stopping implements [kernel.Stopper].
func (a *actor) Stopping(*kernel.Context) { a.deps.Cell.Clear() }

func (a *actor) onExpire(c *kernel.Context) {
	h, inbox := a.host, c.Inbox()
	c.Go("expire", func(ctx context.Context) error {
		inbox.Tell(filesExpired{h.expire(ctx)})
		return nil
	})
}

// server accepts connections, within its limits.
type server struct {
	deps    Deps
	host    *host
	clients *connlimit.Limit
}

// serve accepts until the port is closed or the context ends, and then waits for the
// clients.
func (s *server) serve(ctx context.Context, port overlay.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
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
			continue
		}
		clients.Go(func() {
			defer s.clients.Leave(conn.RemoteKey())
			stop := context.AfterFunc(ctx, func() { _ = conn.Abort() }) // ends a blocked read
			defer stop()
			served := &client{host: s.host, conn: conn, in: bufio.NewReaderSize(conn, readBuffer)}
			err := s.deps.Strangers.Protect("file server", func() error { return served.serve(ctx) })
			if errors.Is(err, io.EOF) {
				_ = conn.Close() // in order
				return
			}
			_ = conn.Abort() // it cannot go on
			s.deps.Log.Debug("file client ended", "component", "files", "node", conn.RemoteKey().Short(), "err", err)
		})
	}
}

// client is one connection. Its requests are served one after the other.
type client struct {
	host *host
	conn overlay.Conn
	in   *bufio.Reader

	claimed identity.PublicKey // that asked for the nonce
	nonce   [32]byte           // zero without one
	owner   identity.PublicKey // zero until logged in
	loginBy time.Time          // when a connection without a login ends
}

func (c *client) serve(ctx context.Context) error {
	c.loginBy = time.Now().Add(loginTime)
	if err := c.conn.SetReadDeadline(c.loginBy); err != nil {
		return err
	}
	var opening [2]byte
	if _, err := io.ReadFull(c.in, opening[:]); err != nil {
		return err
	}
	if !files.IsOpening(opening) {
		return errors.New("not a client of a file server")
	}
	for {
		call, err := c.read()
		if err != nil {
			return err
		}
		if err := c.answer(ctx, call); err != nil {
			return err
		}
	}
}

// read waits files.IdleTime for a request to begin and progressTime for the rest of it; a
// client that has not logged in has until loginBy for everything.
func (c *client) read() (files.Call, error) {
	if err := c.conn.SetReadDeadline(c.deadline(files.IdleTime)); err != nil {
		return files.Call{}, err
	}
	if _, err := c.in.Peek(1); err != nil {
		return files.Call{}, err
	}
	if err := c.conn.SetReadDeadline(c.deadline(progressTime)); err != nil {
		return files.Call{}, err
	}
	return files.ReadCall(c.in)
}

func (c *client) deadline(wait time.Duration) time.Time {
	if c.owner.IsZero() {
		return c.loginBy
	}
	return time.Now().Add(wait)
}

func (c *client) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(progressTime)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// answer serves a request. An error ends the connection; a refusal does not.
func (c *client) answer(ctx context.Context, call files.Call) error {
	q, err := call.Parse()
	if err == nil && q == nil {
		return nil // the protocol has no answer to it
	}
	var reply []byte
	if err == nil {
		reply, err = c.handle(ctx, call.ID, q)
	}
	if refused, ok := errors.AsType[*files.RequestError](err); ok {
		return c.write(files.AppendError(nil, call.ID, refused.Text))
	}
	if err != nil || reply == nil {
		return err
	}
	return c.write(reply)
}

// handle returns the answer; nil when it has written the answer itself.
func (c *client) handle(ctx context.Context, id uint16, q files.Request) ([]byte, error) {
	switch q := q.(type) {
	case files.Ping:
		return files.AppendOK(nil, id), nil
	case files.GetNonce:
		c.claimed = q.Identity
		if _, err := rand.Read(c.nonce[:]); err != nil {
			return nil, err
		}
		return files.AppendNonce(nil, id, c.nonce), nil
	case files.Auth:
		if err := c.login(q); err != nil {
			return nil, err
		}
		return files.AppendOK(nil, id), nil
	}
	if c.owner.IsZero() {
		return nil, refuse(files.TextNotAuthed)
	}
	switch q := q.(type) {
	case files.Upload:
		if err := c.host.addChunk(ctx, c.conn.RemoteKey(), c.owner, q); err != nil {
			return nil, err
		}
		return files.AppendOK(nil, id), nil
	case files.Download:
		return nil, c.download(id, q)
	case files.FileInfo:
		file, ok := c.host.info(q.Hash)
		if !ok {
			return nil, refuse(files.TextNotFound)
		}
		return files.Info{Total: uint64(file.Size), GUID: file.GUID}.AppendTo(nil, id), nil
	}
	return nil, refuse("unknown cmd")
}

func (c *client) login(q files.Auth) error {
	switch {
	case c.nonce == [32]byte{} || q.Identity != c.claimed:
		return refuse("unknown nonce")
	case q.Nonce != c.nonce:
		return refuse("nonce mismatch")
	}
	err := q.Identity.VerifyChallenge(identity.Challenge(q.Nonce), q.Signature)
	switch {
	case errors.Is(err, identity.ErrInvalidKey):
		return refuse("invalid pubkey")
	case err != nil:
		return refuse("invalid signature")
	}
	c.owner, c.nonce = q.Identity, [32]byte{}
	return nil
}

// download sends a file, a chunk at a time.
func (c *client) download(id uint16, q files.Download) error {
	file, ok := c.host.info(q.Hash)
	if !ok {
		return refuse(files.TextNotFound)
	}
	if q.Offset >= uint64(file.Size) {
		return refuse(files.TextBeyondEnd)
	}
	f, err := c.host.read(q.Hash)
	if err != nil {
		return refuse("file not found on disk")
	}
	defer func() { _ = f.Close() }() // only read
	end := uint64(file.Size)
	if q.Limit > 0 && uint64(q.Limit) < end-q.Offset {
		end = q.Offset + uint64(q.Limit)
	}
	buf := make([]byte, files.DownloadChunk)
	for offset := q.Offset; offset < end; {
		piece := buf[:min(end-offset, uint64(len(buf)))]
		if _, err := f.ReadAt(piece, int64(offset)); err != nil {
			return refuse("read error")
		}
		if err := c.write(files.Chunk{Offset: offset, Total: uint64(file.Size), Data: piece}.AppendTo(nil, id)); err != nil {
			return err
		}
		offset += uint64(len(piece))
	}
	return nil
}
