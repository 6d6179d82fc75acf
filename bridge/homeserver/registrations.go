// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	// reregisterEvery is the least time between two tests whether the homeserver knows a
	// user, and maxReregistered bounds the users whose last test is remembered.
	reregisterEvery = time.Minute
	maxReregistered = 10_000
)

// registrations notices that the homeserver does not know a user of the bridge any more:
// it was restored from an older copy, or set up anew. Homeservers have no common
// answer for that, and refuse whatever the user does. So a refusal makes the transport
// register the user again: a homeserver that knows them says so.
//
// It is safe for use by many goroutines.
type registrations struct {
	mu    sync.Mutex
	tried map[id.UserID]time.Time
}

// isDue reports whether the test of a user is due. If so, it counts as done now.
func (r *registrations) isDue(user id.UserID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.tried[user]) < reregisterEvery {
		return false
	}
	if r.tried == nil || len(r.tried) >= maxReregistered {
		r.tried = make(map[id.UserID]time.Time)
	}
	r.tried[user] = time.Now()
	return true
}

// unknownUser reports whether a request was refused because the homeserver did not
// know its user. Then the user is registered now, and the request can be repeated.
func (t *Transport) unknownUser(req *http.Request, resp *http.Response) bool {
	user := id.UserID(req.URL.Query().Get("user_id"))
	if t.deps.IsOurs == nil || resp.StatusCode != http.StatusForbidden || user == "" ||
		strings.HasSuffix(req.URL.Path, "/register") || !t.deps.IsOurs(user) || !t.isDue(user) {
		return false
	}
	body, err := json.Marshal(map[string]any{
		"type": mautrix.AuthTypeAppservice, "username": user.Localpart(), "inhibit_login": true,
	})
	if err != nil {
		return false
	}
	address := *req.URL
	base, _, _ := strings.Cut(address.Path, "/_matrix/")
	address.Path, address.RawPath, address.RawQuery = base+"/_matrix/client/v3/register", "", "kind=user"
	register, err := http.NewRequestWithContext(req.Context(), http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	register.Header.Set("Authorization", req.Header.Get("Authorization"))
	register.Header.Set("Content-Type", "application/json")
	answer, err := t.Direct(register)
	if err != nil {
		return false
	}
	_, _ = io.CopyN(io.Discard, answer.Body, maxIgnored) // or the connection cannot be reused
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return false // the homeserver knows the user, as a rule
	}
	t.deps.Log.Warn("user unknown to the homeserver, registered again", "user_id", user)
	t.deps.Registered(req.Context(), user)
	return true
}
