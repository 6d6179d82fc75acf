// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"
)

type room struct {
	id       id.RoomID
	state    map[stateKey]*Event
	timeline []*Event
}

type stateKey struct{ eventType, key string }

func (r *room) membership(user id.UserID) string {
	event := r.state[stateKey{"m.room.member", string(user)}]
	if event == nil {
		return ""
	}
	var content struct {
		Membership string `json:"membership"`
	}
	_ = json.Unmarshal(event.Content, &content) // made by setMemberLocked, or none of our concern
	return content.Membership
}

func (r *room) members(membership string) []id.UserID {
	var users []id.UserID
	for key := range r.state {
		if key.eventType == "m.room.member" && r.membership(id.UserID(key.key)) == membership {
			users = append(users, id.UserID(key.key))
		}
	}
	slices.Sort(users)
	return users
}

// addEventLocked puts an event into its room and wakes waiting requests.
func (h *Homeserver) addEventLocked(event Event) *Event {
	r := h.rooms[event.Room]
	event.ID = id.EventID("$event" + h.newIDLocked())
	if long := h.longIDs[event.Type] - len(event.ID); long > 0 {
		event.ID += id.EventID(strings.Repeat("x", long))
	}
	if event.Time == 0 {
		event.Time = time.Now().UnixMilli()
	}
	if len(event.Content) == 0 {
		event.Content = json.RawMessage("{}")
	}
	event.position = len(h.stream) + 1
	h.stream = append(h.stream, &event)
	r.timeline = append(r.timeline, &event)
	if event.StateKey != nil {
		r.state[stateKey{event.Type, *event.StateKey}] = &event
	}
	if event.Type == "m.room.redaction" {
		for _, target := range r.timeline {
			if target.ID == event.Redacts {
				target.Content = json.RawMessage("{}")
			}
		}
	}
	h.notifyLocked()
	return &event
}

func (h *Homeserver) setStateLocked(r *room, sender id.UserID, eventType, key string, content any) *Event {
	raw, isRaw := content.(json.RawMessage)
	if !isRaw {
		encoded, err := json.Marshal(content)
		if err != nil {
			panic(err) // our own maps
		}
		raw = encoded
	}
	return h.addEventLocked(Event{Type: eventType, Room: r.id, Sender: sender, StateKey: &key, Content: raw})
}

// setMemberLocked changes a membership after checking that sender may do that.
func (h *Homeserver) setMemberLocked(r *room, sender, target id.UserID, membership string, content map[string]any) *apiError {
	before, own := r.membership(target), r.membership(sender)
	allowed := false
	switch membership {
	case "join":
		allowed = sender == target && (before == "invite" || before == "join")
	case "invite":
		if before == "join" {
			return &apiError{http.StatusForbidden, "M_FORBIDDEN", fmt.Sprintf("%s is already in the room", target)}
		}
		allowed = own == "join" && before != "ban"
	case "leave":
		allowed = sender == target && before != "" || own == "join"
	case "ban":
		allowed = own == "join"
	}
	if !allowed {
		return &apiError{http.StatusForbidden, "M_FORBIDDEN", fmt.Sprintf("%s may not make %s %s", sender, target, membership)}
	}
	if before == membership && len(content) == 0 {
		return nil
	}
	if content == nil {
		content = make(map[string]any)
	}
	content["membership"] = membership
	if user := h.users[target]; user != nil && membership != "leave" && membership != "ban" {
		for key, value := range user.profile {
			if content[key] == nil {
				content[key] = value
			}
		}
	}
	h.setStateLocked(r, sender, "m.room.member", string(target), content)
	return nil
}

type createRoomRequest struct {
	Name         string         `json:"name"`
	Topic        string         `json:"topic"`
	IsDirect     bool           `json:"is_direct"`
	Invite       []id.UserID    `json:"invite"`
	Creation     map[string]any `json:"creation_content"`
	PowerLevels  map[string]any `json:"power_level_content_override"`
	InitialState []struct {
		Type     string          `json:"type"`
		StateKey string          `json:"state_key"`
		Content  json.RawMessage `json:"content"`
	} `json:"initial_state"`
}

func (h *Homeserver) createRoomLocked(creator id.UserID, req createRoomRequest) *room {
	r := &room{id: id.RoomID("!room" + h.newIDLocked() + ":" + h.name), state: make(map[stateKey]*Event)}
	h.rooms[r.id] = r
	if req.Creation == nil {
		req.Creation = make(map[string]any)
	}
	req.Creation["creator"], req.Creation["room_version"] = creator, "10"
	h.setStateLocked(r, creator, "m.room.create", "", req.Creation)
	h.setStateLocked(r, creator, "m.room.member", string(creator), map[string]any{"membership": "join"})
	levels := map[string]any{"users": map[id.UserID]int{creator: 100}}
	maps.Copy(levels, req.PowerLevels)
	h.setStateLocked(r, creator, "m.room.power_levels", "", levels)
	h.setStateLocked(r, creator, "m.room.join_rules", "", map[string]any{"join_rule": "invite"})
	for _, event := range req.InitialState {
		h.setStateLocked(r, creator, event.Type, event.StateKey, event.Content)
	}
	if req.Name != "" {
		h.setStateLocked(r, creator, "m.room.name", "", map[string]any{"name": req.Name})
	}
	if req.Topic != "" {
		h.setStateLocked(r, creator, "m.room.topic", "", map[string]any{"topic": req.Topic})
	}
	for _, user := range req.Invite {
		content := make(map[string]any)
		if req.IsDirect {
			content["is_direct"] = true
		}
		_ = h.setMemberLocked(r, creator, user, "invite", content) // the creator may
	}
	return r
}
