// SPDX-License-Identifier: MPL-2.0

package fakemediator

import (
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// What others do at the mediator, without a connection of their own.

// AddChat makes a group of somebody, who is its owner, with the members given.
func (m *Mediator) AddChat(name string, creator identity.PublicKey, members ...identity.PublicKey) *Chat {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.addChat(name, string(creator[:]))
	for _, x := range members {
		c.Members[string(x[:])] = &Member{Permissions: User}
	}
	return c
}

// Chat returns the group with an id, nil for none.
func (m *Mediator) Chat(id int64) *Chat {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.chats[id]
}

// Chats returns how many groups there are.
func (m *Mediator) Chats() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.chats)
}

// Say stores and pushes a message of somebody.
func (m *Mediator) Say(c *Chat, author identity.PublicKey, guid int64, blob []byte) Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.store(c, Message{GUID: guid, Time: time.Now().Unix(), Author: string(author[:]), Blob: blob})
	m.pushAll(c, nil, x)
	return x
}

// SetRole gives a member other permissions, as another member would.
func (m *Mediator) SetRole(c *Chat, member, actor identity.PublicKey, permissions byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := c.Members[string(member[:])]
	x.Permissions, x.Banned = permissions, permissions&Banned != 0
	blob := append(append([]byte{7}, member[:]...), permissions)
	m.say(c, nil, append(append(blob, actor[:]...), random()...))
}

// Ban bans a member, as another member would.
func (m *Mediator) Ban(c *Chat, member, actor identity.PublicKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := c.Members[string(member[:])]; x != nil {
		x.Banned, x.Permissions = true, x.Permissions|Banned
	}
	m.say(c, nil, system(4, string(member[:]), string(actor[:])))
}

// Add makes somebody a member again, as another member would, and tells those who are
// subscribed: also who was banned, until their connection ends.
func (m *Mediator) Add(c *Chat, member, actor identity.PublicKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Members[string(member[:])] = &Member{Permissions: User, Changed: time.Now().Unix()}
	m.say(c, nil, system(1, string(member[:]), string(actor[:])))
}

// Delete deletes a message, as its author would.
func (m *Mediator) Delete(c *Chat, guid int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range c.Messages {
		if x.GUID == guid {
			_, _, after := m.deleteMessage(&Line{user: x.Author}, Call{Fields: parseFields(Number(0x12, guid))}, c, false)
			after()
			return
		}
	}
}

// Invite invites somebody with the data of a wrapped key.
func (m *Mediator) Invite(c *Chat, from, to identity.PublicKey, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextID++
	i := &invite{id: m.nextID, chat: c.ID, from: string(from[:]), to: string(to[:]), data: data}
	m.invites[i.id] = i
	m.offer(i)
}

// Profile gives a member a profile.
func (m *Mediator) Profile(c *Chat, member identity.PublicKey, blob []byte, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := c.Members[string(member[:])]
	x.Info, x.InfoTime, x.Changed = blob, at, at
	for l := range c.subscribed {
		m.deliver(l, Frame(2, 0x54, Number(0x10, c.ID), count(1), Field(0x15, member[:]), Field(0x24, blob), Number(0x32, at)))
	}
}

// Shrink forgets the messages above a number, as a mediator does whose database was
// restored.
func (m *Mediator) Shrink(c *Chat, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Messages = slices.DeleteFunc(c.Messages, func(x Message) bool { return x.ID > last })
	c.last = last
}

// Of returns the messages of an author in a group.
func (m *Mediator) Of(c *Chat, author identity.PublicKey) (found []Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range c.Messages {
		if x.Author == string(author[:]) {
			found = append(found, x)
		}
	}
	return found
}

// Member returns a copy of a member, nil for none.
func (m *Mediator) Member(c *Chat, member identity.PublicKey) *Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := c.Members[string(member[:])]; x != nil {
		copied := *x
		return &copied
	}
	return nil
}

// Flood pushes a message with a number that does not exist, n times.
func (m *Mediator) Flood(c *Chat, number int64, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.pushAll(c, nil, Message{ID: number, GUID: number, Author: c.Creator, Blob: make([]byte, 40)})
	}
}
