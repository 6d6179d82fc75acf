// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/publicmedia"
)

// minSpecVersion is the version of the specification that bridgev2 requires.
var minSpecVersion = mautrix.SpecV14

// heardEvery is how often the doctor asks the listener whether the homeserver has reached it.
const heardEvery = 100 * time.Millisecond

// listener checks which program listens at the bridge's address, and listens there itself
// if none does.
func (d *doctor) listener(ctx context.Context) Check {
	a := &d.Config.AppService
	own := appservice.NewListener(appservice.ListenerOptions{Log: slog.New(slog.DiscardHandler), Token: a.HSToken})
	own.Refuse() // the homeserver keeps the transactions for the bridge
	heard, err := d.heard(ctx)
	switch {
	case err == nil && heard.Status == http.StatusOK:
		d.listens = true
		return fine("the bridge runs and listens at %s", d.listenAddress())
	case err == nil && (heard.Status == http.StatusForbidden || heard.Status == http.StatusUnauthorized):
		return failed("restart mimird", "the bridge runs with another hs_token than the configuration has")
	case err == nil:
		return failed("stop it, or choose another appservice.port; then mimird matrix -g, and restart the homeserver",
			"another program listens at %s", d.listenAddress())
	}
	if err := own.Open(ctx, a.Hostname, a.Port); err != nil {
		return failed("correct appservice.hostname and appservice.port", "the bridge cannot listen at %s: %s", d.listenAddress(), fault.OneLine(err))
	}
	d.own, d.listens = own, true
	return fine("the bridge does not run, and can listen at %s", d.listenAddress())
}

// listenAddress returns where the bridge listens: a host and a port, or a path.
func (d *doctor) listenAddress() string {
	a := &d.Config.AppService
	if strings.HasPrefix(a.Hostname, "/") {
		return a.Hostname
	}
	return net.JoinHostPort(a.Hostname, strconv.Itoa(int(a.Port)))
}

// heardAnswer is the answer of a listener.
type heardAnswer struct {
	homeserver.Reply
	appservice.Heard
}

// heard asks the bridge's listener when the homeserver reached it. The error means that
// none listens.
func (d *doctor) heard(ctx context.Context) (heardAnswer, error) {
	if d.own != nil {
		return heardAnswer{Reply: homeserver.Reply{Status: http.StatusOK}, Heard: d.own.Inbound.Heard()}, nil
	}
	network, address := "tcp", d.listenAddress()
	if strings.HasPrefix(address, "/") {
		network = "unix"
	} else if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		address = net.JoinHostPort(host, port)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	p := &homeserver.Probe{Client: &http.Client{Transport: transport, Timeout: homeserver.ProbeTimeout}}
	var h heardAnswer
	h.Reply = p.AskAt(ctx, http.MethodGet, "http://listener"+appservice.HeardPath, d.Config.AppService.HSToken, nil, &h.Heard)
	return h, h.Err
}

// hsToken checks whether the homeserver reaches the listener with the right token.
func (d *doctor) hsToken(ctx context.Context) Check {
	if d.spec.Supports(mautrix.FeatureAppservicePing) {
		return d.ping(ctx)
	}
	before, err := d.heard(ctx)
	if err != nil {
		return failed("run it again", "the listener has ended meanwhile: %s", fault.OneLine(err))
	}
	room, a := d.createRoom(ctx)
	if room == "" {
		return failed("look at the homeserver's log", "the homeserver does not let the bridge make a room (%s)", a.Reason())
	}
	defer d.leaveRoom(context.WithoutCancel(ctx), room)
	begun := time.Now()
	deadline := begun.Add(d.Wait)
	tick := time.NewTicker(heardEvery)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		now, err := d.heard(ctx)
		switch {
		case err == nil && now.Transaction.After(before.Transaction):
			return fine("the homeserver reaches the bridge at %s, after %d ms", d.Config.AppService.Address, time.Since(begun).Milliseconds())
		case err == nil && now.Refused.After(before.Refused):
			return failed("give registration.yaml to the homeserver and restart it", "the homeserver comes with another hs_token than the bridge's")
		}
		select {
		case <-ctx.Done():
			return failed("run it again", "interrupted")
		case <-tick.C:
		}
	}
	return failed(fmt.Sprintf("make %s reachable from the homeserver, or correct appservice.address; then mimird matrix -g, and restart "+
		"the homeserver; one that has failed before may pause for a minute", d.Config.AppService.Address),
		"the homeserver did not come to %s within %s", d.Config.AppService.Address, d.Wait)
}

