// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/homeserver"
)

// sharedRequest is a request that belongs to no conversation alone: the bridge makes it
// for all, for a user, or to read what another request needs. Whatever the answer,
// nothing is lost.
type sharedRequest struct {
	name    string
	route   string
	content string
	// early says that the first conversation of a login causes it; the others see it
	// for each conversation.
	early bool
	// locked says that the library has a lock around it, for which others of the same
	// conversation wait. It is not tried with answers that it repeats itself after:
	// virtual time does not pass while somebody waits for a lock.
	locked bool
	// alone says that goroutines of the library wait in such a lock for the answer, and
	// that the library does not repeat the request: it is tried with one conversation and
	// with answers that come at once.
	alone bool
	// cause, when set, makes the bridge send it, after the first message.
	cause func(c *talk)
}

func sharedRequests() []sharedRequest {
	profile := func(c *talk) {
		c.node.apply(store.UpdateContact{
			Account: c.account, Contact: c.contact, Fields: store.FieldNickname | store.FieldAvatar, Nickname: c.name, Avatar: picture(c.t, 2, 2),
		})
	}
	return []sharedRequest{
		{name: "capabilities", route: "GET /_matrix/client/v3/capabilities", early: true, locked: true},
		{name: "joined rooms", route: "GET /_matrix/client/v3/joined_rooms", early: true},
		{name: "profile of a user", route: "GET /_matrix/client/v3/profile/{user}", early: true},
		{name: "members", route: routeRooms("GET", "members")},
		{name: "state event", route: routeRooms("GET", "state/{type}/{key...}")},
		{name: "account data", route: "GET /_matrix/client/v3/user/{user}/account_data/{type}", locked: true},
		{name: "new account data", route: "PUT /_matrix/client/v3/user/{user}/account_data/{type}", locked: true},
		{name: "room in the space", route: routeRooms("PUT", "state/{type}/{key...}"), content: `"via"`},
		{name: "space of a login", route: "POST /_matrix/client/v3/createRoom", content: homeserver.SpaceChannel, early: true, alone: true},
		{name: "avatar", route: "POST /_matrix/media/v3/upload", cause: profile},
		{name: "avatar of a ghost", route: "PUT /_matrix/client/v3/profile/{user}/{key}", content: `"avatar_url"`, cause: profile},
	}
}

// onRoute selects the requests of one route.
func onRoute(pattern string) func(*http.Request) bool {
	mux := http.NewServeMux()
	mux.Handle(pattern, http.NotFoundHandler())
	return func(r *http.Request) bool {
		_, found := mux.Handler(r)
		return found == pattern
	}
}

// someAnswers are one of n answers, others for each turn, and those without a status:
// over the requests, each answer is tried.
func someAnswers(turn, n int) []answer {
	var some []answer
	for i, a := range allAnswers() {
		if (i+turn)%n == 0 || a.fault.Kind != bridgetest.FaultAnswer {
			some = append(some, a)
		}
	}
	return some
}

// Bars R06, R07
func TestAnswers_EveryAnswerToEverySharedRequest(t *testing.T) {
	for i, request := range sharedRequests() {
		t.Run(request.name, func(t *testing.T) {
			var met atomic.Int32
			defer func() {
				if met.Load() == 0 {
					t.Error("the bridge has not sent the request")
				}
			}()
			if !request.early {
				inAnswerBubble(t, func(b *bubble) {
					for _, a := range someAnswers(i, 2) {
						everySharedAnswer(b, request, a, &met)
					}
				})
				return
			}
			for _, a := range someAnswers(i, 6) { // each takes a bridge of its own
				inAnswerBubble(t, func(b *bubble) { everySharedAnswer(b, request, a, &met) })
			}
		})
	}
}

func everySharedAnswer(b *bubble, request sharedRequest, a answer, met *atomic.Int32) {
	t := b.t
	matches := onRoute(request.route)
	fault := a.fault
	fault.Content = request.content
	fault.Only = func(r *http.Request) bool {
		ours := matches(r)
		if ours {
			met.Add(1)
		}
		return ours
	}
	talks := []*talk{b.meet("One " + a.name), b.meet("Two " + a.name)}
	switch {
	case request.locked && (a.away || fault.Status >= http.StatusInternalServerError):
		return
	case request.alone && fault.Kind == bridgetest.FaultHang:
		return
	case request.locked || request.alone || fault.Kind == bridgetest.FaultHang:
		talks = talks[:1] // the library has a lock of its own around account data
	}
	b.homeserver.SetFault(fault)
	for _, c := range talks {
		c.says("first")
		if request.cause != nil {
			b.pass(5 * time.Second)
			request.cause(c)
		}
		c.says("second")
	}
	b.pass(75 * time.Second)
	for _, c := range talks {
		if w := c.waiting(); !c.hasText("second") && w.Error == "" {
			t.Errorf("%s: nobody is told: %q, %+v", a.name, c.shown(), w)
		}
	}
	b.homeserver.SetFault(bridgetest.Fault{})
	b.pass(90 * time.Minute)
	for _, c := range talks {
		if shown := c.shown(); !slices.Equal(shown, []string{"first", "second"}) {
			t.Errorf("%s: lost or doubled: %q, %+v", a.name, shown, c.waiting())
		}
	}
}

// Bars R06, R07
//
// Whatever the homeserver answers while the bridge starts, the bridge runs soon after
// the homeserver has recovered.
func TestAnswers_EveryAnswerAtStart(t *testing.T) {
	for i, route := range []string{
		"GET /_matrix/client/versions",
		"GET /_matrix/client/v3/account/whoami",
		"GET /_matrix/client/v1/media/config",
		"POST /_matrix/client/v3/register",
		"GET /_matrix/client/v3/profile/{user}/{key}",
		"PUT /_matrix/client/v3/profile/{user}/{key}",
	} {
		t.Run(strings.ReplaceAll(route, "/", "|"), func(t *testing.T) {
			for _, a := range someAnswers(i, 6) { // each takes a bridge of its own
				startWithAnswer(t, route, a)
			}
		})
	}
}

// startTime is how long a start may take after the homeserver has recovered.
const startTime = 5 * time.Minute

func startWithAnswer(t *testing.T, route string, a answer) {
	t.Helper()
	var met atomic.Int32
	matches := onRoute(route)
	fault := a.fault
	fault.Only = func(r *http.Request) bool {
		ours := matches(r)
		if ours {
			met.Add(1)
		}
		return ours
	}
	inStartBubble(t, func(*matrixconfig.Config) {}, func(b *bubble, start func() error) {
		b.homeserver.SetFault(fault)
		started := make(chan error, 1)
		go func() { started <- start() }()
		b.pass(75 * time.Second)
		if met.Load() == 0 {
			b.t.Errorf("%s: the bridge has not sent the request", a.name)
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		deadline := time.NewTimer(startTime)
		defer deadline.Stop()
		var err error
		select {
		case err = <-started:
		case <-deadline.C:
			b.t.Fatalf("%s: no start within %v", a.name, startTime)
		}
		if err != nil { // the runner starts it again
			if err := start(); err != nil {
				b.t.Fatalf("%s: the next start fails too: %v", a.name, err)
			}
		}
		b.account = b.node.addAccount("Alice")
		if err := b.bridge.Login(b.t.Context(), bubbleUser, b.account); err != nil {
			b.t.Fatal(err)
		}
		c := b.meet("Bob")
		c.says("first")
		b.pass(90 * time.Minute)
		if shown := c.shown(); !slices.Equal(shown, []string{"first"}) {
			b.t.Errorf("%s: %q, %+v", a.name, shown, c.waiting())
		}
	})
}
