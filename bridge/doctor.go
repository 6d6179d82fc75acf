// SPDX-License-Identifier: MPL-2.0

package bridge

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

	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

// Result is what a check came to.
type Result string

// The results of checks.
const (
	CheckFine    Result = "ok"
	CheckWarning Result = "warning" // the bridge works, with less
	CheckFailed  Result = "failed"
	CheckSkipped Result = "skipped" // it depends on one that failed, or is switched off
)

// Check is one thing that [Diagnose] has looked at.
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	// Found is what was found, and Remedy what to do about it, each a sentence.
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// DoctorOptions say what to look at.
type DoctorOptions struct {
	Config *config.Config
	// Dir is where the registration files are that the homeserver was given.
	Dir string
	// Wait is how long the homeserver may take to come to the bridge; 0 means 30 s.
	Wait time.Duration
	// Node says what is known of the node that should run the bridge. Nil means that
	// there is none to ask.
	Node func(context.Context) NodeState
	// Report is called with each check when it is done.
	Report func(Check)
}

// clockTolerance is how far the clocks may be apart.
const clockTolerance = 30 * time.Second

// Diagnose looks whether homeserver and bridge can work with each other, both
// ways, without changing anything but a room that is left again. The bridge may be
// running, and need not be: then Diagnose listens in its place, and lets the
// homeserver keep what it brings. All is done when it returns.
func Diagnose(ctx context.Context, o DoctorOptions) []Check {
	if o.Wait == 0 {
		o.Wait = 30 * time.Second
	}
	d := &doctor{DoctorOptions: o, server: homeserver.NewProbe(o.Config.Homeserver.Address)}
	defer d.server.Close()
	for _, check := range []struct {
		name string
		run  func(context.Context) Check
		need *bool // what must have been found fine before
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
		{"node", d.node, nil},
	} {
		d.both = d.known && d.listens
		result := Check{Result: CheckSkipped, Found: "cannot be tested before what is above is right"}
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

// doctor is one diagnosis.
type doctor struct {
	DoctorOptions
	server *homeserver.Probe
	own    *appservice.Listener // in place of a bridge that does not run
	checks []Check

	configured, answers, known, listens, both bool
	spec                                      mautrix.RespVersions
}

func fine(format string, args ...any) Check {
	return Check{Result: CheckFine, Found: fmt.Sprintf(format, args...)}
}

func failed(remedy, format string, args ...any) Check {
	return Check{Result: CheckFailed, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func warning(remedy, format string, args ...any) Check {
	return Check{Result: CheckWarning, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func skipped(found string) Check {
	return Check{Result: CheckSkipped, Found: found}
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

// registration compares the files that the homeserver was given, as far as they
// are here, with what they should be.
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
			"what answers at %s is no homeserver (HTTP status %d)", address, answer.Status)
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

// asToken looks whether the homeserver knows the bridge.
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
