// SPDX-License-Identifier: MPL-2.0

package people

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/config"
)

const (
	// puppetTestEvery is the least time between two tests of a token after a request with it
	// was forbidden (403), which is common, and tokenTestEvery the one after it was not
	// accepted (401).
	puppetTestEvery = time.Minute
	tokenTestEvery  = time.Second
	// puppetRetry is how often the bridge retries to act as users for whom that has failed.
	puppetRetry = time.Hour
	// maxPuppetTests bounds the tests that wait, and maxWhoami the answer to one, in bytes.
	maxPuppetTests = 64
	maxWhoami      = 64 << 10
)

// Puppets notices that the homeserver does not let the bridge act as one of its users any
// more, because their access token was logged out or the registration for it is gone. The
// bridge then stops doing so, tells the user, and their ghost speaks instead.
//
// Refused and Wake may be called from any goroutine; the other methods belong to Run.
type Puppets struct {
	deps  PuppetDeps
	tests chan puppetTest
	again chan struct{} // capacity 1: the homeserver is back

	tested  map[id.UserID]time.Time
	telling sync.WaitGroup // a user who cannot be told delays no other's test
}

// puppetTest is the test of a token that the bridge has for a user.
type puppetTest struct {
	user   id.UserID
	whoami *http.Request
	own    bool // it is a token of the user's own
	every  time.Duration
}

// PuppetDeps is what [Puppets] use.
type PuppetDeps struct {
	Bridge *bridgev2.Bridge
	Config *config.Config
	// Bot is the user that the bridge itself is.
	Bot id.UserID
	Log *slog.Logger
	// Library is the logger that bridgev2 gets.
	Library zerolog.Logger
	// Direct makes one request to the homeserver that is neither repeated nor counted.
	Direct func(*http.Request) (*http.Response, error)
	// Tell has the bot tell a user something in the room with it. It retries until stop ends,
	// and returns when it has done so or has given up. what names the text in the log.
	Tell func(stop context.Context, user *bridgev2.User, what, text string)
}

// NewPuppets returns the double puppets of a bridge. The caller runs them.
func NewPuppets(deps PuppetDeps) *Puppets {
	return &Puppets{
		deps: deps, tests: make(chan puppetTest, maxPuppetTests), again: make(chan struct{}, 1),
		tested: make(map[id.UserID]time.Time),
	}
}

// Refused is called with the status of every answer. It does not wait. It only
// queues a test: the library may hold the lock of the user.
func (p *Puppets) Refused(req *http.Request, status int) {
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return
	}
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	user := id.UserID(req.URL.Query().Get("user_id"))
	own := user == "" && token != p.deps.Config.AppService.ASToken && token != p.deps.Config.DoublePuppet.ASToken
	if token == "" || user == "" && !own || user == p.deps.Bot || p.deps.Bridge.IsGhostMXID(user) {
		return
	}
	address := *req.URL
	base, _, _ := strings.Cut(address.Path, "/_matrix/")
	address.Path, address.RawPath, address.RawQuery = base+"/_matrix/client/v3/account/whoami", "", ""
	if !own {
		address.RawQuery = "user_id=" + url.QueryEscape(string(user))
	}
	whoami, err := http.NewRequestWithContext(context.WithoutCancel(req.Context()), http.MethodGet, address.String(), nil)
	if err != nil {
		return
	}
	whoami.Header.Set("Authorization", "Bearer "+token)
	every := puppetTestEvery
	if status == http.StatusUnauthorized {
		every = tokenTestEvery
	}
	select {
	case p.tests <- puppetTest{user: user, whoami: whoami, own: own, every: every}:
	default: // as many refusals follow as there are requests
	}
}

