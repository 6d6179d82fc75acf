// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"maunium.net/go/mautrix/id"
)

// Copy is what a homeserver had at some time. It is for one homeserver.
type Copy struct {
	users map[id.UserID]*account
	rooms map[id.RoomID]*room
}

// Backup copies the users and the rooms.
func (h *Homeserver) Backup() *Copy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return copyOf(h.users, h.rooms)
}

// Restore makes the homeserver what it was at the time of the copy, but for the
// tokens of its users. What it has pushed to application services stays pushed, and
// ids are not used again.
func (h *Homeserver) Restore(c *Copy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	restored := copyOf(c.users, c.rooms)
	h.users, h.rooms = restored.users, restored.rooms
	clear(h.txns)
	h.notifyLocked()
}

// Empty makes the homeserver one that was just set up, with the users that can log in
// and nothing else.
func (h *Homeserver) Empty() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for user, account := range h.users {
		if account.password == "" && !slices.ContainsFunc(h.services, func(s *service) bool { return h.userID(s.SenderLocalpart) == user }) {
			delete(h.users, user)
		}
	}
	clear(h.rooms)
	clear(h.txns)
	h.notifyLocked()
}

func copyOf(users map[id.UserID]*account, rooms map[id.RoomID]*room) *Copy {
	c := &Copy{users: make(map[id.UserID]*account), rooms: make(map[id.RoomID]*room)}
	for name, user := range users {
		c.users[name] = &account{
			password: user.password, profile: maps.Clone(user.profile), data: maps.Clone(user.data),
		}
	}
	for name, r := range rooms {
		timeline := make([]*Event, len(r.timeline))
		for i, event := range r.timeline {
			clone := *event
			clone.Content = append(json.RawMessage(nil), event.Content...)
			timeline[i] = &clone
		}
		c.rooms[name] = &room{id: r.id, state: maps.Clone(r.state), timeline: timeline}
	}
	return c
}

// saved is what a homeserver had when an earlier program stopped, see Load.
type saved struct {
	Users map[id.UserID]struct {
		Password string                     `json:"password"`
		Profile  map[string]json.RawMessage `json:"profile"`
		Data     map[string]json.RawMessage `json:"data"`
	} `json:"users"`
	Events       []*Event `json:"events"` // of all rooms, in order
	Transactions []struct {
		User  id.UserID
		Room  id.RoomID
		Txn   string
		Event id.EventID
	} `json:"transactions"`
	NextID int `json:"next_id"`
	Pushed int `json:"pushed"` // how many events the application services have
}

// Load makes a new homeserver one that was saved.
func (h *Homeserver) Load(state []byte) error {
	var s saved
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("load homeserver: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, user := range s.Users {
		a := &account{password: user.Password, profile: maps.Clone(user.Profile), data: maps.Clone(user.Data)}
		if a.profile == nil {
			a.profile = make(map[string]json.RawMessage)
		}
		if a.data == nil {
			a.data = make(map[string]json.RawMessage)
		}
		h.users[name] = a
	}
	for i, event := range s.Events {
		event.position = i + 1
		r := h.rooms[event.Room]
		if r == nil {
			r = &room{id: event.Room, state: make(map[stateKey]*Event)}
			h.rooms[event.Room] = r
		}
		r.timeline = append(r.timeline, event)
		if event.StateKey != nil {
			r.state[stateKey{event.Type, *event.StateKey}] = event
		}
	}
	for _, t := range s.Transactions {
		h.txns[txnKey{t.User, t.Room, t.Txn}] = t.Event
	}
	h.stream, h.nextID = s.Events, s.NextID
	for _, service := range h.services {
		service.next = s.Pushed
		service.transactions = len(s.Events) // not less than there were
	}
	h.notifyLocked()
	return nil
}

// Leave takes a user out of a room.
func (h *Homeserver) Leave(roomID id.RoomID, user id.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.setMemberLocked(h.rooms[roomID], user, user, "leave", nil); err != nil {
		panic(err) // a member may leave
	}
}
