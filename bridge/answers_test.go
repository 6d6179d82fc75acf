// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/cockroachdb/pebble/v2/vfs"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/virtual"
)

// answer is one way in which a homeserver, or a proxy before it, fails a request.
type answer struct {
	name  string
	fault bridgetest.Fault
	// away says that the answer is about no event and no room: the bridge waits.
	away bool
}

// answerStatuses are the statuses that are tried, each with every body.
var answerStatuses = []int{400, 401, 403, 404, 405, 413, 414, 415, 429, 500, 502, 504, 507}

// allAnswers are all ways to fail.
func allAnswers() []answer {
	codes := map[int]string{
		400: "M_BAD_STATE", 401: "M_UNKNOWN_TOKEN", 403: "M_FORBIDDEN", 404: "M_NOT_FOUND", 405: "M_UNRECOGNIZED",
		413: "M_TOO_LARGE", 414: "M_INVALID_PARAM", 415: "M_NOT_JSON", 429: "M_LIMIT_EXCEEDED",
	}
	answers := []answer{
		{"cut", bridgetest.Fault{Kind: bridgetest.FaultDown}, true},
		{"hang", bridgetest.Fault{Kind: bridgetest.FaultHang}, true},
	}
	for _, status := range answerStatuses {
		code := codes[status]
		if code == "" {
			code = "M_RESOURCE_LIMIT_EXCEEDED"
		}
		header := http.Header{}
		if status == http.StatusTooManyRequests {
			header.Set("Retry-After", "20")
		}
		for body, content := range map[string][]byte{
			"JSON":         []byte(`{"errcode":"` + code + `","error":"no"}`),
			"JSON no code": []byte(`{"error":"no"}`),
			"HTML":         []byte("<html><body><h1>" + http.StatusText(status) + "</h1>nginx</body></html>"),
			"empty":        nil,
			"garbage":      bytes.Repeat([]byte("\x00\xff{[\"garbage"), 1<<20/11),
		} {
			answers = append(answers, answer{
				fmt.Sprintf("%d %s", status, body),
				bridgetest.Fault{Kind: bridgetest.FaultAnswer, Status: status, Header: header, Body: content},
				status == http.StatusTooManyRequests,
			})
		}
	}
	slices.SortFunc(answers, func(a, b answer) int { return strings.Compare(a.name, b.name) })
	return answers
}

// bubble is the outgoing half of a bridge in virtual time, with a login of alice.
type bubble struct {
	t          *testing.T
	node       *testNode
	homeserver *bridgetest.Homeserver
	bridge     *bridge.OutgoingForTest
	account    identity.PublicKey
	log        *logBuffer
	opts       bridge.Options
	logger     *slog.Logger
}

const bubbleUser id.UserID = "@alice:mimir.test"

// inAnswerBubble runs a test with a bridge in virtual time.
func inAnswerBubble(t *testing.T, test func(b *bubble)) {
	t.Helper()
	inAnswerBubbleWith(t, func(*matrixconfig.Config) {}, test)
}

func inAnswerBubbleWith(t *testing.T, configure func(*matrixconfig.Config), test func(b *bubble)) {
	t.Helper()
	inStartBubble(t, configure, func(b *bubble, start func() error) {
		if err := start(); err != nil {
			b.t.Fatal(err)
		}
		b.account = b.node.addAccount("Alice")
		if err := b.bridge.Login(b.t.Context(), bubbleUser, b.account); err != nil {
			b.t.Fatal(err)
		}
		test(b)
	})
}

