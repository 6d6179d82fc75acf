// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"errors"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// hub is who is connected, to what, and what they are pushed. It belongs to the actor.
type hub struct {
	opts Options
	// clients are the connections that have logged in.
	clients  map[*client]struct{}
	accounts map[identity.PublicKey]*account
	rooms    map[mediator.ChatID]*room
	// shared counts the bytes of pushes that wait.
	shared *atomic.Int64
	presence
}

// account is an identity with the connections that have logged in as it.
type account struct {
	user    identity.PublicKey
	clients map[*client]struct{}
	// limit is for the requests that change something, of all connections together.
	limit *rate.Limiter
}

// room is a group with the connections that are subscribed to it.
type room struct {
	group   mediator.ChatID
	clients subscribers
	// suspended are subscribed, and are pushed nothing after an id: their members may not
	// read at the moment.
	suspended map[*client]mediator.MessageID
	// connections counts those of each identity.
	connections map[identity.PublicKey]int
	// changed are the identities whose presence is to be sent, in this order.
	changed  []identity.PublicKey
	changing map[identity.PublicKey]struct{} // those in changed
}

// subscribers are connections, in a list that stays in order but for those in the place of
// one that has left: a push visits memory in the order in which it was allocated, and not in
// the random order of a map.
type subscribers struct {
	list []*client
	at   map[*client]int // the index in list
}

func newSubscribers() subscribers { return subscribers{at: make(map[*client]int)} }

func (s *subscribers) has(c *client) bool {
	_, there := s.at[c]
	return there
}

func (s *subscribers) add(c *client) {
	if s.has(c) {
		return
	}
	s.at[c] = len(s.list)
	s.list = append(s.list, c)
}

