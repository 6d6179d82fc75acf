// SPDX-License-Identifier: MPL-2.0

package group

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorlink"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// Name is the name of the actor of an account's groups, below the account.
	Name = "groups"
	// maxMediators is how many mediators an account is connected to.
	maxMediators = 32
	// childPause is how long a child that failed too often stays stopped.
	childPause = 5 * time.Minute
)

// Keys has the keys of accounts, and says what they must not sign.
type Keys interface {
	identity.Guard
	Account(id identity.PublicKey) (identity.PrivateKey, bool)
	// Know remembers node keys that are not signed as challenges.
	Know(nodes ...identity.NodeKey)
}

// Network is the network that runs at the moment.
type Network interface {
	mediatorlink.Carriers
	// Up reports whether there are links.
	Up() bool
}

// Deps is what the groups of all accounts use. The node builds it before it starts the
// first account.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store   *store.Store
	Writer  kernel.Ref
	Network Network
	// Now is the wall clock, for what is stored.
	Now   func() time.Time
	Log   *strangerlog.Log
	Keys  Keys
	Table *Table
	// Mediators are those that every account is connected to, also without a group, so
	// that invites arrive.
	Mediators []identity.NodeKey
	// MediaOf is the row of the file of a message in a group; nil when nothing is known of
	// files.
	MediaOf func(g store.Group, a peer.Attachment, now store.Millis) *store.Media
	// MaxAnswer bounds an answer of a mediator, see mediatorlink.Deps.
	MaxAnswer int
	// Patience is how long messages are not sent before a file that is being uploaded.
	Patience time.Duration
}

func (d *Deps) nowMillis() store.Millis { return store.MillisOf(d.Now()) }

// The account's messages to the actor of its groups, which also gets uplink.Changed.
type (
	// Look says that a group has changed in the store, or its outbox or tasks.
	Look struct{ Group store.ConversationID }
	// LookAll says that any of them may have.
	LookAll struct{}
	// ProfileChanged says that the account has another profile.
	ProfileChanged struct{}
)

// Messages to the actor of a group.
type (
	// linkUp says that there is a connection to the mediator, without subscriptions.
	linkUp struct {
		link  kernel.Ref
		turns *turns
	}
	// linkDown says that there is none.
	linkDown struct{}
	// missed says that pushes were dropped.
	missed struct{}
	// bye follows the last push for a group that needs no actor any more.
	bye struct{}
)

// hello asks for linkUp, at the start of a group's actor. idle says that the group needs
// none.
type (
	hello struct{ Group store.ConversationID }
	idle  struct{ Group store.ConversationID }
)

// childDue is the end of childPause.
type childDue struct{}

// NewSpec makes the spec of the actor of an account's groups.
func NewSpec(d *Deps, account identity.PublicKey) kernel.Spec {
	return kernel.Spec{Name: Name, Kind: Name, New: func() kernel.Actor {
		return &groups{deps: d, account: account, links: make(map[identity.NodeKey]*connection), running: make(map[store.ConversationID]identity.NodeKey)}
	}}
}

// groups has what the groups of an account share: the connections to mediators, and the
// invites.
type groups struct {
	deps    *Deps
	account identity.PublicKey
	key     identity.PrivateKey

	links map[identity.NodeKey]*connection
	// running are the groups that have an actor, with their mediators.
	running map[store.ConversationID]identity.NodeKey
	// invites are the pushes whose invites the store has not answered yet.
	invites map[uint64]mediatorlink.Pushed
	token   uint64
}

// connection is the link to one mediator.
type connection struct {
	ref   kernel.Ref
	up    bool
	turns *turns
	// unused says that it was stopped because no group needs it. It begins again when one
	// does before it has ended.
	unused bool
}

func (x *groups) Started(c *kernel.Context) error {
	key, ok := x.deps.Keys.Account(x.account)
	if !ok {
		return errors.New("the key of the account is not loaded")
	}
	x.key, x.invites = key, make(map[uint64]mediatorlink.Pushed)
	for _, m := range x.deps.Mediators {
		x.connect(c, m)
	}
	return x.startAll(c)
}

