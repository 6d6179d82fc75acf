// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"encoding/json"
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

// Leave takes a user out of a room.
func (h *Homeserver) Leave(roomID id.RoomID, user id.UserID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.setMemberLocked(h.rooms[roomID], user, user, "leave", nil); err != nil {
		panic(err) // whoever is in may leave
	}
}
