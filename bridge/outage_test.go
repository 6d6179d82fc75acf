// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// fixture is a bridge that runs, with a login of alice, between a testNode and a
// fake homeserver.
type fixture struct {
	*world
	homeserver *bridgetest.Homeserver
	alice      *bridgetest.Client
	management id.RoomID
	account    identity.PublicKey
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureWith(t, func(*matrixconfig.Config) {})
}

func newFixtureWith(t *testing.T, configure func(*matrixconfig.Config)) *fixture {
	t.Helper()
	return newFixtureOf(t, configure, func(url string) string { return url })
}

// newFixtureBehind is newFixture with a proxy between bridge and homeserver.
func newFixtureBehind(t *testing.T, proxy func(upstream string) (url string)) *fixture {
	t.Helper()
	return newFixtureOf(t, func(*matrixconfig.Config) {}, proxy)
}

func newFixtureOf(t *testing.T, configure func(*matrixconfig.Config), proxy func(upstream string) (url string)) *fixture {
	t.Helper()
	return newFixtureIn(newWorld(t), configure, proxy)
}

// newFixtureIn is newFixture in a world that is there.
func newFixtureIn(w *world, configure func(*matrixconfig.Config), proxy func(upstream string) (url string)) *fixture {
	w.t.Helper()
	f := &fixture{world: w}
	configure(f.config)
	f.homeserver = f.withFake()
	f.config.Homeserver.Address = proxy(f.homeserver.URL())
	f.account = f.node.addAccount("Alice")
	f.homeserver.CreateUser("alice", "long-secret")
	f.start()
	f.awaitState(bridge.StateRunning)
	f.alice = f.person(f.homeserver.URL(), "alice")
	f.management = f.attach(f.alice)
	return f
}

// conversation makes a contact with a room and returns both.
func (f *fixture) conversation(name string) (contact identity.PublicKey, room id.RoomID) {
	f.t.Helper()
	contact = f.node.addContact(f.account, name)
	f.node.receive(f.account, contact, "I am "+name)
	return contact, f.awaitText(f.alice, f.ghost(contact), "I am "+name)
}

// shown returns the texts of a room that carry the bridge's marker, in the order
// of the room, and fails when a message has more than one event.
func (f *fixture) shown(room id.RoomID) []string {
	f.t.Helper()
	var texts []string
	seen := make(map[string]bool)
	for _, event := range f.homeserver.Timeline(room) {
		var content struct {
			Body   string `json:"body"`
			Marker string `json:"im.mimir.message"`
		}
		if event.Type != "m.room.message" || json.Unmarshal(event.Content, &content) != nil || content.Marker == "" {
			continue
		}
		if seen[content.Marker] {
			f.t.Errorf("message %s is in the room twice", content.Marker)
		}
		seen[content.Marker] = true
		texts = append(texts, content.Body)
	}
	return texts
}

func (f *fixture) awaitShown(room id.RoomID, want ...string) {
	f.t.Helper()
	f.await("all messages are shown", func() bool { return len(f.shown(room)) >= len(want) })
	if have := f.shown(room); !slices.Equal(have, want) {
		f.t.Errorf("the room shows %q, want %q", have, want)
	}
}

func numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s %d", prefix, i)
	}
	return texts
}

// Bar R06
func TestOutage_NothingLost(t *testing.T) {
	f := newFixture(t)
	const rooms, messages = 5, 10
	var contacts [rooms]identity.PublicKey
	var ids [rooms]id.RoomID
	var want [rooms][]string
	for i := range contacts {
		contacts[i], ids[i] = f.conversation(fmt.Sprintf("Bob %d", i))
		want[i] = []string{fmt.Sprintf("I am Bob %d", i)}
	}
	for name, fault := range map[string]bridgetest.Fault{
		"down":        {Kind: bridgetest.FaultDown},
		"hangs":       {Kind: bridgetest.FaultHang},
		"errors":      {Kind: bridgetest.FaultError},
		"deaf":        {Kind: bridgetest.FaultUnreachable},
		"limits":      {Kind: bridgetest.FaultRateLimit, RetryAfter: time.Second},
		"loses":       {Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly},
		"sends fail":  {Kind: bridgetest.FaultError, Only: bridgetest.SendsOnly},
		"sends limit": {Kind: bridgetest.FaultRateLimit, RetryAfter: time.Second, Only: bridgetest.SendsOnly},
	} {
		t.Log("the homeserver's fault:", name)
		before := len(f.homeserver.Sends())
		f.homeserver.SetFault(fault)
		for m := range messages {
			for i, contact := range contacts { // the store takes them all the while
				text := fmt.Sprintf("%d to %d, %s", m, i, name)
				f.node.receive(f.account, contact, text)
				want[i] = append(want[i], text)
			}
		}
		f.await("every room was tried", func() bool {
			tried := make(map[id.RoomID]bool)
			for _, send := range f.homeserver.Sends()[before:] {
				tried[send.Room] = true
			}
			return len(tried) == rooms || fault.Only == nil && len(f.failing()) == rooms
		})
		f.homeserver.SetFault(bridgetest.Fault{})
		for i, room := range ids {
			f.awaitShown(room, want[i]...)
		}
		f.checkRateLimits(before)
	}
}

