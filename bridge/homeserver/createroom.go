// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/mimirid"
)

const (
	// RoomsAtOnce bounds how many rooms are created at the same time, and roomTimeout how
	// long the homeserver may take for one: it is much work, and a second attempt is more.
	RoomsAtOnce = 2
	roomTimeout = 10 * time.Minute
	// maxCreateRoom bounds what is read of a request that creates a room.
	maxCreateRoom = 256 << 10
)

// isCreateRoom reports whether a request creates a room.
func isCreateRoom(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/createRoom")
}

// createRoom creates a room, a few at the same time, unless one exists for the same
// conversation or Matrix space: the homeserver answered too late, the process ended before
// the answer, or the tables were lost. Then that room is the answer.
func (t *Transport) createRoom(req *http.Request) (*http.Response, error) {
	select {
	case t.creating <- struct{}{}:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	case <-t.closed:
		return nil, errEnded
	}
	defer func() { <-t.creating }()
	key, err := createKey(req)
	if err != nil {
		return nil, err
	}
	if key.IsEmpty() || t.deps.FindRoom == nil {
		return t.do(req, t.rooms, roomTimeout)
	}
	room, err := t.deps.FindRoom(req.Context(), key)
	if err != nil {
		return nil, err
	}
	if room != "" {
		return answerOK(req, map[string]id.RoomID{"room_id": room}), nil
	}
	resp, err := t.do(req, t.rooms, roomTimeout)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	return resp, t.noteCreated(resp, key)
}

// createKey returns what a request creates a room for, as [RoomKey] does. It is empty for
// rooms of neither kind.
func createKey(req *http.Request) (networkid.PortalKey, error) {
	if req.GetBody == nil {
		return networkid.PortalKey{}, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return networkid.PortalKey{}, fmt.Errorf("read a request: %w", err)
	}
	defer body.Close()
	var create struct {
		InitialState []struct {
			Type    string                   `json:"type"`
			Content event.BridgeEventContent `json:"content"`
		} `json:"initial_state"`
	}
	if json.NewDecoder(io.LimitReader(body, maxCreateRoom)).Decode(&create) != nil {
		return networkid.PortalKey{}, nil
	}
	for _, state := range create.InitialState {
		if key := RoomKey(&state.Content); state.Type == event.StateBridge.Type && !key.IsEmpty() {
			return key, nil
		}
	}
	return networkid.PortalKey{}, nil
}

// noteCreated calls RoomCreated with the room of an answer, and leaves the answer to be
// read again. An answer that is cut counts as none.
func (t *Transport) noteCreated(resp *http.Response, key networkid.PortalKey) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) //nolint:forbidigo // it is limited
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	var created struct {
		RoomID id.RoomID `json:"room_id"`
	}
	if json.Unmarshal(body, &created) == nil && created.RoomID != "" && t.deps.RoomCreated != nil {
		t.deps.RoomCreated(created.RoomID, key)
	}
	return nil
}

// answerOK is the answer that the library gets to a request that was not sent.
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

// SpaceChannel is the channel id of a login's Matrix space in the state that the library
// writes into the room.
const SpaceChannel = "__personal_filtering_space__"

// RoomKey returns which conversation, or which login's Matrix space, a room is for,
// by the m.bridge state that the library writes. It is empty for other state.
func RoomKey(content *event.BridgeEventContent) networkid.PortalKey {
	key := networkid.PortalKey{ID: networkid.PortalID(content.Channel.ID), Receiver: networkid.UserLoginID(content.Channel.Receiver)}
	if key.ID == SpaceChannel {
		if _, err := mimirid.ParseLogin(key.Receiver); err == nil {
			return key
		}
		return networkid.PortalKey{}
	}
	if _, _, err := mimirid.ParsePortal(key); err != nil {
		return networkid.PortalKey{}
	}
	return key
}