func (s *subscribers) remove(c *client) {
	i, there := s.at[c]
	if !there {
		return
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.at[s.list[i]] = i
	s.list[last] = nil
	s.list = s.list[:last]
	delete(s.at, c)
}

func newHub(opts Options) hub {
	return hub{
		opts: opts, clients: make(map[*client]struct{}), accounts: make(map[identity.PublicKey]*account),
		rooms: make(map[mediator.ChatID]*room), shared: new(atomic.Int64),
	}
}

// login notes that a connection has authenticated, and ends another one of the same
// identity and node. A connection that was another identity before is that no longer.
func (h *hub) login(c *client, user identity.PublicKey, now int64) *account {
	h.leave(c, now)
	c.gone = false
	a := h.accounts[user]
	if a == nil {
		a = &account{user: user, clients: make(map[*client]struct{}), limit: rate.NewLimiter(rate.Limit(h.opts.Rate), h.opts.Burst)}
		h.accounts[user] = a
	}
	for other := range a.clients {
		if other.node == c.node {
			h.leave(other, now)
			other.end(errReplaced)
		}
	}
	// The one that was replaced may have been the last.
	h.accounts[user] = a
	a.clients[c] = struct{}{}
	h.clients[c] = struct{}{}
	c.account, c.groups = a, make(map[mediator.ChatID]struct{})
	return a
}

// leave forgets a connection.
func (h *hub) leave(c *client, now int64) {
	c.gone = true
	a := c.account
	if a == nil {
		return
	}
	for group := range c.groups {
		h.unsubscribe(c, group, now)
	}
	c.account = nil
	delete(h.clients, c)
	if delete(a.clients, c); len(a.clients) == 0 {
		delete(h.accounts, a.user)
	}
}

// subscribe adds a connection to a group. Doing so again tells the others again.
func (h *hub) subscribe(c *client, group mediator.ChatID) {
	r := h.rooms[group]
	if r == nil {
		r = &room{
			group: group, clients: newSubscribers(), suspended: make(map[*client]mediator.MessageID),
			connections: make(map[identity.PublicKey]int), changing: make(map[identity.PublicKey]struct{}),
		}
		h.rooms[group] = r
	}
	if _, already := c.groups[group]; !already {
		c.groups[group] = struct{}{}
		r.connections[c.account.user]++
	}
	r.clients.add(c)
	delete(r.suspended, c)
	h.change(r, c.account.user)
}

// unsubscribe removes a connection from a group.
func (h *hub) unsubscribe(c *client, group mediator.ChatID, now int64) {
	r := h.rooms[group]
	if _, there := c.groups[group]; !there || r == nil {
		return
	}
	user := c.account.user
	delete(c.groups, group)
	r.clients.remove(c)
	delete(r.suspended, c)
	if r.connections[user]--; r.connections[user] == 0 {
		delete(r.connections, user)
		h.observe(group, user, now)
		h.change(r, user)
	}
	if len(r.clients.list)+len(r.suspended) == 0 {
		h.forget(r)
	}
}

// suspend stops the pushes about a group to an identity after a message. Its connections
// stay subscribed: apps do not subscribe again when their role changes back.
func (h *hub) suspend(user identity.PublicKey, group mediator.ChatID, after mediator.MessageID) {
	a, r := h.accounts[user], h.rooms[group]
	if a == nil || r == nil {
		return
	}
	for c := range a.clients {
		if r.clients.has(c) {
			r.clients.remove(c)
			r.suspended[c] = after
		}
	}
}

// online returns who is connected to a group.
func (h *hub) online(group mediator.ChatID) map[identity.PublicKey]bool {
	users := make(map[identity.PublicKey]bool)
	if r := h.rooms[group]; r != nil {
		for user := range r.connections {
			users[user] = true
		}
	}
	return users
}

// broadcast queues a frame for all connections that are subscribed to a group, but one. A
// connection whose queue is full ends.
func (h *hub) broadcast(r *room, f *frame, but *client) {
	for _, c := range r.clients.list {
		if c != but {
			c.push(f)
		}
	}
}

// push queues what follows from an operation that is durable.
func (a *actor) push(c *kernel.Context, done underWay, value any) {
	now := a.deps.Now().Unix()
	switch op := done.op.(type) {
	case store.SendMediatorMessage:
		if sent, ok := value.(store.MediatorSent); ok && !sent.Duplicate {
			a.pushMessage(op.Group, sent.Message, done.client)
		}
	case store.AddMediatorMember:
		a.resume(c, op.User, op.Group, value)
		a.pushEvent(op.Group, value, done.client)
	case store.UpdateMediatorGroup:
		a.pushEvent(op.Group, value, nil)
	case store.DeleteMediatorMessage:
		a.pushEvent(op.Group, value, nil)
	case store.BanMediatorMember:
		// The event is the last that the banned member gets.
		a.pushEvent(op.Group, value, done.client)
		a.suspend(op.User, op.Group, value)
	case store.LeaveMediatorGroup:
		a.pushEvent(op.Group, value, done.client)
		if done.client != nil && done.client.account != nil {
			a.hub.unsubscribe(done.client, op.Group, now)
		}
		a.suspend(op.Actor, op.Group, value)
	case store.ChangeMediatorRole:
		reads := !op.Permissions.HasAny(mediator.PermissionReadOnly | mediator.PermissionBanned)
		if reads {
			a.resume(c, op.User, op.Group, value)
		}
		a.pushEvent(op.Group, value, done.client)
		if !reads {
			a.suspend(op.User, op.Group, value)
		}
	case store.AnswerMediatorInvite:
		if answered, ok := value.(store.MediatorAnswered); ok && answered.Event != nil {
			a.resume(c, op.User, answered.Group, *answered.Event)
			a.pushMessage(answered.Group, *answered.Event, nil)
		}
	case store.UpdateMediatorProfile:
		if r := a.hub.rooms[op.Group]; r != nil {
			a.hub.broadcast(r, pushFrame(a.hub.shared, &mediator.GotMemberInfo{
				Chat: op.Group, Members: []mediator.MemberInfo{{User: op.User, Info: op.Profile, Time: op.Time}},
			}), nil)
		}
	case store.SendMediatorInvite:
		if invite, ok := value.(store.MediatorInvite); ok {
			a.pushInvite(c, invite)
		}
	case store.DeleteMediatorGroup:
		a.pushDeleted(op, done.client, now)
	}
	a.schedule(c)
}

// suspend stops the pushes to an identity after an event.
func (a *actor) suspend(user identity.PublicKey, group mediator.ChatID, event any) {
	if m, ok := event.(store.MediatorMessage); ok {
		a.hub.suspend(user, group, m.ID)
	}
}

// maxResumed is how many messages are pushed to a connection that may be pushed to again.
const maxResumed = 256

// resume goes on with the pushes to an identity, with those that it lacks below an event:
// an app does not fetch what is older than what it has. A connection that lacks too many
// ends; the client fetches them after its next login.
func (a *actor) resume(c *kernel.Context, user identity.PublicKey, group mediator.ChatID, event any) {
	m, ok := event.(store.MediatorMessage)
	account, r := a.hub.accounts[user], a.hub.rooms[group]
	if !ok || account == nil || r == nil {
		return
	}
	for client := range account.clients {
		after, suspended := r.suspended[client]
		if !suspended {
			continue
		}
		delete(r.suspended, client)
		r.clients.add(client)
		lacking, err := a.deps.Store.MediatorMessages(group, after, maxResumed+1, maxPushBytes/2)
		if err != nil {
			c.Log().Warn("pushes not resumed", "err", err)
		}
		for _, missed := range lacking {
			if missed.ID < m.ID {
				client.push(pushFrame(a.hub.shared, &mediator.GotMessage{Chat: group, Message: wireMessage(missed)}))
			}
		}
		if err != nil || len(lacking) == 0 || len(lacking) > maxResumed || lacking[len(lacking)-1].ID < m.ID {
			client.end(errBehind)
		}
	}
}

func (a *actor) pushEvent(group mediator.ChatID, value any, but *client) {
	if m, ok := value.(store.MediatorMessage); ok {
		a.pushMessage(group, m, but)
	}
}

func (a *actor) pushMessage(group mediator.ChatID, m store.MediatorMessage, but *client) {
	if r := a.hub.rooms[group]; r != nil {
		a.hub.broadcast(r, pushFrame(a.hub.shared, &mediator.GotMessage{Chat: group, Message: wireMessage(m)}), but)
	}
}

func wireMessage(m store.MediatorMessage) mediator.Message {
	return mediator.Message{ID: m.ID, GUID: peer.GUID(m.GUID), Time: m.Time, Author: m.Author, Blob: m.Blob}
}

// pushInvite pushes an invite to the connections of the recipient.
func (a *actor) pushInvite(c *kernel.Context, invite store.MediatorInvite) {
	recipient := a.hub.accounts[invite.To]
	if recipient == nil {
		return
	}
	f, err := inviteFrame(a.deps.Store, a.hub.shared, invite)
	if errors.Is(err, store.ErrNotFound) {
		return // the group was deleted meanwhile
	}
	if err != nil {
		c.Log().Warn("invite not pushed", "err", err)
		return
	}
	for client := range recipient.clients {
		client.push(f)
	}
}

// inviteFrame encodes the push of an invite.
func inviteFrame(s *store.Store, shared *atomic.Int64, invite store.MediatorInvite) (*frame, error) {
	g, _, err := s.MediatorGroup(invite.Group)
	if err != nil {
		return nil, err
	}
	p := &mediator.GotInvite{
		Invite: invite.ID, Chat: invite.Group, From: invite.From, Time: invite.Time, Name: g.Name, Description: g.Description, Data: invite.Data,
	}
	if g.HasAvatar {
		p.Avatar = append([]byte{}, g.Avatar...)
	}
	f := pushFrame(shared, p)
	f.invite = &inviteSent{invite.ID, invite.Time}
	return f, nil
}

// pushDeleted tells the others that a group is gone.
func (a *actor) pushDeleted(op store.DeleteMediatorGroup, by *client, now int64) {
	r := a.hub.rooms[op.Group]
	if r == nil {
		signal(a.server.sweep)
		return
	}
	s := mediator.System{Event: mediator.EventChatDeleted, Actor: op.Actor, Random: random32()}
	blob := s.AppendTo(nil)
	a.hub.broadcast(r, pushFrame(a.hub.shared, &mediator.GotMessage{Chat: op.Group, Message: mediator.Message{
		GUID: mediator.SystemGUID(blob, now), Time: now, Author: a.key(), Blob: blob,
	}}), by)
	for _, c := range r.clients.list {
		delete(c.groups, op.Group)
	}
	for c := range r.suspended {
		delete(c.groups, op.Group)
	}
	a.hub.forget(r)
	signal(a.server.sweep)
}

// forget removes a room that nobody is subscribed to.
func (h *hub) forget(r *room) {
	h.settle(r)
	delete(h.rooms, r.group)
}