// failing are the conversations with an error.
func (f *fixture) failing() []bridge.Waiting {
	return slices.DeleteFunc(f.status().Waiting, func(w bridge.Waiting) bool { return w.Error == "" })
}

// checkRateLimits fails when a message was retried before the time that the
// homeserver had asked for.
func (f *fixture) checkRateLimits(from int) {
	f.t.Helper()
	limited := make(map[id.RoomID]time.Time)
	for _, send := range f.homeserver.Sends()[from:] {
		if send.Type != "m.room.message" {
			continue
		}
		if last, ok := limited[send.Room]; ok && send.At.Sub(last) < time.Second {
			f.t.Errorf("%s was retried %v after a 429 that asked for 1 s: %+v", send.Room, send.At.Sub(last), send)
		}
		delete(limited, send.Room)
		if send.Fault == bridgetest.FaultRateLimit {
			limited[send.Room] = send.At
		}
	}
}

// Bar R17
func TestOutage_OnlyWhoamiAnswers_Noticed(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultUnreachable})
	f.node.receive(f.account, bob, "can you hear me")
	f.awaitState(bridge.StateDegraded)
	status := f.status()
	if status.Homeserver.OK || status.Homeserver.Error == "" || status.Homeserver.Since.IsZero() || !status.Listener.OK {
		t.Errorf("status is %+v", status)
	}
	f.await("the conversation is named", func() bool { return len(f.failing()) == 1 })
	waiting := f.failing()[0]
	if waiting.Account != f.account || waiting.Contact != bob || waiting.Events != 1 || waiting.Since.IsZero() {
		t.Errorf("waiting is %+v", waiting)
	}
	f.homeserver.SetFault(bridgetest.Fault{})
	f.awaitShown(room, "I am Bob", "can you hear me")
	f.await("all is well", func() bool {
		status := f.status()
		return status.State == bridge.StateRunning && status.Conversations == 0 && status.Logins == 1
	})
}

// Bar R07
func TestSlowRoom_OthersDelivered(t *testing.T) {
	f := newFixture(t)
	slowOne, slowRoom := f.conversation("Slow")
	var others []identity.PublicKey
	var rooms []id.RoomID
	for i := range 7 {
		contact, room := f.conversation(fmt.Sprintf("Quick %d", i))
		others, rooms = append(others, contact), append(rooms, room)
	}
	f.homeserver.SetSlow(slowRoom, time.Hour)
	f.node.receive(f.account, slowOne, "late", "later")
	for i, contact := range others {
		f.node.receive(f.account, contact, numbered("text", 10)...)
		f.awaitShown(rooms[i], append([]string{fmt.Sprintf("I am Quick %d", i)}, numbered("text", 10)...)...)
	}
	if have := f.shown(slowRoom); len(have) != 1 {
		t.Errorf("the slow room shows %q", have)
	}
	f.homeserver.SetSlow(slowRoom, 0)
	f.awaitShown(slowRoom, "I am Slow", "late", "later")
}

func TestOutage_AtStart(t *testing.T) {
	w := newWorld(t)
	homeserver := w.withFake()
	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown})
	w.start()
	w.await("the homeserver is missed", func() bool { return w.status().Homeserver.Error != "" })
	if status := w.status(); status.State != bridge.StateStarting || !status.Listener.OK {
		t.Errorf("status is %+v", status)
	}
	homeserver.SetFault(bridgetest.Fault{})
	w.awaitState(bridge.StateRunning)
}

func TestStart_WrongToken_Explained(t *testing.T) {
	w := newWorld(t)
	homeserver := w.withFake()
	right := w.config.AppService.ASToken
	w.config.AppService.ASToken = "wrong"
	w.start()
	w.awaitState(bridge.StateFailed)
	if status := w.status(); status.Since.IsZero() || !contains(status.Error, "registration file") {
		t.Errorf("status is %+v", status)
	}
	w.stop()
	w.config.AppService.ASToken = right
	w.start()
	w.awaitState(bridge.StateRunning)
	_ = homeserver
}

func TestStart_PortTaken_ReportedAndRetried(t *testing.T) {
	w := newWorld(t)
	w.withFake()
	other := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", w.config.AppService.Port), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = other.ListenAndServe() }()
	w.await("the port is taken", func() bool {
		resp, err := http.Get("http://" + other.Addr)
		if err == nil {
			resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
		}
		return err == nil
	})
	w.start()
	w.await("the listener fails", func() bool { return w.status().Listener.Error != "" })
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	w.awaitState(bridge.StateRunning)
}

func TestStart_OldHomeserver_RefusedOnlyIfConfigured(t *testing.T) {
	w := newWorld(t)
	service, err := bridgetest.ParseService(w.registrations()[0].Content)
	if err != nil {
		t.Fatal(err)
	}
	homeserver, err := bridgetest.NewHomeserver(bridgetest.Options{Versions: []string{"v1.2"}, Services: []bridgetest.Service{service}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(homeserver.Close)
	w.config.Homeserver.Address = homeserver.URL()
	w.config.Homeserver.IgnoreUnsupported = false
	w.start()
	w.awaitState(bridge.StateFailed)
	if status := w.status(); !contains(status.Error, "homeserver.ignore_unsupported") {
		t.Errorf("status is %+v", status)
	}
	w.stop()
	w.config.Homeserver.IgnoreUnsupported = true
	w.start()
	w.awaitState(bridge.StateRunning)
}