// inStartBubble is inAnswerBubble for a bridge that the test starts.
func inStartBubble(t *testing.T, configure func(*matrixconfig.Config), test func(b *bubble, start func() error)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, log: &logBuffer{}}
		b := &bubble{t: t, log: w.log}
		config := matrixconfig.Default()
		config.Homeserver.Domain = "mimir.test"
		config.Homeserver.SideSync = matrixconfig.SideSyncNever
		config.Bridge.Permissions = bridgeconfig.PermissionConfig{"mimir.test": &bridgeconfig.PermissionLevelUser}
		config.Matrix.MessageStatusEvents = true
		config.Encryption.Allow = false
		config.Network.WaitingNotice = 0
		configure(config)
		config.GenerateSecrets()
		w.config = config
		stage := kerneltest.NewStage(t, kernel.Options{Logger: slog.New(slog.DiscardHandler)})
		b.node = newTestNode(t, stage, store.Options{FS: vfs.NewMem()})
		var services []bridgetest.Service
		for _, registration := range w.registrations() {
			service, err := bridgetest.ParseService(registration.Content)
			if err != nil {
				t.Fatal(err)
			}
			services = append(services, service)
		}
		homeserver, err := bridgetest.NewHomeserver(bridgetest.Options{Services: services, InMemory: true, Versions: []string{"v1.6"}})
		if err != nil {
			t.Fatal(err)
		}
		b.homeserver = homeserver
		homeserver.CreateUser("alice", "secret")
		config.Homeserver.Address = homeserver.URL()
		logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		opts := bridge.Options{Config: config, Dir: dir, Retry: kernel.Backoff{Min: time.Second, Max: 5 * time.Minute}}
		b.opts, b.logger = opts, logger
		test(b, func() (err error) {
			b.bridge, err = bridge.StartOutgoingForTest(t.Context(), opts, b.node, homeserver, logger)
			return err
		})
		homeserver.SetFault(bridgetest.Fault{})
		if err := b.bridge.Stop(); err != nil {
			t.Error(err)
		}
		homeserver.Close()
		virtual.Sleep(10 * time.Second) // what the library leaves ends meanwhile
	})
}

// logged is the end of the log.
func (b *bubble) logged() string {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	text := b.log.text.String()
	return text[max(0, len(text)-4000):]
}

// pass lets virtual time pass.
func (b *bubble) pass(d time.Duration) {
	b.t.Helper()
	virtual.Sleep(d)
	synctest.Wait()
}

// talk is a conversation of a bubble.
type talk struct {
	*bubble
	name    string
	contact identity.PublicKey
	first   store.MessageID // "I am ..."
	wrote   store.Message   // what alice has written to the contact
	file    store.MessageID
}

// meet makes a conversation, without a room.
func (b *bubble) meet(name string) *talk {
	b.t.Helper()
	return &talk{bubble: b, name: name, contact: b.node.addContact(b.account, name)}
}

func (c *talk) says(texts ...string) { c.node.receive(c.account, c.contact, texts...) }

func (c *talk) room() id.RoomID {
	c.t.Helper()
	room, err := c.bridge.Room(c.t.Context(), c.account, c.contact)
	if err != nil {
		c.t.Fatal(err)
	}
	return room
}

// ghostOf is the user of an identity.
func (b *bubble) ghostOf(key identity.PublicKey) id.UserID {
	return id.NewUserID("mimir_"+key.String(), "mimir.test")
}

func (c *talk) ghost() string { return string(c.ghostOf(c.contact)) }

