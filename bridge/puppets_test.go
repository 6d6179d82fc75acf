// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// elsewhere writes with an account, but not from Matrix.
func (f *fixture) sentByOtherDevice(account, contact identity.PublicKey, text string) {
	f.t.Helper()
	_, err := f.node.Send(soon(f.t), node.Outgoing{
		Account: account, Contact: contact, Source: "elsewhere/" + text, Type: peer.TypeText, Payload: []byte(text),
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// shownBy waits for a text in a room, and fails when somebody else shows it.
func (f *fixture) shownBy(who *bridgetest.Client, room id.RoomID, sender id.UserID, text string) {
	f.t.Helper()
	evt, err := who.WaitText(soon(f.t), room, "", text)
	if err != nil {
		f.t.Fatal(err)
	}
	if evt.Sender != sender {
		f.t.Errorf("%q is shown by %s, want %s", text, evt.Sender, sender)
	}
}

// householdWith is newHousehold with another configuration.
func householdWith(t *testing.T, configure func(*matrixconfig.Config)) *household {
	t.Helper()
	h := &household{fixture: newFixtureWith(t, configure)}
	h.fill()
	return h
}

// A user logs out the token that the bridge has of them, while it runs.
func TestDoublePuppet_TokenRevoked_BotSends(t *testing.T) {
	h := householdWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetNone })
	url := h.homeserver.URL()
	tokens := []string{h.person(url, "alice").Matrix.AccessToken, h.person(url, "dave").Matrix.AccessToken}
	h.say(h.alice, h.management, "login-matrix "+tokens[0], "Successfully switched puppets")
	h.say(h.dave, h.daveManagement, "login-matrix "+tokens[1], "Successfully switched puppets")
	h.sentByOtherDevice(h.account, h.bob, "alive")
	h.shownBy(h.alice, h.aliceBob, h.alice.UserID(), "alive")

	h.homeserver.Revoke(tokens[0])
	h.sentByOtherDevice(h.account, h.bob, "logged out")
	h.sentByOtherDevice(h.account, h.carol, "logged out, too")
	h.sentByOtherDevice(h.daveAccount, h.bob, "not concerned")
	h.shownBy(h.alice, h.aliceBob, h.ghost(h.account), "logged out")
	h.shownBy(h.alice, h.aliceCarol, h.ghost(h.account), "logged out, too")
	h.shownBy(h.dave, h.daveBob, h.dave.UserID(), "not concerned")
	h.said(h.alice, h.management, "login-matrix")

	again := h.person(url, "alice").Matrix.AccessToken
	h.say(h.alice, h.management, "login-matrix "+again, "Successfully switched puppets")
	h.sentByOtherDevice(h.account, h.bob, "alive again")
	h.shownBy(h.alice, h.aliceBob, h.alice.UserID(), "alive again")
	for _, token := range append(tokens, again) {
		if h.log.contains(token) {
			t.Error("a token is in the log")
		}
	}
}

// The homeserver has lost the registration with which the bridge acts as its users.
func TestDoublePuppet_RegistrationForgotten_BotSends(t *testing.T) {
	h := householdWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetSeparate })
	h.sentByOtherDevice(h.account, h.bob, "alive")
	h.shownBy(h.alice, h.aliceBob, h.alice.UserID(), "alive")
	remember := h.homeserver.ForgetService(h.config.AppService.ID + "-doublepuppet")
	h.sentByOtherDevice(h.account, h.bob, "without")
	h.sentByOtherDevice(h.daveAccount, h.carol, "without, Dave")
	h.shownBy(h.alice, h.aliceBob, h.ghost(h.account), "without")
	h.shownBy(h.dave, h.daveCarol, h.ghost(h.daveAccount), "without, Dave")
	h.said(h.alice, h.management, "mimird matrix doctor")
	h.said(h.dave, h.daveManagement, "mimird matrix doctor")

	remember()
	h.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError}) // the homeserver was restarted
	h.await("it is missed", func() bool { return !h.status().Homeserver.OK })
	h.homeserver.SetFault(bridgetest.Fault{})
	h.await("it is back", func() bool { return h.status().Homeserver.OK })
	h.await("the bridge acts as alice again", func() bool {
		return h.log.contains(`double puppet of a user works again" actor=stage/matrix kind=matrix user_id=@alice:mimir.test`)
	})
	h.sentByOtherDevice(h.account, h.bob, "alive again")
	h.shownBy(h.alice, h.aliceBob, h.alice.UserID(), "alive again")
}

// A user who cannot be told that their token is dead delays nobody else.
func TestDoublePuppet_UserNotTold_OthersDelivered(t *testing.T) {
	h := householdWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetNone })
	url := h.homeserver.URL()
	tokens := []string{h.person(url, "alice").Matrix.AccessToken, h.person(url, "dave").Matrix.AccessToken}
	h.say(h.alice, h.management, "login-matrix "+tokens[0], "Successfully switched puppets")
	h.say(h.dave, h.daveManagement, "login-matrix "+tokens[1], "Successfully switched puppets")
	h.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: requestsIn(h.daveManagement, "/send/")})
	h.homeserver.Revoke(tokens[1])
	h.sentByOtherDevice(h.daveAccount, h.bob, "logged out, Dave")
	h.shownBy(h.dave, h.daveBob, h.ghost(h.daveAccount), "logged out, Dave")
	h.homeserver.Revoke(tokens[0])
	h.sentByOtherDevice(h.account, h.bob, "logged out")
	h.shownBy(h.alice, h.aliceBob, h.ghost(h.account), "logged out")
	h.said(h.alice, h.management, "does not let the bridge act as you")
	// What is answered with an error is said again.
	h.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: requestsIn(h.daveManagement, "/send/")})
	h.await("it was tried", func() bool { return h.log.contains("user not told, retrying") })
	h.homeserver.SetFault(bridgetest.Fault{})
	h.said(h.dave, h.daveManagement, "does not let the bridge act as you")
}

// token logs alice in and returns her access token.
func (b *bubble) token() string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.homeserver.URL()+"/_matrix/client/v3/login", strings.NewReader(
		`{"type":"m.login.password","password":"secret","identifier":{"type":"m.id.user","user":"`+string(bubbleUser)+`"}}`))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.homeserver.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		b.t.Fatalf("no token: %v", err)
	}
	return answer.Token
}

// The token that the bridge has of a user is dead, and the homeserver does not say so
// when it is asked: each of the user's messages becomes a notice after three attempts, the
// tenth as soon as the first.
func TestDoublePuppet_DeadTokenUnconfirmed_NoticesInTime(t *testing.T) {
	inAnswerBubbleWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetNone }, func(b *bubble) {
		token := b.token()
		if err := b.bridge.ActAs(b.t.Context(), bubbleUser, token); err != nil {
			b.t.Fatal(err)
		}
		talks := []*talk{b.meet("Bob"), b.meet("Carol")}
		for _, c := range talks {
			c.says("hello")
			c.sends("alive")
		}
		b.pass(time.Minute)
		b.homeserver.Revoke(token)
		const own = 10
		for _, c := range talks {
			if shown := c.shown(); !slices.Equal(shown, []string{"hello", "alive"}) {
				b.t.Errorf("before: %q", shown)
			}
			for i := range own {
				c.sends(fmt.Sprintf("mine %d", i))
			}
			c.says("after")
		}
		b.pass(own * 5 * time.Second)
		for _, c := range talks {
			shown := c.shown()
			if len(shown) != 2+own+1 || shown[len(shown)-1] != "after" {
				b.t.Errorf("the room has %q, %+v", shown, c.waiting())
			}
		}
	})
}
