// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"maunium.net/go/mautrix/id"
)

func (h *Homeserver) createRoom(c *call) (any, error) {
	var req createRoomRequest
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	return map[string]any{"room_id": h.createRoomLocked(c.user, req).id}, nil
}

func (h *Homeserver) joinedRooms(c *call) (any, error) {
	rooms := []id.RoomID{}
	for roomID, r := range h.rooms {
		if r.membership(c.user) == "join" {
			rooms = append(rooms, roomID)
		}
	}
	slices.Sort(rooms)
	return map[string]any{"joined_rooms": rooms}, nil
}

// member handles the endpoints that change a membership.
func (h *Homeserver) member(membership string) handler {
	return func(c *call) (any, error) {
		r := h.rooms[id.RoomID(c.PathValue("room"))]
		if r == nil {
			return nil, notFound("room")
		}
		var req struct {
			UserID id.UserID `json:"user_id"`
		}
		if err := c.decode(&req); err != nil {
			return nil, err
		}
		target := req.UserID
		if target == "" {
			target = c.user
		}
		if err := h.setMemberLocked(r, c.user, target, membership, nil); err != nil {
			return nil, err
		}
		return map[string]any{"room_id": r.id}, nil
	}
}

func (h *Homeserver) listMembers(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	events := []*Event{}
	for key, event := range r.state {
		if key.eventType == "m.room.member" {
			events = append(events, event)
		}
	}
	return map[string]any{"chunk": events}, nil
}

func (h *Homeserver) joinedMembers(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	joined := make(map[id.UserID]any)
	for _, user := range r.members("join") {
		joined[user] = struct{}{}
	}
	return map[string]any{"joined": joined}, nil
}

func (h *Homeserver) listState(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	events := []*Event{}
	for _, event := range r.state {
		events = append(events, event)
	}
	return events, nil
}

func (h *Homeserver) getState(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	event := r.state[stateKey{c.PathValue("type"), c.PathValue("key")}]
	if event == nil {
		return nil, notFound("state event")
	}
	if c.URL.Query().Get("format") == "event" {
		return event, nil
	}
	return event.Content, nil
}

func (h *Homeserver) putState(c *call) (any, error) {
	eventType, key := c.PathValue("type"), c.PathValue("key")
	r := h.rooms[id.RoomID(c.PathValue("room"))]
	if r == nil {
		return nil, notFound("room")
	}
	if eventType == "m.room.member" {
		content := make(map[string]any)
		if err := c.decode(&content); err != nil {
			return nil, err
		}
		membership, _ := content["membership"].(string)
		if err := h.setMemberLocked(r, c.user, id.UserID(key), membership, content); err != nil {
			return nil, err
		}
		return map[string]any{"event_id": r.state[stateKey{eventType, key}].ID}, nil
	}
	if _, err := h.room(c); err != nil {
		return nil, err
	}
	return map[string]any{"event_id": h.setStateLocked(r, c.user, eventType, key, json.RawMessage(c.body)).ID}, nil
}

func (h *Homeserver) getEvent(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	for _, event := range r.timeline {
		if event.ID == id.EventID(c.PathValue("event")) {
			return event, nil
		}
	}
	return nil, notFound("event")
}

// messages pages through a room. Tokens are indices into the timeline.
func (h *Homeserver) messages(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	query := c.URL.Query()
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit <= 0 {
		limit = 10
	}
	backwards := query.Get("dir") == "b"
	at, err := strconv.Atoi(query.Get("from"))
	switch {
	case err != nil && backwards:
		at = len(r.timeline)
	case err != nil:
		at = 0
	}
	at = min(max(at, 0), len(r.timeline))
	answer := map[string]any{"start": strconv.Itoa(at)}
	var chunk []*Event
	if backwards {
		from := max(0, at-limit)
		chunk = slices.Clone(r.timeline[from:at])
		slices.Reverse(chunk)
		if from > 0 {
			answer["end"] = strconv.Itoa(from)
		}
	} else {
		to := min(len(r.timeline), at+limit)
		chunk = r.timeline[at:to]
		if to < len(r.timeline) {
			answer["end"] = strconv.Itoa(to)
		}
	}
	if backwards && h.lagging > 0 {
		h.lagging--
		chunk = slices.DeleteFunc(chunk, func(e *Event) bool { return e.position >= h.lagFrom })
	}
	if chunk == nil {
		chunk = []*Event{}
	}
	answer["chunk"] = chunk
	return answer, nil
}

func (h *Homeserver) receipt(c *call) (any, error) {
	if _, err := h.room(c); err != nil {
		return nil, err
	}
	h.addReceiptLocked(c, c.PathValue("marker"), id.EventID(c.PathValue("event")))
	return struct{}{}, nil
}