// sends writes to the contact, and not in Matrix.
func (c *talk) sends(text string) store.Message {
	c.t.Helper()
	m, err := c.node.Send(c.t.Context(), node.Outgoing{
		Account: c.account, Contact: c.contact, Source: "elsewhere/" + c.name + text, Type: peer.TypeText, Payload: []byte(text),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// shown are the texts of the room, without what says of itself that it is not for
// people.
func (c *talk) shown() []string {
	c.t.Helper()
	var texts []string
	for _, event := range c.homeserver.Timeline(c.room()) {
		var content struct {
			Body string `json:"body"`
		}
		if event.Type == "m.room.message" && json.Unmarshal(event.Content, &content) == nil {
			texts = append(texts, content.Body)
		}
	}
	return texts
}

func (c *talk) waiting() bridge.Waiting {
	c.t.Helper()
	for _, w := range c.bridge.Status().Waiting {
		if w.Contact == c.contact {
			return w
		}
	}
	return bridge.Waiting{}
}

// outcome is what becomes of something that the homeserver refuses, while it accepts
// everything else.
type outcome uint8

const (
	// noticed: a notice takes its place, and the next message follows.
	noticed outcome = iota
	// dropped: the next message follows. That is for what nobody misses.
	dropped
	// parked: the conversation waits for somebody to repair its room.
	parked
)

// outgoingRequest is a request of the bridge that belongs to one conversation.
type outgoingRequest struct {
	name    string
	outcome outcome
	// routes are its addresses. One that is in no list fails
	// TestAnswers_EveryRequestInTable.
	routes []string
	// room says that the conversation has a room before the fault.
	room bool
	// prepare, when set, is called then.
	prepare func(c *talk)
	// cause makes the bridge send it.
	cause func(c *talk)
	// meets tells the requests of one conversation.
	meets func(c *talk) bridgetest.Fault
	// tests says that it is what the bridge tests the homeserver with: with a 5xx for it
	// the homeserver counts as broken.
	tests bool
	// done reports whether it has got through.
	done func(c *talk) bool
}

func inRoom(c *talk, path string) func(*http.Request) bool {
	room := c.room()
	return func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/rooms/"+string(room)+"/") && strings.Contains(r.URL.Path, path)
	}
}

func (c *talk) hasText(text string) bool { return slices.Contains(c.shown(), text) }

func (c *talk) hasEvent(eventType string) bool {
	return slices.ContainsFunc(c.homeserver.Timeline(c.room()), func(e bridgetest.Event) bool { return e.Type == eventType })
}

// routeRooms is the route of a request about a room.
func routeRooms(method, rest string) string {
	return method + " /_matrix/client/v3/rooms/{room}/" + rest
}

var routeSend = routeRooms("PUT", "send/{type}/{txn}")

// otherRoutes are the requests of the bridge that belong to no conversation, or that
// only read what others need: see sharedRequests and TestAnswers_EveryAnswerAtStart.
var otherRoutes = []string{
	"GET /_matrix/client/v3/account/whoami",
	"GET /_matrix/client/v3/capabilities",
	"GET /_matrix/client/versions",
	"GET /_matrix/client/v1/media/config",
	"GET /_matrix/client/v3/profile/{user}",
	"GET /_matrix/client/v3/profile/{user}/{key}",
	"PUT /_matrix/client/v3/user/{user}/account_data/{type}",
	"GET /_matrix/client/v3/user/{user}/account_data/{type}",
	routeRooms("GET", "members"),
	routeRooms("GET", "state/{type}"),
	routeRooms("GET", "state/{type}/{key...}"),
}

func TestAnswers_EveryRequestInTable(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		known := make(map[string]bool)
		for i, request := range outgoingRequests() {
			c := b.meet(fmt.Sprintf("%s %d", request.name, i))
			if request.room {
				c.first = b.node.receive(b.account, c.contact, "hello")[0]
				c.wrote = c.sends("mine")
				b.pass(10 * time.Second)
			}
			if request.prepare != nil {
				request.prepare(c)
				b.pass(10 * time.Second)
			}
			request.cause(c)
			c.says("after")
			b.pass(time.Minute)
			if !request.done(c) || !c.hasText("after") {
				t.Errorf("%s: without a fault: %q", request.name, c.shown())
			}
			for _, route := range request.routes {
				known[route] = true
			}
		}
		for _, route := range b.homeserver.Routes() {
			if !known[route] && !slices.Contains(otherRoutes, route) {
				t.Errorf("the bridge makes a request that is in no table: %s", route)
			}
		}
	})
}

