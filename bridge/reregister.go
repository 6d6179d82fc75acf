// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	// reregisterEvery is how often at most it is tested for a user whether the
	// homeserver knows them, and maxReregistered for how many users that is remembered.
	reregisterEvery = time.Minute
	maxReregistered = 10_000
)

// reregister notices that the homeserver does not know a user of the bridge any more:
// it was restored from an older copy, or set up anew. Homeservers have no common
// answer for that, and refuse whatever the user does. So a refusal makes us register
// the user again: a homeserver that knows them says so.
//
// It is safe for use by many goroutines.
type reregister struct {
	log *slog.Logger
	// isOurs tells the users of the bridge, and missed is called with one who had to be
	// registered again.
	isOurs func(id.UserID) bool
	missed func(ctx context.Context, user id.UserID)

	mu    sync.Mutex
	tried map[id.UserID]time.Time
}

// isDue reports whether a refused request is worth a test of its user.
func (r *reregister) isDue(req *http.Request, resp *http.Response) (id.UserID, bool) {
	user := id.UserID(req.URL.Query().Get("user_id"))
	if resp.StatusCode != http.StatusForbidden || user == "" || strings.HasSuffix(req.URL.Path, "/register") || !r.isOurs(user) {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.tried[user]) < reregisterEvery {
		return "", false
	}
	if r.tried == nil || len(r.tried) >= maxReregistered {
		r.tried = make(map[id.UserID]time.Time)
	}
	r.tried[user] = time.Now()
	return user, true
}

// unknownUser reports whether a request was refused because the homeserver did not
// know its user. Then it knows them now, and the request can be made again.
func (t *transport) unknownUser(req *http.Request, resp *http.Response) bool {
	if t.users == nil {
		return false
	}
	user, due := t.users.isDue(req, resp)
	if !due {
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
	answer, err := t.do(register, t.normal, requestTimeout)
	if err != nil {
		return false
	}
	_, _ = io.CopyN(io.Discard, answer.Body, maxIgnored) // or the connection is of no use any more
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return false // it knows the user, as a rule
	}
	t.users.log.Warn("the homeserver did not know a user of the bridge any more: registered again", "user_id", user)
	t.users.missed(req.Context(), user)
	return true
}

// userMissed corrects the tables for a user who was registered again: they are in no
// room, and have no profile.
func (c *connector) userMissed(ctx context.Context, user id.UserID) {
	ctx = context.WithoutCancel(ctx) // whoever waits for the answer
	if _, err := c.br.DB.Exec(ctx, "DELETE FROM mx_user_profile WHERE user_id=$1", user); err != nil {
		c.log.Warn("the rooms of a user cannot be forgotten", "user_id", user, "error", oneLine(err))
	}
	network, isGhost := c.matrix.ParseGhostMXID(user)
	if !isGhost {
		return
	}
	// The ghost in memory belongs to the delivery that is alone with it: this may be any
	// goroutine that sends. So it changes the row, and a delivery the rest.
	ghost, err := c.br.DB.Ghost.GetByID(ctx, network)
	if err != nil || ghost == nil {
		return
	}
	// The name at once, the rest with the next event of the contact.
	named := ghost.Name != "" && c.br.Matrix.GhostIntent(network).SetDisplayName(mautrix.WithMaxRetries(ctx, 0), ghost.Name) == nil
	ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named, false, false, ""
	if err := c.br.DB.Ghost.Update(ctx, ghost); err != nil {
		c.log.Warn("the profile of a ghost cannot be forgotten", "user_id", user, "error", oneLine(err))
	}
	c.missedGhosts.Store(network, named)
	c.restored.look() // more is gone, then
}
