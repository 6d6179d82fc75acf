// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"
)

// maxBody bounds a request; media included.
const maxBody = 64 << 20

type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func notFound(what string) *apiError {
	return &apiError{http.StatusNotFound, "M_NOT_FOUND", what + " not found"}
}

func forbidden(why string) *apiError { return &apiError{http.StatusForbidden, "M_FORBIDDEN", why} }

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"errcode": code, "error": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	answer, err := json.Marshal(v)
	if err != nil { // a handler's own answer that is not JSON
		status, answer = http.StatusInternalServerError, []byte(`{"errcode":"M_UNKNOWN"}`)
	}
	writeEncoded(w, status, answer)
}

func writeEncoded(w http.ResponseWriter, status int, answer []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(answer) // a client that went away does not matter
}

// call is one authenticated request. Handlers run with Homeserver.mu held.
type call struct {
	*http.Request
	user    id.UserID
	service *service // nil when a user calls
	body    []byte
}

func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return &apiError{http.StatusBadRequest, "M_BAD_JSON", err.Error()}
	}
	return nil
}

type handler func(c *call) (any, error)

// routes lists the API. Version prefixes are stripped first: the differences
// between them do not matter here.
func (h *Homeserver) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_matrix/client/versions", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"versions": h.versions})
	})
	mux.HandleFunc("POST /_matrix/client/v3/login", h.login)
	mux.HandleFunc("POST /_matrix/client/v1/appservice/{id}/ping", h.ping)
	for pattern, handle := range map[string]handler{
		"GET /_matrix/client/v3/account/whoami": func(c *call) (any, error) {
			return map[string]any{"user_id": c.user, "device_id": "DEVICE"}, nil
		},
		"GET /_matrix/client/v3/capabilities": func(*call) (any, error) {
			return map[string]any{"capabilities": map[string]any{}}, nil
		},
		"POST /_matrix/client/v3/register":                                    h.register,
		"POST /_matrix/client/v3/logout":                                      func(*call) (any, error) { return struct{}{}, nil },
		"POST /_matrix/client/v3/user/{user}/filter":                          func(*call) (any, error) { return map[string]string{"filter_id": "1"}, nil },
		"GET /_matrix/client/v3/user/{user}/account_data/{type}":              h.getAccountData,
		"PUT /_matrix/client/v3/user/{user}/account_data/{type}":              h.putAccountData,
		"GET /_matrix/client/v3/user/{user}/rooms/{room}/account_data/{type}": h.getAccountData,
		"PUT /_matrix/client/v3/user/{user}/rooms/{room}/account_data/{type}": h.putAccountData,
		"GET /_matrix/client/v3/profile/{user}":                               h.getProfile,
		"GET /_matrix/client/v3/profile/{user}/{key}":                         h.getProfile,
		"PUT /_matrix/client/v3/profile/{user}/{key}":                         h.putProfile,
		"POST /_matrix/client/v3/createRoom":                                  h.createRoom,
		"GET /_matrix/client/v3/joined_rooms":                                 h.joinedRooms,
		"POST /_matrix/client/v3/join/{room}":                                 h.member("join"),
		"POST /_matrix/client/v3/rooms/{room}/join":                           h.member("join"),
		"POST /_matrix/client/v3/rooms/{room}/invite":                         h.member("invite"),
		"POST /_matrix/client/v3/rooms/{room}/leave":                          h.member("leave"),
		"POST /_matrix/client/v3/rooms/{room}/kick":                           h.member("leave"),
		"POST /_matrix/client/v3/rooms/{room}/ban":                            h.member("ban"),
		"POST /_matrix/client/v3/rooms/{room}/unban":                          h.member("leave"),
		"POST /_matrix/client/v3/rooms/{room}/forget":                         func(*call) (any, error) { return struct{}{}, nil },
		"GET /_matrix/client/v3/rooms/{room}/members":                         h.listMembers,
		"GET /_matrix/client/v3/rooms/{room}/joined_members":                  h.joinedMembers,
		"GET /_matrix/client/v3/rooms/{room}/state":                           h.listState,
		"GET /_matrix/client/v3/rooms/{room}/state/{type}":                    h.getState,
		"GET /_matrix/client/v3/rooms/{room}/state/{type}/{key...}":           h.getState,
		"PUT /_matrix/client/v3/rooms/{room}/state/{type}":                    h.putState,
		"PUT /_matrix/client/v3/rooms/{room}/state/{type}/{key...}":           h.putState,
		"PUT /_matrix/client/v3/rooms/{room}/send/{type}/{txn}":               h.send,
		"PUT /_matrix/client/v3/rooms/{room}/redact/{event}/{txn}":            h.redact,
		"GET /_matrix/client/v3/rooms/{room}/event/{event}":                   h.getEvent,
		"GET /_matrix/client/v3/rooms/{room}/messages":                        h.messages,
		"PUT /_matrix/client/v3/rooms/{room}/typing/{user}":                   func(*call) (any, error) { return struct{}{}, nil },
		"POST /_matrix/client/v3/rooms/{room}/receipt/{marker}/{event}":       h.receipt,
		"POST /_matrix/client/v3/rooms/{room}/read_markers":                   h.readMarkers,
		"GET /_matrix/client/v1/media/config": func(*call) (any, error) {
			return map[string]int{"m.upload.size": maxBody}, nil
		},
		"POST /_matrix/media/v3/upload": h.upload,
	} {
		mux.Handle(pattern, h.authenticated(handle))
	}
	mux.HandleFunc("GET /_matrix/client/v1/media/download/{server}/{media}", h.download)
	mux.HandleFunc("GET /_matrix/client/v3/sync", h.sync)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "M_UNRECOGNIZED", "the fake homeserver lacks "+r.Method+" "+r.URL.Path)
	})
	return mux
}

