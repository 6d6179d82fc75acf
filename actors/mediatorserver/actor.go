// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// Options configures the role of a mediator, which has a node key and a network of its own,
// so that its address stays when the node's changes.
type Options struct {
	// OpenNetwork joins the overlay under the role's key. It is called at every start of
	// the actor, also after a failure, and must not block on the network.
	OpenNetwork func(key identity.NodePrivateKey) (uplink.Network, error)
	// Creators may create groups; nil means everybody.
	Creators []identity.PublicKey
	// Limits bound what is kept.
	Limits store.MediatorLimits
	// MaxMessage is the largest message, in bytes. Default 1 MiB.
	MaxMessage int
	// Keep is how long messages are kept; 0 is for ever.
	Keep time.Duration
	// MaxConnections bounds the connections. Default 2048.
	MaxConnections int
	// Rate is how many requests that change something an identity may send in a second,
	// with a burst of Burst. Further ones are read later. Default 50 and 1000.
	Rate  float64
	Burst int
}

// defaultInvites bounds the pending invites of a group.
const defaultInvites = 10_000

func (o Options) withDefaults() Options {
	if o.MaxMessage <= 0 {
		o.MaxMessage = 1 << 20
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 2048
	}
	if o.Rate <= 0 {
		o.Rate = 50
	}
	if o.Burst <= 0 {
		o.Burst = 1000
	}
	if o.Limits.InvitesPerGroup == 0 {
		o.Limits.InvitesPerGroup = defaultInvites
	}
	return o
}

// Deps is what the actor of [NewActor] uses.
type Deps struct {
	// Key is the node key of the role.
	Key identity.NodePrivateKey
	// Cell is set to the role's network while that runs.
	Cell *uplink.Cell
	// Store is for reading, Writer is the store actor.
	Store  *store.Store
	Writer kernel.Ref
	// Now is the wall clock.
	Now func() time.Time
	// Restored is a file that is there when the store was restored from a backup; the role
	// removes it when it has taken that into account. "" for none.
	Restored string
	// Log is for goroutines, Strangers for what strangers cause.
	Log       *slog.Logger
	Strangers *strangerlog.Log
}

// Messages of the goroutines to the actor.
type (
	// login says that a connection has authenticated; answered with loggedIn.
	login struct {
		client *client
		user   identity.PublicKey
	}
	// subscribe is answered with subscribed, or a refusal.
	subscribe struct {
		client *client
		group  mediator.ChatID
	}
	subscribed struct {
		last    mediator.MessageID
		changed int64
	}
	// write asks for an operation of the store; answered with its result, after the
	// pushes that follow from it are queued. client is nil for the operator.
	write struct {
		client *client
		op     store.Op
	}
	// online asks who is connected to a group; answered with a set of identities.
	online struct{ group mediator.ChatID }
	// left says that a connection has ended.
	left struct{ client *client }
	// inviteSent says that an invite was written to a connection.
	inviteSent struct {
		id   mediator.InviteID
		time int64
	}
	// sendPresence and writeSeen are the actor's own.
	sendPresence struct{}
	writeSeen    struct{}
)

// loggedIn answers login.
type loggedIn struct {
	account *account
	// invites are those that were not pushed yet.
	invites []store.MediatorInvite
}

// actor is the role of a mediator.
type actor struct {
	deps Deps
	opts Options
	hub  hub

	// writes are the operations that the store has not answered, by token.
	writes    map[uint64]underWay
	lastToken uint64
	server    *server
}

// underWay is an operation and who waits for its result; nobody when asker is zero.
type underWay struct {
	write
	asker kernel.Ref
}

// NewActor returns the actor of the role of a mediator.
func NewActor(deps Deps, opts Options) kernel.Actor {
	opts = opts.withDefaults()
	return &actor{deps: deps, opts: opts, hub: newHub(opts), writes: make(map[uint64]underWay)}
}

// key is the key of the role as the author of events.
func (a *actor) key() identity.PublicKey { return identity.PublicKey(a.deps.Key.Key()) }

// Started implements [kernel.Starter].
func (a *actor) Started(c *kernel.Context) error {
	net, err := a.opts.OpenNetwork(a.deps.Key)
	if err != nil {
		return fmt.Errorf("join the overlay as a mediator: %w", err)
	}
	port, err := net.Stream().Listen(mediator.Port)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on port %d: %w", mediator.Port, err), net.Close())
	}
	a.deps.Cell.Set(net)
	a.server = newServer(a.deps, a.opts, c.Self(), c.Inbox(), a.hub.shared)
	c.Go("serve", func(ctx context.Context) error {
		// Closing waits for the network's own goroutines, so it is done here and not
		// in a turn.
		defer func() { _ = net.Close() }()
		if err := (&carer{deps: a.deps}).skipIDs(ctx); err != nil {
			return err
		}
		return a.server.serve(ctx, port)
	})
	c.Go("care", (&carer{deps: a.deps, opts: a.opts, sweep: a.server.sweep}).run)
	c.Log().Info("mediator started", "node", a.deps.Key.Key().Short())
	return nil
}

