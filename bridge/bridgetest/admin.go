// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"encoding/json"

	"maunium.net/go/mautrix/id"
)

// SetMember changes a membership without asking whether sender may.
func (h *Homeserver) SetMember(roomID id.RoomID, sender, user id.UserID, membership string) {
	h.SetStateOf(roomID, sender, "m.room.member", string(user), map[string]any{"membership": membership})
}

// SetState changes the state of a room without asking whether sender may.
func (h *Homeserver) SetState(roomID id.RoomID, sender id.UserID, eventType string, content any) {
	h.SetStateOf(roomID, sender, eventType, "", content)
}

// SetStateOf is SetState for a state key.
func (h *Homeserver) SetStateOf(roomID id.RoomID, sender id.UserID, eventType, key string, content any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setStateLocked(h.rooms[roomID], sender, eventType, key, content)
}

// LongEventIDs makes the ids of events of a type so long, from now on.
func (h *Homeserver) LongEventIDs(eventType string, length int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.longIDs[eventType] = length
}

// DisplayName is the name in a user's profile.
func (h *Homeserver) DisplayName(user id.UserID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var name string
	if a := h.users[user]; a != nil {
		_ = json.Unmarshal(a.profile["displayname"], &name) // empty when there is none
	}
	return name
}

// mayWrite reports whether the power levels of a room allow a user to send an
// event.
func (r *room) mayWrite(user id.UserID, eventType string) bool {
	event := r.state[stateKey{"m.room.power_levels", ""}]
	if event == nil {
		return true
	}
	var levels struct {
		Users         map[id.UserID]int `json:"users"`
		UsersDefault  int               `json:"users_default"`
		Events        map[string]int    `json:"events"`
		EventsDefault int               `json:"events_default"`
	}
	if json.Unmarshal(event.Content, &levels) != nil {
		return true
	}
	own, known := levels.Users[user]
	if !known {
		own = levels.UsersDefault
	}
	needed, known := levels.Events[eventType]
	if !known {
		needed = levels.EventsDefault
	}
	return own >= needed
}