// Routes returns the patterns of the requests of application services so far.
func (h *Homeserver) Routes() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.asked))
}

func (h *Homeserver) authenticated(handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := h.authenticate(w, r)
		if err == nil {
			var answer []byte
			if answer, err = h.answer(handle, c); err == nil {
				writeEncoded(w, http.StatusOK, answer)
				return
			}
		}
		var problem *apiError
		if !errors.As(err, &problem) {
			problem = &apiError{http.StatusInternalServerError, "M_UNKNOWN", err.Error()}
		}
		writeError(w, problem.status, problem.code, problem.message)
	})
}

// answer encodes what handle says while the state that it may point into is locked.
func (h *Homeserver) answer(handle handler, c *call) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer, err := handle(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (h *Homeserver) authenticate(w http.ResponseWriter, r *http.Request) (*call, error) {
	c := &call{Request: r}
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		return nil, err
	}
	c.body = body.Bytes()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.services {
		if s.ASToken == token {
			h.asked[r.Pattern] = true
			c.service = s
			c.user = h.userID(s.SenderLocalpart)
			if as := id.UserID(r.URL.Query().Get("user_id")); as != "" {
				c.user = as
			}
			if !s.owns(c.user, h.name) {
				return nil, &apiError{http.StatusForbidden, "M_FORBIDDEN", "not in a namespace of the service"}
			}
			if h.users[c.user] == nil && !strings.HasSuffix(r.URL.Path, "/register") {
				return nil, &apiError{http.StatusForbidden, "M_FORBIDDEN", "the user is not registered"}
			}
			return c, nil
		}
	}
	if c.user = h.tokens[token]; c.user == "" {
		return nil, &apiError{http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "unknown access token"}
	}
	return c, nil
}

// room returns the room of the path, which the caller must be in.
func (h *Homeserver) room(c *call) (*room, error) {
	r := h.rooms[id.RoomID(c.PathValue("room"))]
	if r == nil {
		return nil, notFound("room")
	}
	if r.membership(c.user) != "join" {
		return nil, forbidden(string(c.user) + " is not in the room")
	}
	return r, nil
}