// Receive implements [kernel.Actor].
func (a *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case login:
		a.onLogin(c, msg)
	case subscribe:
		a.onSubscribe(c, msg)
	case write:
		a.onWrite(c, msg, c.Sender())
	case store.Written:
		a.onWritten(c, msg)
	case online:
		c.Reply(a.hub.online(msg.group))
	case left:
		a.onLeft(c, msg)
	case inviteSent:
		a.onWrite(c, write{op: store.MarkMediatorInvite{ID: msg.id, Time: msg.time}}, kernel.Ref{})
	case sendPresence:
		a.onSendPresence(c)
	case writeSeen:
		a.onWriteSeen(c)
	case statusRequest:
		c.Reply(a.connections())
	case refuse:
		a.onRefuse(c, msg)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("mediator: %w", errors.Join(errEnded, msg.Err)))
	}
}

var errEnded = errors.New("a task of it has ended")

// Stopping implements [kernel.Stopper].
func (a *actor) Stopping(c *kernel.Context) {
	a.deps.Cell.Clear()
	now := a.deps.Now().Unix()
	for client := range a.hub.clients {
		a.hub.leave(client, now)
	}
	for _, op := range a.hub.takeSeen() {
		c.Tell(a.deps.Writer, store.Write{Op: op})
	}
}

func (a *actor) onLogin(c *kernel.Context, msg login) {
	refused, err := a.deps.Store.MediatorRefuses(msg.user)
	if err == nil && refused {
		err = &mediator.ServerError{Text: mediator.TextRefusedIdentity}
	}
	if err != nil {
		c.Reply(err)
		return
	}
	invites, err := a.deps.Store.MediatorInvites(msg.user)
	if err != nil {
		c.Reply(err)
		return
	}
	account := a.hub.login(msg.client, msg.user, a.deps.Now().Unix())
	a.schedule(c)
	c.Reply(loggedIn{account, invites})
}

// onSubscribe answers with the last id that is visible after the subscription: what is
// committed later is pushed.
func (a *actor) onSubscribe(c *kernel.Context, msg subscribe) {
	account := msg.client.account
	if account == nil || msg.client.gone {
		c.Reply(&mediator.ServerError{Text: mediator.TextAuthRequired})
		return
	}
	member, err := a.deps.Store.MediatorMember(msg.group, account.user)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && member.Banned:
		err = &mediator.ServerError{Text: mediator.TextNotMemberOrBanned}
	case err == nil && member.Permissions.HasAny(mediator.PermissionReadOnly):
		err = &mediator.ServerError{Text: mediator.TextReadOnly}
	}
	if err != nil {
		c.Reply(err)
		return
	}
	last, err := a.deps.Store.MediatorLast(msg.group)
	if err != nil {
		c.Reply(err)
		return
	}
	a.hub.subscribe(msg.client, msg.group)
	a.schedule(c)
	c.Reply(subscribed{last, member.Changed})
}

func (a *actor) onLeft(c *kernel.Context, msg left) {
	a.hub.leave(msg.client, a.deps.Now().Unix())
	a.schedule(c)
}

func (a *actor) onWrite(c *kernel.Context, msg write, asker kernel.Ref) {
	if msg.client != nil && msg.client.gone {
		c.Tell(asker, &mediator.ServerError{Text: mediator.TextAuthRequired})
		return
	}
	if msg.client != nil {
		crashpoint.At(crashpoint.BeforeMediated)
	}
	a.lastToken++
	a.writes[a.lastToken] = underWay{msg, asker}
	c.Tell(a.deps.Writer, store.Write{Token: a.lastToken, Op: msg.op})
}

// onWritten is told of commits in their order. The pushes that follow from one are queued
// before the next is looked at.
func (a *actor) onWritten(c *kernel.Context, msg store.Written) {
	done, ok := a.writes[msg.Token]
	if !ok {
		return // of the incarnation before
	}
	delete(a.writes, msg.Token)
	if msg.Err != nil {
		a.fail(c, done, msg.Err)
		return
	}
	if done.client != nil {
		crashpoint.At(crashpoint.AfterMediated)
	}
	a.push(c, done, msg.Result)
	if done.client != nil {
		crashpoint.At(crashpoint.BeforeMediatedOK)
	}
	if !done.asker.IsZero() {
		c.Tell(done.asker, result{msg.Result})
	}
}

// result answers write. A result of the store may be an error's type to the kernel.
type result struct{ value any }

func (a *actor) fail(c *kernel.Context, done underWay, err error) {
	if !done.asker.IsZero() {
		c.Tell(done.asker, err)
		return
	}
	c.Log().Warn("write of the mediator failed", "op", fmt.Sprintf("%T", done.op), "err", err)
}

// schedule sends presence and notes who was seen soon, when there is anything.
func (a *actor) schedule(c *kernel.Context) {
	if a.hub.presenceDue() {
		c.After(presenceWindow, sendPresence{})
	}
	if a.hub.seenDue() {
		c.After(seenWindow, writeSeen{})
	}
}

func (a *actor) onSendPresence(c *kernel.Context) {
	a.hub.sendPresence(a.key(), a.deps.Now().Unix())
	a.schedule(c)
}

func (a *actor) onWriteSeen(c *kernel.Context) {
	for _, op := range a.hub.takeSeen() {
		a.onWrite(c, write{op: op}, kernel.Ref{})
	}
}