func (h *Homeserver) readMarkers(c *call) (any, error) {
	if _, err := h.room(c); err != nil {
		return nil, err
	}
	var markers map[string]json.RawMessage
	if err := c.decode(&markers); err != nil {
		return nil, err
	}
	for marker, raw := range markers {
		var event id.EventID
		if json.Unmarshal(raw, &event) == nil && event != "" {
			h.addReceiptLocked(c, marker, event)
		}
	}
	return struct{}{}, nil
}

func (h *Homeserver) addReceiptLocked(c *call, marker string, event id.EventID) {
	receipt := Receipt{Room: id.RoomID(c.PathValue("room")), User: c.user, Event: event, Marker: marker}
	h.receipts = append(h.receipts, receipt)
	for _, s := range h.services {
		h.offerReceiptLocked(s, receipt)
	}
	h.notifyLocked()
}

func (h *Homeserver) getAccountData(c *call) (any, error) {
	data := h.users[c.user].data[c.PathValue("room")+"\x00"+c.PathValue("type")]
	if data == nil {
		return nil, notFound("account data")
	}
	return data, nil
}

func (h *Homeserver) putAccountData(c *call) (any, error) {
	h.users[c.user].data[c.PathValue("room")+"\x00"+c.PathValue("type")] = c.body
	h.notifyLocked()
	return struct{}{}, nil
}

func (h *Homeserver) getProfile(c *call) (any, error) {
	user := h.users[id.UserID(c.PathValue("user"))]
	if user == nil {
		return nil, notFound("user")
	}
	key := c.PathValue("key")
	if key == "" {
		return user.profile, nil
	}
	if user.profile[key] == nil {
		return struct{}{}, nil
	}
	return map[string]json.RawMessage{key: user.profile[key]}, nil
}

func (h *Homeserver) putProfile(c *call) (any, error) {
	var fields map[string]json.RawMessage
	if err := c.decode(&fields); err != nil {
		return nil, err
	}
	key := c.PathValue("key")
	if c.PathValue("user") != string(c.user) {
		return nil, forbidden("the profile of another user")
	}
	h.users[c.user].profile[key] = fields[key]
	h.notifyLocked()
	return struct{}{}, nil
}

func (h *Homeserver) upload(c *call) (any, error) {
	name := "media" + h.newIDLocked()
	h.media[name] = c.body
	return map[string]string{"content_uri": "mxc://" + h.name + "/" + name}, nil
}

func (h *Homeserver) download(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	data, ok := h.media[r.PathValue("media")]
	h.mu.Unlock()
	if !ok {
		writeError(w, http.StatusNotFound, "M_NOT_FOUND", "no such media")
		return
	}
	w.Header().Set("Content-Type", http.DetectContentType(data))
	_, _ = w.Write(data) // a client that went away does not matter
}

// sync answers at once when there is something new, or when it is the first one;
// otherwise it waits. Tokens are stream positions.
func (h *Homeserver) sync(w http.ResponseWriter, r *http.Request) {
	c, err := h.authenticate(w, r)
	if err != nil {
		writeError(w, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", err.Error())
		return
	}
	since, sinceErr := strconv.Atoi(r.URL.Query().Get("since"))
	wait, _ := strconv.Atoi(r.URL.Query().Get("timeout")) // 0 means not at all
	timeout := time.NewTimer(time.Duration(wait) * time.Millisecond)
	defer timeout.Stop()
	for waiting := sinceErr == nil; ; {
		h.mu.Lock()
		changed := h.changed
		answer, news := h.syncLocked(c.user, since)
		encoded, err := json.Marshal(answer) // while the events that it points to are locked
		h.mu.Unlock()
		if err != nil {
			writeError(w, http.StatusInternalServerError, "M_UNKNOWN", err.Error())
			return
		}
		if news || !waiting {
			writeEncoded(w, http.StatusOK, encoded)
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			waiting = false
		case <-r.Context().Done():
			return
		}
	}
}

func (h *Homeserver) syncLocked(user id.UserID, since int) (answer any, news bool) {
	type list struct {
		Events []*Event `json:"events"`
	}
	join, invite := map[id.RoomID]any{}, map[id.RoomID]any{}
	for roomID, r := range h.rooms {
		own := r.state[stateKey{"m.room.member", string(user)}]
		switch r.membership(user) {
		case "join":
			from := since
			if own.position > since && since > 0 { // joined since: from the start
				from = 0
			}
			timeline := list{Events: []*Event{}}
			for _, event := range r.timeline {
				if event.position > from {
					timeline.Events = append(timeline.Events, event)
				}
			}
			if len(timeline.Events) > 0 {
				join[roomID] = map[string]any{"timeline": timeline}
			}
		case "invite":
			if own.position > since {
				state := list{}
				for _, event := range r.state {
					state.Events = append(state.Events, event)
				}
				invite[roomID] = map[string]any{"invite_state": state}
			}
		}
	}
	return map[string]any{
		"next_batch": strconv.Itoa(len(h.stream)),
		"rooms":      map[string]any{"join": join, "invite": invite},
	}, len(join)+len(invite) > 0
}
