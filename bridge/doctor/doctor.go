// SPDX-License-Identifier: MPL-2.0

// Package doctor is `mimird matrix doctor`: it checks, in both directions, whether the
// bridge and its homeserver can work with each other, and says what to do about each
// problem. It knows the configuration, makes requests of its own, and listens in place of
// a bridge that does not run. It does not need a running node and changes nothing. Only
// the command calls it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
)

// Result is the outcome of a check.
type Result string

// The results of checks.
const (
	OK      Result = "ok"
	Warning Result = "warning" // the bridge works, with limitations
	Failed  Result = "failed"
	Skipped Result = "skipped" // a check before it failed, or the feature is switched off
)

// Check is one check of [Diagnose].
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	// Found says what the check found, and Remedy what to do about it, each in a sentence.
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// Options are the parameters of [Diagnose].
type Options struct {
	Config *config.Config
	// Dir is the directory with the registration files that the homeserver was given.
	Dir string
	// Wait is the time within which the homeserver must reach the bridge; 0 means 30 s.
	Wait time.Duration
	// Node returns the state of the node that should run the bridge. Nil means that there
	// is no node to ask.
	Node func(context.Context) NodeState
	// Report, if set, is called with each check when it has ended.
	Report func(Check)
}

// NodeState is the state of the node that should run the bridge.
type NodeState struct {
	// Role says whether the configuration gives the node the role matrix.
	Role bool
	// Runs says whether a node is running. Status is that of its bridge, nil without one,
	// and Error the answer in place of a status.
	Runs   bool
	Status *bridge.Status
	Error  string
}

// clockTolerance is the largest difference of the clocks that is not reported.
const clockTolerance = 30 * time.Second