// ping asks the homeserver to ping the bridge.
func (d *doctor) ping(ctx context.Context) Check {
	var result struct {
		Duration int64 `json:"duration_ms"`
	}
	address := d.Config.AppService.Address
	a := d.server.Ask(ctx, http.MethodPost, "/_matrix/client/v1/appservice/"+url.QueryEscape(d.Config.AppService.ID)+"/ping",
		d.Config.AppService.ASToken, map[string]any{"transaction_id": "doctor"}, &result)
	reachable := fmt.Sprintf("make %s reachable from the homeserver, or correct appservice.address; then mimird matrix -g, and restart it", address)
	switch {
	case a.Err == nil && a.Status == http.StatusOK:
		return fine("the homeserver reaches the bridge at %s, after %d ms", address, result.Duration)
	case a.Code == "M_URL_NOT_SET":
		return failed("give registration.yaml to the homeserver and restart it", "the registration that the homeserver has has no url")
	case a.Code == "M_BAD_STATUS":
		return failed("give registration.yaml to the homeserver and restart it",
			"the homeserver reaches the bridge, which refuses its hs_token (%s)", a.Reason())
	default:
		return failed(reachable, "the homeserver does not reach the bridge at %s (%s)", address, a.Reason())
	}
}

// createRoom creates a room with the bot alone in it, whose events the homeserver has to
// push to the bridge.
func (d *doctor) createRoom(ctx context.Context) (id.RoomID, homeserver.Reply) {
	var made mautrix.RespCreateRoom
	a := d.server.Ask(ctx, http.MethodPost, "/_matrix/client/v3/createRoom", d.Config.AppService.ASToken,
		map[string]any{"name": "Mimir bridge self-test", "preset": "private_chat", "creation_content": map[string]any{"m.federate": false}}, &made)
	return made.RoomID, a
}

// leaveRoom removes the bot from a room.
func (d *doctor) leaveRoom(ctx context.Context, room id.RoomID) {
	for _, how := range []string{"leave", "forget"} {
		d.server.Ask(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+url.QueryEscape(string(room))+"/"+how,
			d.Config.AppService.ASToken, struct{}{}, nil)
	}
}

// doublePuppet checks whether the bridge may act as its users.
func (d *doctor) doublePuppet(ctx context.Context) Check {
	token, file := d.Config.AppService.ASToken, "registration.yaml"
	switch d.Config.DoublePuppet.Registration {
	case config.DoublePuppetNone:
		return skipped("switched off: you have to accept invitations yourself")
	case config.DoublePuppetSeparate:
		token, file = d.Config.DoublePuppet.ASToken, "doublepuppet.yaml"
	}
	give := fmt.Sprintf("give %s to the homeserver and restart it", file)
	var users []string
	for who := range d.Config.Bridge.Permissions {
		if strings.HasPrefix(who, "@") && strings.HasSuffix(who, ":"+d.Config.Homeserver.Domain) {
			users = append(users, who)
		}
	}
	slices.Sort(users)
	query := ""
	if len(users) > 0 {
		query = "?user_id=" + url.QueryEscape(users[0])
	}
	var whoami mautrix.RespWhoami
	a := d.server.Ask(ctx, http.MethodGet, "/_matrix/client/v3/account/whoami"+query, token, nil, &whoami)
	switch {
	case a.Err != nil:
		return failed("look at the homeserver's log", "the homeserver does not answer: %s", fault.OneLine(a.Err))
	case a.Status == http.StatusUnauthorized || a.Code == "M_UNKNOWN_TOKEN":
		return failed(give, "the homeserver does not know the token of %s", file)
	case len(users) == 0:
		return fine("the homeserver knows the token of %s", file)
	case a.Status != http.StatusOK:
		return failed(fmt.Sprintf("make the user, or %s", give), "the bridge may not act as %s (%s)", users[0], a.Reason())
	case string(whoami.UserID) != users[0]:
		return failed(give, "asked to act as %s, the bridge is %.80s", users[0], whoami.UserID)
	default:
		return fine("the bridge may act as %s", users[0])
	}
}