func outgoingRequests() []outgoingRequest {
	return []outgoingRequest{
		{
			name: "text", outcome: noticed, room: true, routes: []string{routeSend},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: inRoom(c, "/send/m.room.message/"), Content: `"poison"`}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "upload", outcome: noticed, room: true, routes: []string{"POST /_matrix/media/v3/upload"},
			cause: func(c *talk) {
				c.file = c.node.offer(c.account, c.contact, transfer.Info{Name: c.name + ".txt", MIMEType: "text/plain"})
				c.node.arrive(c.file, store.MediaStored, []byte("the file of "+c.name+"."))
			},
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{
					Only:    func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/upload") },
					Content: "the file of " + c.name + ".",
				}
			},
			done: func(c *talk) bool { return c.hasText(c.name + ".txt") },
		},
		{
			name: "reaction", outcome: noticed, room: true, routes: []string{routeSend},
			cause: func(c *talk) { c.react("👍") },
			meets: func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/send/m.reaction/")} },
			done:  func(c *talk) bool { return c.hasEvent("m.reaction") },
		},
		{
			name: "edit", outcome: noticed, room: true,
			cause: func(c *talk) { c.edit("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: inRoom(c, "/send/m.room.message/"), Content: `"m.new_content"`}
			},
			done: func(c *talk) bool {
				return slices.ContainsFunc(c.shown(), func(text string) bool { return strings.Contains(text, "poison") })
			},
		},
		{
			name: "receipt", outcome: dropped, room: true, routes: []string{routeSend},
			cause: func(c *talk) { c.isDelivered() },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: inRoom(c, "/send/com.beeper.message_send_status/")}
			},
			done: func(c *talk) bool { return c.hasEvent("com.beeper.message_send_status") },
		},
		{
			name: "read receipt", outcome: dropped, room: true, routes: []string{routeRooms("POST", "receipt/{marker}/{event}")},
			cause: func(c *talk) { c.isDelivered() },
			meets: func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/receipt/")} },
			done: func(c *talk) bool {
				return slices.ContainsFunc(c.homeserver.Receipts(), func(r bridgetest.Receipt) bool { return r.Room == c.room() })
			},
		},
		{
			name: "redaction", outcome: noticed, room: true, routes: []string{routeRooms("PUT", "redact/{event}/{txn}")},
			prepare: func(c *talk) { c.react("👍") },
			cause:   func(c *talk) { c.react("") },
			meets:   func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/redact/")} },
			done:    func(c *talk) bool { return c.hasEvent("m.room.redaction") },
		},
		{
			// Nothing is lost when the room cannot be searched for what it may have already.
			name: "search", outcome: dropped, room: true, routes: []string{routeRooms("GET", "messages")},
			prepare: func(c *talk) { c.bridge.Doubt(c.account, c.contact) },
			cause:   func(c *talk) { c.says("poison") },
			meets:   func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/messages")} },
			done:    func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "barrier", outcome: dropped, room: true, tests: true, routes: []string{routeSend},
			prepare: func(c *talk) { c.bridge.Doubt(c.account, c.contact) },
			cause:   func(c *talk) { c.says("poison") },
			meets:   func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/send/im.mimir.barrier/")} },
			done:    func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "room name", outcome: dropped, room: true, routes: []string{routeRooms("PUT", "state/{type}"), routeRooms("PUT", "state/{type}/{key...}")},
			cause: func(c *talk) { c.isCalled("New " + c.name) },
			meets: func(c *talk) bridgetest.Fault { return bridgetest.Fault{Only: inRoom(c, "/state/m.room.name")} },
			done:  func(c *talk) bool { return c.hasText("after") },
		},
		{
			name: "invitation", outcome: parked, routes: []string{routeRooms("POST", "invite")},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: func(r *http.Request) bool {
					return strings.HasSuffix(r.URL.Path, "/state/m.room.member/"+string(bubbleUser)) &&
						strings.Contains(r.URL.Path, "/rooms/"+string(c.room())+"/")
				}}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "new room", outcome: parked, routes: []string{"POST /_matrix/client/v3/createRoom", "GET /_matrix/client/v3/joined_rooms", routeRooms("GET", "state")},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{
					Only:    func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/createRoom") },
					Content: c.contact.String(),
				}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "registration", outcome: parked, routes: []string{"POST /_matrix/client/v3/register"},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{
					Only:    func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/register") },
					Content: c.contact.String(),
				}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "join", outcome: parked, routes: []string{routeRooms("POST", "join"), "POST /_matrix/client/v3/join/{room}"},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: func(r *http.Request) bool {
					return strings.Contains(r.URL.Path, "/join") && r.URL.Query().Get("user_id") == c.ghost() ||
						strings.HasSuffix(r.URL.Path, "/state/m.room.member/"+c.ghost())
				}}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
		{
			name: "name", outcome: dropped, routes: []string{"PUT /_matrix/client/v3/profile/{user}/{key}"},
			cause: func(c *talk) { c.says("poison") },
			meets: func(c *talk) bridgetest.Fault {
				return bridgetest.Fault{Only: func(r *http.Request) bool {
					return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/profile/"+c.ghost()+"/displayname")
				}}
			},
			done: func(c *talk) bool { return c.hasText("poison") },
		},
	}
}

func (c *talk) react(emoji string) {
	c.t.Helper()
	payload := peer.Reaction{Target: peer.GUID(c.first.GUID), Emoji: emoji}.AppendTo(nil)
	c.node.accept(store.AcceptMessage{Account: c.account, Conversation: store.ContactConversation(c.contact), Type: int32(peer.TypeReaction), Payload: payload})
}

func (c *talk) edit(text string) {
	c.t.Helper()
	c.node.accept(store.AcceptMessage{
		Account: c.account, Conversation: store.ContactConversation(c.contact), GUID: c.first.GUID, Payload: []byte(text), EditTime: store.MillisOf(time.Now()),
	})
}