// Wake makes Run retry the users for whom acting as them has failed.
func (p *Puppets) Wake() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// Run tests until stop ends.
func (p *Puppets) Run(stop context.Context) error {
	defer p.telling.Wait()
	retry := time.NewTicker(puppetRetry)
	defer retry.Stop()
	for {
		ctx := p.deps.Library.WithContext(stop)
		select {
		case <-stop.Done():
			return nil
		case test := <-p.tests:
			p.test(ctx, test)
		case <-retry.C:
			p.revive(ctx)
		case <-p.again:
			p.revive(ctx)
		}
	}
}

// test asks the homeserver about a token, and drops it when it is refused.
func (p *Puppets) test(ctx context.Context, test puppetTest) {
	user := p.userOf(ctx, test)
	if user == nil || !p.isDue(user.MXID, test.every) {
		return
	}
	reason, dead := p.isDead(ctx, test.whoami)
	if !dead {
		return
	}
	p.deps.Log.Warn("double puppet of a user refused", "user_id", user.MXID, "reason", reason)
	user.LogoutDoublePuppet(ctx)
	p.tell(ctx, user, test.own)
}

// userOf returns the user whose token was refused. It compares tokens with the tables:
// the library writes its copy in memory under a lock of its own.
func (p *Puppets) userOf(ctx context.Context, test puppetTest) *bridgev2.User {
	token := strings.TrimPrefix(test.whoami.Header.Get("Authorization"), "Bearer ")
	for _, login := range p.deps.Bridge.GetAllCachedUserLogins() {
		if login.UserMXID == test.user {
			return login.User
		}
		if !test.own {
			continue
		}
		if row, err := p.deps.Bridge.DB.User.GetByMXID(ctx, login.UserMXID); err == nil && row != nil && row.AccessToken == token {
			return login.User
		}
	}
	return nil
}

// isDue is called by Run alone.
func (p *Puppets) isDue(user id.UserID, every time.Duration) bool {
	if time.Since(p.tested[user]) < every {
		return false
	}
	p.tested[user] = time.Now() // one entry for each user who has a login
	return true
}

// isDead reports whether the homeserver refuses a token, and with which error code. The
// answer of a proxy does not count.
func (p *Puppets) isDead(ctx context.Context, whoami *http.Request) (reason string, dead bool) {
	resp, err := p.deps.Direct(whoami.WithContext(ctx))
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return "", false
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(io.LimitReader(resp.Body, maxWhoami)); err != nil {
		return "", false
	}
	var failure struct {
		Code string `json:"errcode"`
	}
	if json.Unmarshal(body.Bytes(), &failure) != nil || failure.Code == "" {
		return "", false
	}
	return fmt.Sprintf("%.64s", failure.Code), true
}

// tell tells a user that the bridge does not act as them any more.
func (p *Puppets) tell(ctx context.Context, user *bridgev2.User, own bool) {
	text := "The homeserver does not let the bridge act as you any more. What you write elsewhere is shown by the ghost of your identity from now on. "
	if own {
		text += "If you want that back, give the bridge another access token: `login-matrix`."
	} else {
		text += "The operator of the bridge finds out why with `mimird matrix doctor`; when it works again, the bridge acts as you again by itself."
	}
	p.telling.Go(func() { p.deps.Tell(ctx, user, "a dead token", text) })
}

// revive retries to act as the users for whom that has failed: the library tries once,
// and the homeserver may have been away.
func (p *Puppets) revive(ctx context.Context) {
	tried := make(map[id.UserID]bool)
	for _, login := range p.deps.Bridge.GetAllCachedUserLogins() {
		user := login.User
		if tried[user.MXID] || user.DoublePuppet(ctx) != nil {
			continue
		}
		tried[user.MXID] = true
		switch token := user.AccessToken; {
		case token != "":
			_ = user.LoginDoublePuppet(ctx, token) // or it stays as it is
		case p.deps.Config.DoublePuppet.Registration != config.DoublePuppetNone:
			user.LogoutDoublePuppet(ctx) // the next use tries
			if user.DoublePuppet(ctx) != nil {
				p.deps.Log.Info("double puppet of a user works again", "user_id", user.MXID)
			}
		}
	}
}