func (h *Homeserver) login(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Type       string `json:"type"`
		Password   string `json:"password"`
		Identifier struct {
			User string `json:"user"`
		} `json:"identifier"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&req); err != nil {
		writeError(w, http.StatusBadRequest, "M_BAD_JSON", err.Error())
		return
	}
	user := id.UserID(req.Identifier.User)
	if !strings.HasPrefix(string(user), "@") {
		user = h.userID(string(user))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.users[user]; a == nil || a.password == "" || a.password != req.Password {
		writeError(w, http.StatusForbidden, "M_FORBIDDEN", "wrong name or password")
		return
	}
	token := "token" + h.newIDLocked()
	h.tokens[token] = user
	writeJSON(w, http.StatusOK, map[string]any{"user_id": user, "access_token": token, "device_id": "DEVICE" + token})
}

func (h *Homeserver) register(c *call) (any, error) {
	var req struct {
		Username string `json:"username"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	user := h.userID(req.Username)
	if c.service == nil || !c.service.owns(user, h.name) {
		return nil, &apiError{http.StatusBadRequest, "M_EXCLUSIVE", "not in a namespace of the service"}
	}
	if h.users[user] != nil {
		return nil, &apiError{http.StatusBadRequest, "M_USER_IN_USE", "the user exists"}
	}
	h.addUserLocked(user, "")
	return map[string]any{"user_id": user}, nil
}

// ping asks the service back, as MSC2659 says.
func (h *Homeserver) ping(w http.ResponseWriter, r *http.Request) {
	for _, s := range h.services {
		if s.ID != r.PathValue("id") {
			continue
		}
		start := time.Now()
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		body := []byte(`{"transaction_id":"ping"}`)
		if err := h.callService(r.Context(), client, s, http.MethodPost, "/_matrix/app/v1/ping", body); err != nil {
			writeError(w, http.StatusBadGateway, "M_CONNECTION_FAILED", err.Error())
			return
		}
		writeJSON(w, http.StatusOK, map[string]int64{"duration_ms": time.Since(start).Milliseconds()})
		return
	}
	writeError(w, http.StatusForbidden, "M_FORBIDDEN", "unknown service")
}

func (h *Homeserver) send(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	attempt := Send{
		At: time.Now(), Room: r.id, Sender: c.user, Type: c.PathValue("type"), TxnID: c.PathValue("txn"), Content: c.body,
	}
	if len(c.body) > 65536 || h.isRefused(string(c.body)) {
		attempt.Fault = FaultRefused
		h.sends = append(h.sends, attempt)
		h.notifyLocked()
		return nil, &apiError{http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "event too large"}
	}
	if !r.mayWrite(c.user, attempt.Type) {
		return nil, forbidden(string(c.user) + " has too little power")
	}
	key := txnKey{c.user, r.id, attempt.TxnID}
	attempt.EventID, attempt.Repeat = h.txns[key]
	if !attempt.Repeat {
		event := Event{Type: attempt.Type, Room: r.id, Sender: c.user, Content: c.body}
		if c.service != nil {
			event.Time, _ = strconv.ParseInt(c.URL.Query().Get("ts"), 10, 64) // 0 means now
		}
		attempt.EventID = h.addEventLocked(event).ID
		h.txns[key] = attempt.EventID
	}
	h.sends = append(h.sends, attempt)
	h.notifyLocked()
	return map[string]any{"event_id": attempt.EventID}, nil
}

func (h *Homeserver) isRefused(content string) bool {
	return slices.ContainsFunc(h.refused, func(text string) bool { return strings.Contains(content, text) })
}

func (h *Homeserver) redact(c *call) (any, error) {
	r, err := h.room(c)
	if err != nil {
		return nil, err
	}
	attempt := Send{
		At: time.Now(), Room: r.id, Sender: c.user, Type: "m.room.redaction", TxnID: c.PathValue("txn"), Content: c.body,
	}
	key := txnKey{c.user, r.id, attempt.TxnID}
	attempt.EventID, attempt.Repeat = h.txns[key]
	if !attempt.Repeat {
		attempt.EventID = h.addEventLocked(Event{
			Type: attempt.Type, Room: r.id, Sender: c.user, Content: c.body, Redacts: id.EventID(c.PathValue("event")),
		}).ID
		h.txns[key] = attempt.EventID
	}
	h.sends = append(h.sends, attempt)
	h.notifyLocked()
	return map[string]any{"event_id": attempt.EventID}, nil
}