// isCalled makes the contact have another name.
func (c *talk) isCalled(name string) {
	c.t.Helper()
	if _, err := c.node.RenameContact(c.t.Context(), c.account, c.contact, name); err != nil {
		c.t.Fatal(err)
	}
}

func (c *talk) isDelivered() {
	c.t.Helper()
	c.node.acknowledge(c.account, c.contact, c.wrote.ID)
}

// Bars R06, R07, S16
func TestAnswers_EveryAnswerToEveryRequest(t *testing.T) {
	for _, request := range outgoingRequests() {
		t.Run(request.name, func(t *testing.T) {
			inAnswerBubble(t, func(b *bubble) { everyAnswer(b, request) })
		})
	}
}

// isRefusal tells the notices in place of what was refused.
func isRefusal(text string) bool {
	return strings.Contains(text, "cannot be") || strings.Contains(text, "refused by your homeserver") ||
		strings.Contains(text, "larger than your homeserver takes")
}

// checkRetryAfter fails when something was sent again before the time that the
// homeserver had asked for.
func (c *talk) checkRetryAfter(a answer) {
	c.t.Helper()
	if a.fault.Status != http.StatusTooManyRequests {
		return
	}
	var last time.Time
	room := c.room()
	for _, send := range c.homeserver.Sends() {
		if send.Room != room || send.Fault != bridgetest.FaultAnswer {
			continue
		}
		if !last.IsZero() && send.At.Sub(last) < 20*time.Second {
			c.t.Errorf("%s: sent again after %v", a.name, send.At.Sub(last))
		}
		last = send.At
	}
}

func everyAnswer(b *bubble, request outgoingRequest) {
	t := b.t
	answers := allAnswers()
	other := b.meet("Other")
	other.says("I am Other")
	talks := make([]*talk, len(answers))
	for i := range answers {
		c := b.meet(fmt.Sprintf("%s %d", request.name, i))
		talks[i] = c
		if !request.room {
			continue
		}
		c.first = b.node.receive(b.account, c.contact, "hello")[0]
		c.wrote = c.sends("mine")
	}
	b.pass(30 * time.Second)
	for _, c := range talks {
		if request.prepare != nil {
			request.prepare(c)
		}
	}
	b.pass(30 * time.Second)
	if status := b.bridge.Status(); status.Conversations != 0 {
		t.Fatalf("before any fault: %+v\n%s", status, b.logged())
	}
	faults := make([]bridgetest.Fault, len(answers))
	for i, c := range talks {
		fault, meets := answers[i].fault, request.meets(c)
		fault.Only, fault.Content = meets.Only, meets.Content
		faults[i] = fault
	}
	b.homeserver.SetFaults(faults...)
	for _, c := range talks {
		request.cause(c)
		c.says("after")
	}
	b.pass(time.Second)
	other.says("in time")
	b.pass(2 * time.Second)
	if !other.hasText("in time") {
		t.Errorf("another conversation is late: %q", other.shown())
	}
	b.pass(72 * time.Second)
	for i, c := range talks {
		w := c.waiting()
		waits := answers[i].away || request.outcome == parked || request.tests && answers[i].fault.Status >= http.StatusInternalServerError
		switch {
		case request.outcome == dropped && !waits:
			if !c.hasText("after") {
				t.Errorf("%s: the next message does not follow: %q, %+v", answers[i].name, c.shown(), w)
			}
		case waits:
			if w.Error == "" && !request.done(c) {
				t.Errorf("%s: nobody is told: %+v", answers[i].name, w)
			}
		default:
			shown := c.shown()
			if w.Error != "" || shown[len(shown)-1] != "after" || !isRefusal(shown[len(shown)-2]) {
				t.Errorf("%s: no notice in its place: %q, %+v", answers[i].name, shown, w)
			}
		}
	}
	for i, c := range talks {
		c.checkRetryAfter(answers[i])
	}
	b.homeserver.SetFault(bridgetest.Fault{})
	b.pass(90 * time.Minute)
	for i, c := range talks {
		shown := c.shown()
		last := "after"
		if len(shown) == 0 || shown[len(shown)-1] != last {
			t.Errorf("%s: lost after the repair: %q, %+v", answers[i].name, shown, c.waiting())
		}
		if answers[i].away && !request.done(c) {
			t.Errorf("%s: replaced although the homeserver was away: %q", answers[i].name, shown)
		}
	}
}