// Diagnose runs all checks, in order, and returns their outcomes. Their only trace is a
// room that the bot creates and leaves. If the bridge is not running, Diagnose listens in
// its place and refuses the transactions, which the homeserver then keeps. It returns
// early when ctx ends.
func Diagnose(ctx context.Context, o Options) []Check {
	if o.Wait == 0 {
		o.Wait = 30 * time.Second
	}
	d := &doctor{Options: o, server: homeserver.NewProbe(o.Config.Homeserver.Address)}
	defer d.server.Close()
	for _, check := range []struct {
		name string
		run  func(context.Context) Check
		need *bool // set by a check before this one
	}{
		{"configuration", d.configuration, nil},
		{"permissions", d.permissions, &d.configured},
		{"registration", d.registration, &d.configured},
		{"homeserver", d.homeserver, &d.configured},
		{"versions", d.versions, &d.answers},
		{"clock", d.clock, &d.answers},
		{"as_token", d.asToken, &d.answers},
		{"listener", d.listener, &d.configured},
		{"hs_token", d.hsToken, &d.both},
		{"double puppet", d.doublePuppet, &d.known},
		{"encryption", d.encryption, &d.known},
		{"public media", d.publicMedia, &d.listens},
		{"node", d.node, nil},
	} {
		d.both = d.known && d.listens
		result := Check{Result: Skipped, Found: "cannot be tested before what is above is right"}
		if check.need == nil || *check.need {
			result = check.run(ctx)
		}
		result.Name = check.name
		d.checks = append(d.checks, result)
		if o.Report != nil {
			o.Report(result)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if d.own != nil {
		d.own.Close(0)
	}
	return d.checks
}

// doctor is one run of [Diagnose].
type doctor struct {
	Options
	server *homeserver.Probe
	own    *appservice.Listener // in place of a bridge that is not running
	checks []Check

	configured, answers, known, listens, both bool
	spec                                      mautrix.RespVersions
}

// fine returns a check that found no problem.
func fine(format string, args ...any) Check {
	return Check{Result: OK, Found: fmt.Sprintf(format, args...)}
}

// failed returns a check that found a problem which keeps the bridge from working.
func failed(remedy, format string, args ...any) Check {
	return Check{Result: Failed, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

// warning returns a check that found a limitation.
func warning(remedy, format string, args ...any) Check {
	return Check{Result: Warning, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

// skipped returns a check that did not run.
func skipped(found string) Check {
	return Check{Result: Skipped, Found: found}
}

func (d *doctor) configuration(context.Context) Check {
	if err := d.Config.CheckFilledIn(); err != nil {
		return failed("edit it, then: mimird matrix -g", "homeserver.domain or bridge.permissions is still that of the example")
	}
	if err := d.Config.CheckSecrets(); err != nil {
		return failed("run: mimird matrix -g", "the tokens are missing")
	}
	d.configured = true
	return fine("it is complete")
}

func (d *doctor) permissions(context.Context) Check {
	var users, admins []string
	for who, level := range d.Config.Bridge.Permissions {
		_, domain, isUser := strings.Cut(who, ":")
		if !isUser {
			domain = who
		}
		if level == nil || !level.Login || (domain != d.Config.Homeserver.Domain && domain != "*") {
			continue
		}
		users = append(users, who)
		if level.Admin {
			admins = append(admins, who)
		}
	}
	slices.Sort(admins)
	remedy := fmt.Sprintf("add \"@you:%s\": admin to bridge.permissions", d.Config.Homeserver.Domain)
	switch {
	case len(users) == 0:
		return failed(remedy, "nobody of %s may log in", d.Config.Homeserver.Domain)
	case len(admins) == 0:
		return warning(remedy, "nobody may use the identities of this node")
	default:
		return fine("%d entries, admins: %s", len(d.Config.Bridge.Permissions), strings.Join(admins, ", "))
	}
}

// registration compares the registration files in Dir with the configuration.
func (d *doctor) registration(context.Context) Check {
	const remedy = "run mimird matrix -g, and restart the homeserver"
	files, err := d.Config.Registrations()
	if err != nil {
		return failed(remedy, "%s", fault.OneLine(err))
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, file.Name)
		have, err := os.ReadFile(filepath.Join(d.Dir, file.Name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return warning(remedy, "there is no %s to compare with", file.Name)
		case err != nil:
			return warning("look at the file's permissions", "%s cannot be read: %s", file.Name, fault.OneLine(err))
		case !config.SameRegistration(have, file.Content):
			return failed(remedy, "%s does not fit the configuration any more", file.Name)
		}
	}
	return fine("%s fits the configuration", strings.Join(names, ", "))
}

func (d *doctor) homeserver(ctx context.Context) Check {
	address := d.Config.Homeserver.Address
	answer := d.server.Ask(ctx, "GET", "/_matrix/client/versions", "", nil, &d.spec)
	switch {
	case answer.Err != nil:
		return failed("start the homeserver, or correct homeserver.address", "nothing answers at %s: %s", address, fault.OneLine(answer.Err))
	case answer.Status != 200 || len(d.spec.Versions) == 0:
		return failed("correct homeserver.address: it is the address without /_matrix",
			"what answers at %s is not a homeserver (HTTP status %d)", address, answer.Status)
	}
	d.answers = true
	d.server.Date = answer.Date
	return fine("%s answers at %s", d.server.Software(ctx), address)
}

func (d *doctor) versions(context.Context) Check {
	latest := d.spec.GetLatest()
	if minSpecVersion.GreaterThan(latest) {
		if !d.Config.Homeserver.IgnoreUnsupported {
			return failed("set homeserver.ignore_unsupported to true",
				"the homeserver announces Matrix %s only, and homeserver.ignore_unsupported is false", latest)
		}
		return warning("none is needed; a newer homeserver may offer more", "the homeserver announces Matrix %s only", latest)
	}
	return fine("the homeserver announces Matrix %s", latest)
}

func (d *doctor) clock(context.Context) Check {
	if d.server.Date.IsZero() {
		return skipped("the homeserver does not say what time it is")
	}
	apart := time.Since(d.server.Date).Round(time.Second)
	if apart.Abs() > clockTolerance {
		return warning("set both clocks, such as with NTP", "the homeserver's clock and this one are %s apart", apart.Abs())
	}
	return fine("the homeserver's clock and this one agree")
}

// asToken checks whether the homeserver knows the bridge.
func (d *doctor) asToken(ctx context.Context) Check {
	bot := id.NewUserID(d.Config.AppService.Bot.Username, d.Config.Homeserver.Domain)
	answer := d.server.Ask(ctx, "POST", "/_matrix/client/v3/register?kind=user", d.Config.AppService.ASToken,
		map[string]any{"type": mautrix.AuthTypeAppservice, "username": d.Config.AppService.Bot.Username, "inhibit_login": true}, nil)
	const give = "give registration.yaml to the homeserver (mimird matrix init --help) and restart it"
	switch {
	case answer.Err != nil:
		return failed("look at the homeserver's log", "the homeserver does not answer: %s", fault.OneLine(answer.Err))
	case answer.Code == "M_UNKNOWN_TOKEN" || answer.Code == "M_MISSING_TOKEN" || answer.Status == 401:
		return failed(give, "the homeserver does not know the bridge's as_token")
	case answer.Status != 200 && answer.Code != "M_USER_IN_USE":
		return failed("run mimird matrix -g, give registration.yaml to the homeserver and restart it",
			"the homeserver lets the bridge not be %s (%s)", bot, answer.Reason())
	}
	var whoami mautrix.RespWhoami
	answer = d.server.Ask(ctx, "GET", "/_matrix/client/v3/account/whoami?user_id="+url.QueryEscape(string(bot)), d.Config.AppService.ASToken, nil, &whoami)
	switch {
	case answer.Err != nil || answer.Status != 200:
		return failed(give, "the homeserver lets the bridge not act as %s (%s)", bot, answer.Reason())
	case whoami.UserID != bot:
		return failed("correct homeserver.domain, then: mimird matrix -g", "the homeserver calls the bot %.80s, not %s", whoami.UserID, bot)
	}
	d.known = true
	return fine("the homeserver knows the bridge as %s", bot)
}

// node checks whether the bridge runs in the running node. All other checks can pass
// without a running bridge.
func (d *doctor) node(ctx context.Context) Check {
	if d.Node == nil {
		return skipped("there is no node to ask")
	}
	state := d.Node(ctx)
	switch {
	case !state.Role && state.Runs && state.Status == nil:
		return failed("set roles: [node, matrix] in the configuration and restart mimird", "the node runs without the bridge: roles lacks matrix")
	case !state.Role:
		return failed("set roles: [node, matrix] in the configuration and restart mimird", "roles lacks matrix, so no bridge is started")
	case !state.Runs:
		return skipped("mimird does not run; start it with: mimird up")
	case state.Error != "":
		return failed("look at the log of mimird", "the bridge of the running node does not answer: %.200s", fault.OneLineText(state.Error))
	case state.Status == nil:
		return failed("restart mimird", "the node that runs was started without the bridge")
	}
	switch s := state.Status; s.State {
	case bridge.StateFailed:
		return failed("do what it says; mimird starts the bridge again by itself", "the bridge of the running node fails: %.200s", s.Error)
	case bridge.StateStarting:
		return warning("wait, and run it again", "the bridge of the running node is starting")
	case bridge.StateDegraded:
		return warning("see the other checks", "the bridge of the running node works only in part: %.200s",
			fault.OneLineText(s.Homeserver.Error+" "+s.Listener.Error))
	default:
		return fine("the bridge runs in the node, with %d logins", s.Logins)
	}
}
