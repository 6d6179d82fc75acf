// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"slices"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

const (
	// presenceWindow is for how long changes of presence are collected before they are
	// sent; what changed back meanwhile is sent once.
	presenceWindow = 200 * time.Millisecond
	// presenceBatch is how many changes of one group are sent in a window, together.
	presenceBatch = 64
	// maxPresence is in how many connections of a group changes are sent to all. In a
	// larger one only the member itself is told; the others ask with GET_MEMBERS.
	maxPresence = 1000
	// seenWindow is how often is written who was connected last, seenBatch at most in one
	// operation.
	seenWindow = 2 * time.Second
	seenBatch  = 256
)

// presence is what the hub has to tell of who comes and goes.
type presence struct {
	// dirty are the rooms with changes, in the order in which they got them.
	dirty  []*room
	sends  bool // the timer runs
	seen   []store.MediatorSeen
	writes bool // (same)
}

// change notes that the presence of an identity in a room is to be sent.
func (p *presence) change(r *room, user identity.PublicKey) {
	if _, noted := r.changing[user]; noted {
		return
	}
	if len(r.changed) == 0 {
		p.dirty = append(p.dirty, r)
	}
	r.changing[user] = struct{}{}
	r.changed = append(r.changed, user)
}

// settle drops the changes of a room that nobody is in.
func (p *presence) settle(r *room) {
	if len(r.changed) > 0 {
		r.changed = nil
		clear(r.changing)
		p.dirty = slices.DeleteFunc(p.dirty, func(d *room) bool { return d == r })
	}
}

// presenceDue reports whether the timer has to be started.
func (p *presence) presenceDue() bool {
	if p.sends || len(p.dirty) == 0 {
		return false
	}
	p.sends = true
	return true
}

// sendPresence sends the changes, a batch for each room.
func (h *hub) sendPresence(author identity.PublicKey, now int64) {
	h.sends = false
	rooms := h.dirty
	h.dirty = nil
	for _, r := range rooms {
		batch := r.changed[:min(len(r.changed), presenceBatch)]
		for _, user := range batch {
			delete(r.changing, user)
		}
		if len(r.clients.list) > maxPresence {
			h.tellThemselves(r, batch, author, now)
		} else {
			pushes := make([]mediator.Push, 0, len(batch))
			for _, user := range batch {
				pushes = append(pushes, presencePush(r, user, author, now))
			}
			h.broadcast(r, pushFrame(h.shared, pushes...), nil)
		}
		if r.changed = slices.Clone(r.changed[len(batch):]); len(r.changed) > 0 {
			h.dirty = append(h.dirty, r)
		}
	}
}

// tellThemselves sends the changes to those whom they are about.
func (h *hub) tellThemselves(r *room, users []identity.PublicKey, author identity.PublicKey, now int64) {
	for _, user := range users {
		a := h.accounts[user]
		if a == nil || r.connections[user] == 0 {
			continue
		}
		f := pushFrame(h.shared, presencePush(r, user, author, now))
		for c := range a.clients {
			if r.clients.has(c) {
				c.push(f)
			}
		}
	}
}

// presencePush says whether an identity is connected to a group now.
func presencePush(r *room, user, author identity.PublicKey, now int64) mediator.Push {
	s := mediator.System{Event: mediator.EventMemberOnline, User: user, Online: r.connections[user] > 0, Time: now}
	blob := s.AppendTo(nil)
	return &mediator.GotMessage{Chat: r.group, Message: mediator.Message{
		GUID: mediator.SystemGUID(blob, now), Time: now, Author: author, Blob: blob,
	}}
}

// observe notes when the last connection of an identity to a group ended.
func (p *presence) observe(group mediator.ChatID, user identity.PublicKey, now int64) {
	p.seen = append(p.seen, store.MediatorSeen{Group: group, User: user, Time: now})
}

func (p *presence) seenDue() bool {
	if p.writes || len(p.seen) == 0 {
		return false
	}
	p.writes = true
	return true
}

// takeSeen returns the operations that write who was seen.
func (p *presence) takeSeen() (ops []store.NoteMediatorSeen) {
	for part := range slices.Chunk(p.seen, seenBatch) {
		ops = append(ops, store.NoteMediatorSeen{Seen: part})
	}
	p.seen, p.writes = nil, false
	return ops
}