// startAll starts an actor for every group that needs one.
func (x *groups) startAll(c *kernel.Context) error {
	var failed error
	err := x.deps.Store.EachGroup(x.account, func(g store.Group) bool {
		failed = x.start(c, g)
		return failed == nil
	})
	return errors.Join(err, failed)
}

func (x *groups) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case Look:
		x.onLook(c, msg.Group)
	case LookAll:
		if err := x.startAll(c); err != nil {
			c.Fail(err)
		}
		for id := range x.running {
			x.tell(c, id, Look{id})
		}
	case ProfileChanged:
		for id := range x.running {
			x.tell(c, id, msg)
		}
	case uplink.Changed:
		x.onNetwork(c, msg.Up)
	case hello:
		x.onHello(c, msg.Group)
	case idle:
		x.onIdle(c, msg.Group)
	case mediatorlink.Connected:
		x.onConnected(c, msg.Mediator)
	case mediatorlink.Disconnected:
		x.onDisconnected(c, msg)
	case mediatorlink.Pushed:
		x.onPushed(c, msg)
	case mediatorlink.Missed:
		x.onMissed(c, msg)
	case store.Written:
		x.onInviteStored(msg)
	case childDue:
		if err := x.startAll(c); err != nil {
			c.Fail(err)
		}
	case kernel.ChildStopped:
		x.onChildStopped(c, msg)
	}
}

func (x *groups) Stopping(*kernel.Context) {
	for m := range x.links {
		x.deps.Table.forgetMediator(x.account, m)
	}
}

// connect starts the link to a mediator, if there is none.
func (x *groups) connect(c *kernel.Context, m identity.NodeKey) {
	if l := x.links[m]; l != nil || m.IsZero() {
		if l != nil {
			l.unused = false
		}
		return
	}
	if len(x.links) >= maxMediators {
		c.Log().Warn("too many mediators, groups of this one stay offline", "server", m.Short(), "limit", maxMediators)
		return
	}
	x.deps.Keys.Know(m)
	ref, err := c.Spawn(mediatorlink.NewSpec(mediatorlink.Deps{Network: x.deps.Network, Mediator: m, Key: x.key, Guard: x.deps.Keys, MaxAnswer: x.deps.MaxAnswer}))
	if err != nil {
		c.Fail(fmt.Errorf("start link to mediator: %w", err))
	}
	x.links[m] = &connection{ref: ref, turns: &turns{}}
	x.deps.Table.setMediator(x.account, m, func(s *MediatorStatus) { s.Since = time.Now() })
}

// start starts the actor of a group, if it needs one and has none.
func (x *groups) start(c *kernel.Context, g store.Group) error {
	if _, running := x.running[g.ID]; running {
		return nil
	}
	needed, err := x.deps.needed(g)
	if err != nil || !needed {
		return err
	}
	x.connect(c, g.Mediator)
	if _, err := c.Spawn(newGroupSpec(x.deps, x.account, x.key, g.ID)); err != nil {
		return fmt.Errorf("start group: %w", err)
	}
	x.running[g.ID] = g.Mediator
	x.countGroups(g.Mediator)
	return nil
}

// needed reports whether a group needs an actor.
func (d *Deps) needed(g store.Group) (bool, error) {
	switch g.State {
	case store.GroupMember, store.GroupReadOnly, store.GroupMediatorGone, store.GroupJoining, store.GroupCreating, store.GroupBanned, store.GroupLost:
		return true, nil
	case store.GroupDeclined:
		if g.Invite != 0 {
			return true, nil
		}
	case store.GroupInvited, store.GroupCreated, store.GroupFailed, store.GroupLeft, store.GroupDeleted:
	}
	tasks, err := d.Store.GroupTasks(g.Account, g.ID, 1)
	if err != nil || len(tasks) > 0 {
		return err == nil, err
	}
	outbox, err := d.Store.Outbox(g.Account, g.ID, 0, 1)
	return len(outbox) > 0, err
}

func (x *groups) countGroups(m identity.NodeKey) {
	n := 0
	for _, of := range x.running {
		if of == m {
			n++
		}
	}
	if x.links[m] != nil {
		x.deps.Table.setMediator(x.account, m, func(s *MediatorStatus) { s.Groups = n })
	}
}

