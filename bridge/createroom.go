// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

const (
	// roomsAtOnce bounds how many rooms are created at a time, and roomTimeout how long
	// the homeserver may take for one: it is much work, and one that is begun anew is
	// more.
	roomsAtOnce = 2
	roomTimeout = 10 * time.Minute
	// maxCreateRoom bounds what is read of a request that creates a room.
	maxCreateRoom = 256 << 10
)

// isCreateRoom reports whether a request creates a room.
func isCreateRoom(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/createRoom")
}

// createRoom creates a room, a few at a time, unless one was made already for the
// same conversation or space: when the homeserver answered too late, or the process
// ended before the answer, or the tables were lost. Then that one is the answer.
func (t *transport) createRoom(req *http.Request) (*http.Response, error) {
	select {
	case t.creating <- struct{}{}:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	case <-t.closed:
		return nil, errEnded
	}
	defer func() { <-t.creating }()
	room, err := t.roomMade(req)
	if err != nil {
		return nil, err
	}
	if room != "" {
		return answerOK(req, map[string]id.RoomID{"room_id": room}), nil
	}
	return t.do(req, t.patient, roomTimeout)
}

// roomMade looks for a room that was made for what the request is for.
func (t *transport) roomMade(req *http.Request) (id.RoomID, error) {
	if t.made == nil || req.GetBody == nil {
		return "", nil
	}
	body, err := req.GetBody()
	if err != nil {
		return "", fmt.Errorf("read a request: %w", err)
	}
	defer body.Close()
	var create struct {
		InitialState []struct {
			Type    string                   `json:"type"`
			Content event.BridgeEventContent `json:"content"`
		} `json:"initial_state"`
	}
	if json.NewDecoder(io.LimitReader(body, maxCreateRoom)).Decode(&create) != nil {
		return "", nil
	}
	for _, state := range create.InitialState {
		if key := claimedKey(&state.Content); state.Type == event.StateBridge.Type && !key.IsEmpty() {
			return t.made(req.Context(), key)
		}
	}
	return "", nil
}

// answerOK is what the library gets for a request that was not made.
func answerOK(req *http.Request, content any) *http.Response {
	body, err := json.Marshal(content)
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // our own structs
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// errAwaitTurn means that a conversation needs a room and others are being made. It
// is delivered when its turn has come.
var errAwaitTurn = errors.New("other rooms are being made")

// roomTurns lets a few conversations at a time have their rooms made, the others in
// the order in which they came. A conversation that waits takes no place of those
// that have a room. A turn lasts until the end of the delivery it was taken in, or
// was given for. The zero value is ready. It is safe for use by many goroutines.
type roomTurns struct {
	mu      sync.Mutex
	taken   map[store.Conversation]bool
	waiting []store.Conversation
}

// take reports whether it is the conversation's turn. Otherwise a later release
// returns it.
func (t *roomTurns) take(c store.Conversation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.taken[c]:
		return true
	case len(t.taken) < roomsAtOnce:
		t.give(c)
		return true
	case !slices.Contains(t.waiting, c):
		t.waiting = append(t.waiting, c)
	}
	return false
}

// release ends the turn of a conversation, if it has one, and returns those whose
// turn begins. They have to be delivered, or released as well.
func (t *roomTurns) release(c store.Conversation) (next []store.Conversation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, c)
	for len(t.waiting) > 0 && len(t.taken) < roomsAtOnce {
		t.give(t.waiting[0])
		next = append(next, t.waiting[0])
		t.waiting = t.waiting[1:]
	}
	return next
}

// forget is release for a conversation that is not delivered any more.
func (t *roomTurns) forget(c store.Conversation) (next []store.Conversation) {
	t.mu.Lock()
	t.waiting = slices.DeleteFunc(t.waiting, func(w store.Conversation) bool { return w == c })
	t.mu.Unlock()
	return t.release(c)
}

// give is called under mu.
func (t *roomTurns) give(c store.Conversation) {
	if t.taken == nil {
		t.taken = make(map[store.Conversation]bool)
	}
	t.taken[c] = true
}