// encryption checks whether the bridge can encrypt.
func (d *doctor) encryption(ctx context.Context) Check {
	e := &d.Config.Encryption
	if !e.Allow {
		return skipped("switched off with encryption.allow")
	}
	if !botcrypto.CanEncrypt {
		return failed("build it with -tags goolm, or set encryption.allow to false", "this program was built without encryption")
	}
	login, err := hasLogin(ctx, d.server)
	switch {
	case err != nil:
		return failed("look at the homeserver's log", "%v", err)
	case !login && !e.MSC4190:
		return warning("set encryption.msc4190 to true if the homeserver has that (Synapse 1.121 and later), then: mimird matrix -g",
			"the homeserver gives the bridge no device, so rooms are not encrypted")
	case e.Default:
		return fine("the homeserver can, and new rooms (%s) are encrypted", event.StateEncryption.Type)
	default:
		return fine("the homeserver can; rooms are encrypted when their members want it")
	}
}

// publicMedia checks whether links to files lead to the bridge.
func (d *doctor) publicMedia(ctx context.Context) Check {
	public := d.Config.PublicMedia
	switch {
	case !public.Enabled:
		return skipped("switched off: a file that is too large for the homeserver becomes a notice")
	case d.own != nil:
		return skipped("the bridge does not run; start mimird and run it again")
	}
	address := d.Config.AppService.PublicAddress
	err := publicmedia.Test(ctx, publicmedia.Options{Address: address, Prefix: public.PathPrefix, Key: public.SigningKey})
	switch {
	case errors.Is(err, publicmedia.ErrOtherKey):
		return failed("restart mimird, or correct appservice.public_address", "the bridge that links lead to at %s has another signing key", address)
	case errors.Is(err, publicmedia.ErrForeign):
		return failed("have the proxy pass "+publicmedia.Path+" on to "+d.listenAddress(), "links to files at %s do not lead to the bridge (%s)", address, fault.OneLine(err))
	case err != nil:
		return failed("correct appservice.public_address, or the proxy behind it", "links to files at %s cannot be followed: %s", address, fault.OneLine(err))
	}
	return fine("links to files lead to the bridge at %s", address)
}

// HasLogin asks the homeserver at an address, before there is a bridge, whether it has a
// login for application services. Where it has none, as behind an authentication service,
// the bridge gets its device in the way of MSC4190. It takes at most a few seconds.
func HasLogin(ctx context.Context, address string) (bool, error) {
	server := homeserver.NewProbe(address)
	defer server.Close()
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	return hasLogin(ctx, server)
}

// loginTimeout is for somebody who waits at a terminal.
const loginTimeout = 5 * time.Second

func hasLogin(ctx context.Context, server *homeserver.Probe) (bool, error) {
	var flows mautrix.RespLoginFlows
	a := server.Ask(ctx, http.MethodGet, "/_matrix/client/v3/login", "", nil, &flows)
	if a.Status == http.StatusNotFound && a.Code == mautrix.MUnrecognized.ErrCode {
		return false, nil // Synapse with an authentication service answers so, when it is asked directly
	}
	if a.Err != nil || a.Status != http.StatusOK {
		return false, fmt.Errorf("the homeserver does not say how to log in (%s)", a.Reason())
	}
	return flows.HasFlow(mautrix.AuthTypeAppservice), nil
}