func (x *groups) tell(c *kernel.Context, id store.ConversationID, msg any) bool {
	child, ok := c.Child(id.String())
	if ok {
		c.Tell(child, msg)
	}
	return ok
}

func (x *groups) onLook(c *kernel.Context, id store.ConversationID) {
	if _, running := x.running[id]; running {
		x.tell(c, id, Look{id})
		return
	}
	g, err := x.deps.Store.Group(x.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return // removed: its events remain
	}
	if err == nil {
		err = x.start(c, g)
	}
	if err != nil {
		c.Fail(err)
	}
}

// onHello tells a group's actor of its connection.
func (x *groups) onHello(c *kernel.Context, id store.ConversationID) {
	if l := x.links[x.running[id]]; l != nil && l.up {
		c.Reply(linkUp{l.ref, l.turns})
	}
}

// onIdle ends the actor of a group that needs none. Nothing is passed on to it any more,
// so bye is the last message in its mailbox.
func (x *groups) onIdle(c *kernel.Context, id store.ConversationID) {
	m, running := x.running[id]
	if !running {
		return
	}
	if g, err := x.deps.Store.Group(x.account, id); err == nil {
		if needed, err := x.deps.needed(g); err != nil || needed {
			x.tell(c, id, Look{id}) // it was changed meanwhile
			return
		}
	}
	delete(x.running, id)
	x.tell(c, id, bye{})
	x.countGroups(m)
	x.disconnectUnused(c, m)
}

// disconnectUnused stops the link to a mediator that nobody needs.
func (x *groups) disconnectUnused(c *kernel.Context, m identity.NodeKey) {
	l := x.links[m]
	if l == nil || slices.Contains(x.deps.Mediators, m) {
		return
	}
	for _, of := range x.running {
		if of == m {
			return
		}
	}
	l.unused, l.up = true, false
	c.Stop(l.ref)
}

func (x *groups) onNetwork(c *kernel.Context, up bool) {
	if !up {
		return
	}
	for _, l := range x.links {
		c.Tell(l.ref, mediatorlink.Nudge{})
	}
}

// each tells all groups of a mediator.
func (x *groups) each(c *kernel.Context, m identity.NodeKey, msg any) {
	for id, of := range x.running {
		if of == m {
			x.tell(c, id, msg)
		}
	}
}

func (x *groups) onConnected(c *kernel.Context, m identity.NodeKey) {
	l := x.links[m]
	if l == nil || c.Sender() != l.ref {
		return
	}
	l.up = true
	x.deps.Table.setMediator(x.account, m, func(s *MediatorStatus) {
		s.Connected, s.Since, s.LastError, s.NextAttempt = true, time.Now(), "", time.Time{}
	})
	x.each(c, m, linkUp{l.ref, l.turns})
}

func (x *groups) onDisconnected(c *kernel.Context, msg mediatorlink.Disconnected) {
	l := x.links[msg.Mediator]
	if l == nil || c.Sender() != l.ref {
		return
	}
	was := l.up
	l.up = false
	x.deps.Table.setMediator(x.account, msg.Mediator, func(s *MediatorStatus) {
		if was {
			s.Since = time.Now()
		}
		s.Connected, s.NextAttempt = false, time.Now().Add(msg.RetryIn)
		if s.LastError = "connection lost"; msg.Err != nil {
			s.LastError = msg.Err.Error()
		}
	})
	x.each(c, msg.Mediator, linkDown{})
}

// onPushed passes a push on to its group.
func (x *groups) onPushed(c *kernel.Context, msg mediatorlink.Pushed) {
	var chat mediator.ChatID
	switch p := msg.Push.(type) {
	case *mediator.GotInvite:
		x.onInvite(c, msg, p)
		return
	case *mediator.GotMessage:
		chat = p.Chat
	case *mediator.RequestMemberInfo:
		chat = p.Chat
	case *mediator.GotMemberInfo:
		chat = p.Chat
	}
	id := store.GroupConversation(msg.Mediator, uint64(chat))
	if _, running := x.running[id]; !running || !x.tell(c, id, msg) {
		msg.Release() // of a group that is not ours, or not any more
	}
}

func (x *groups) onMissed(c *kernel.Context, msg mediatorlink.Missed) {
	if msg.Invites > 0 {
		c.Log().Warn("invites dropped: too many at once", "server", msg.Mediator.Short(), "count", msg.Invites)
		x.deps.Table.missInvites(msg.Invites)
	}
	x.each(c, msg.Mediator, missed{})
}

// onInvite stores an invite before anything else: it is not pushed again.
func (x *groups) onInvite(c *kernel.Context, msg mediatorlink.Pushed, p *mediator.GotInvite) {
	wanted, err := x.wanted(p.From)
	if err != nil {
		msg.Release()
		c.Fail(err)
	}
	if !wanted || p.Chat <= 0 {
		x.deps.Log.Info("invite refused", "account", x.account.Short(), "contact", p.From.Short(), "server", msg.Mediator.Short())
		msg.Release()
		return
	}
	g := store.Group{
		Account: x.account, Mediator: msg.Mediator, Chat: uint64(p.Chat), Inviter: p.From, Invite: int64(p.Invite),
		Name: firstRunes(p.Name, wire.MaxGroupName), Description: firstRunes(p.Description, wire.MaxGroupDescription),
	}
	if len(p.Avatar) <= wire.MaxGroupAvatar {
		g.Avatar = p.Avatar
	}
	if key, err := group.Unwrap(x.key, p.Data); err == nil {
		g.Key = store.GroupKey(key.Bytes())
	} else {
		x.deps.Log.Warn("invite cannot be opened", "account", x.account.Short(), "contact", p.From.Short(), "err", err)
	}
	x.token++
	x.invites[x.token] = msg
	c.Tell(x.deps.Writer, store.Write{Token: x.token, Op: store.ReceiveInvite{Group: g}})
}

// wanted reports whether the account takes invites of somebody: not those of blocked
// contacts, and those of strangers only if it does not refuse strangers.
func (x *groups) wanted(from identity.PublicKey) (bool, error) {
	contact, err := x.deps.Store.Contact(x.account, from)
	switch {
	case err == nil && contact.State == store.ContactBlocked:
		return false, nil
	case err == nil && contact.State == store.ContactAccepted:
		return true, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("read contact: %w", err)
	}
	account, err := x.deps.Store.Account(x.account)
	if err != nil {
		return false, fmt.Errorf("read account: %w", err)
	}
	return account.Strangers != store.StrangersRefuse, nil
}

func (x *groups) onInviteStored(msg store.Written) {
	push, ok := x.invites[msg.Token]
	if !ok {
		return
	}
	delete(x.invites, msg.Token)
	push.Release()
	if msg.Err != nil {
		x.deps.Table.missInvites(1)
		x.deps.Log.Warn("invite not stored", "account", x.account.Short(), "server", push.Mediator.Short(), "err", msg.Err)
	}
}

// onChildStopped: a group was ended, or a child has failed too often.
func (x *groups) onChildStopped(c *kernel.Context, msg kernel.ChildStopped) {
	for m, l := range x.links {
		if l.ref == msg.Child {
			delete(x.links, m)
			x.deps.Table.forgetMediator(x.account, m)
			if !l.unused {
				x.each(c, m, linkDown{})
				x.connect(c, m)
				x.countGroups(m)
			}
			return
		}
	}
	id, err := store.ParseConversationID(msg.Name)
	if err != nil {
		return
	}
	m, running := x.running[id]
	delete(x.running, id)
	if msg.Err != nil {
		c.Log().Error("actor given up for now", "child", msg.Name, "err", msg.Err, "retry_in", childPause)
		c.After(childPause, childDue{})
		// Pushes that it had not handled have taken places of the link with them.
		if l := x.links[m]; running && l != nil {
			c.Stop(l.ref) // begins again, see above
		}
		return
	}
	if err := x.restartEnded(c, id); err != nil {
		c.Fail(err)
	}
}

// restartEnded starts a group that was changed while its actor ended.
func (x *groups) restartEnded(c *kernel.Context, id store.ConversationID) error {
	g, err := x.deps.Store.Group(x.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read group: %w", err)
	}
	return x.start(c, g)
}
