// SPDX-License-Identifier: MPL-2.0

package bridgetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/bridgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon bounds conditions that hold at once on an idle machine.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

const registration = `
id: test
url: ""
as_token: as-token
hs_token: hs-token
sender_localpart: testbot
namespaces:
  users:
    - {regex: '@ghost_.*:mimir\.test', exclusive: true}
    - {regex: '@.*:mimir\.test', exclusive: false}
`

func startHomeserver(t *testing.T, services ...bridgetest.Service) *bridgetest.Homeserver {
	t.Helper()
	homeserver, err := bridgetest.NewHomeserver(bridgetest.Options{Services: services, PushRetry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(homeserver.Close)
	return homeserver
}

func person(t *testing.T, homeserver *bridgetest.Homeserver, name string) *bridgetest.Client {
	t.Helper()
	homeserver.CreateUser(name, "secret")
	client, err := bridgetest.Login(soon(t), homeserver.URL(), name, "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func testService(t *testing.T, url string) bridgetest.Service {
	t.Helper()
	service, err := bridgetest.ParseService([]byte(registration))
	if err != nil {
		t.Fatal(err)
	}
	service.URL = url
	return service
}

// asService returns a client that acts as a user of the service.
func asService(t *testing.T, homeserver *bridgetest.Homeserver) *mautrix.Client {
	t.Helper()
	const user = id.UserID("@ghost_1:mimir.test")
	client, err := mautrix.NewClient(homeserver.URL(), user, "as-token")
	if err != nil {
		t.Fatal(err)
	}
	client.SetAppServiceUserID = true
	client.Client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.Client.CloseIdleConnections)
	_, _, err = client.Register(soon(t), &mautrix.ReqRegister[any]{
		Username: user.Localpart(), Type: mautrix.AuthTypeAppservice, InhibitLogin: true,
	})
	if err != nil && !errors.Is(err, mautrix.MUserInUse) {
		t.Fatal(err)
	}
	return client
}

// recorder is an application service that refuses the first transactions.
type recorder struct {
	mu      sync.Mutex
	refuse  int
	txns    []string // as they came
	texts   []string // of accepted transactions
	changed chan struct{}
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer hs-token" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	rec.txns = append(rec.txns, r.URL.Path)
	if rec.refuse > 0 {
		rec.refuse--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var txn struct {
		Events []struct {
			Content struct {
				Body string `json:"body"`
			} `json:"content"`
		} `json:"events"`
	}
	if err := json.NewDecoder(r.Body).Decode(&txn); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, event := range txn.Events {
		if event.Content.Body != "" {
			rec.texts = append(rec.texts, event.Content.Body)
		}
	}
	select {
	case rec.changed <- struct{}{}:
	default:
	}
}

func TestPeopleTalk(t *testing.T) {
	homeserver := startHomeserver(t)
	alice, bob := person(t, homeserver, "alice"), person(t, homeserver, "bob")
	room, err := alice.OpenDirect(soon(t), bob.UserID())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := alice.SendText(soon(t), room, text); err != nil {
			t.Fatal(err)
		}
	}
	evt, err := bob.WaitText(soon(t), room, alice.UserID(), "three")
	if err != nil {
		t.Fatal(err)
	}
	if evt.Sender != "@alice:mimir.test" {
		t.Errorf("sender is %s", evt.Sender)
	}
	texts, err := bob.Texts(soon(t), room, alice.UserID())
	if want := []string{"one", "two", "three"}; err != nil || !slices.Equal(texts, want) {
		t.Errorf("texts are %q, %v", texts, err)
	}
}

func TestStrangersStayOut(t *testing.T) {
	homeserver := startHomeserver(t)
	alice, bob := person(t, homeserver, "alice"), person(t, homeserver, "bob")
	room, err := alice.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Matrix.JoinRoomByID(soon(t), room.RoomID); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("join without invitation: %v", err)
	}
	if _, err := bob.SendText(soon(t), room.RoomID, "hello"); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("send without joining: %v", err)
	}
	if _, err := bridgetest.Login(soon(t), homeserver.URL(), "alice", "wrong"); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("wrong password: %v", err)
	}
}

func TestServiceActsAsItsUsersOnly(t *testing.T) {
	homeserver := startHomeserver(t, testService(t, ""))
	ghost := asService(t, homeserver)
	if who, err := ghost.Whoami(soon(t)); err != nil || who.UserID != ghost.UserID {
		t.Errorf("whoami: %v, %v", who, err)
	}
	foreign, err := mautrix.NewClient(homeserver.URL(), "@ghost_1:elsewhere.test", "as-token")
	if err != nil {
		t.Fatal(err)
	}
	foreign.SetAppServiceUserID = true
	foreign.Client = ghost.Client
	if _, err := foreign.Whoami(soon(t)); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("foreign user: %v", err)
	}
}

func TestTransactionsArriveInOrderDespiteRefusals(t *testing.T) {
	rec := &recorder{refuse: 3, changed: make(chan struct{}, 1)}
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	homeserver := startHomeserver(t, testService(t, server.URL))
	alice, bob := person(t, homeserver, "alice"), person(t, homeserver, "bob")
	room, err := alice.OpenDirect(soon(t), bob.UserID())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "b", "c", "d"}
	for _, text := range want {
		if _, err := alice.SendText(soon(t), room, text); err != nil {
			t.Fatal(err)
		}
	}
	for done := false; !done; {
		select {
		case <-rec.changed:
		case <-soon(t).Done():
			t.Fatal("transactions did not arrive")
		}
		rec.mu.Lock()
		done = len(rec.texts) >= len(want)
		rec.mu.Unlock()
	}
	if !slices.Equal(rec.texts, want) {
		t.Errorf("texts are %q", rec.texts)
	}
	if rec.txns[0] != rec.txns[1] || rec.txns[1] != rec.txns[2] || rec.txns[2] != rec.txns[3] {
		t.Errorf("the refused transaction came under other ids: %q", rec.txns[:4])
	}
}

func TestTransactionIDMakesOneEventUntilForgotten(t *testing.T) {
	homeserver := startHomeserver(t, testService(t, ""))
	ghost := asService(t, homeserver)
	room, err := ghost.CreateRoom(soon(t), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	send := func() id.EventID {
		t.Helper()
		resp, err := ghost.SendMessageEvent(soon(t), room.RoomID, event.EventMessage,
			&event.MessageEventContent{MsgType: event.MsgText, Body: "hello"}, mautrix.ReqSendEvent{TransactionID: "txn"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.EventID
	}
	first := send()
	if again := send(); again != first {
		t.Errorf("the same transaction made %s and %s", first, again)
	}
	homeserver.ForgetTransactions()
	if later := send(); later == first {
		t.Error("the transaction was not forgotten")
	}
	sends := homeserver.Sends()
	if len(sends) != 3 || sends[0].Repeat || !sends[1].Repeat || sends[2].Repeat || sends[0].TxnID != "txn" {
		t.Errorf("recorded %+v", sends)
	}
}

func TestFaults(t *testing.T) {
	homeserver := startHomeserver(t, testService(t, ""))
	ghost := asService(t, homeserver)
	room, err := ghost.CreateRoom(soon(t), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(ctx context.Context) error {
		_, err := ghost.SendText(ctx, room.RoomID, "hello")
		return err
	}
	status := func(err error) int {
		var failure mautrix.HTTPError
		if errors.As(err, &failure) && failure.Response != nil {
			return failure.Response.StatusCode
		}
		return 0
	}

	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown})
	if err := send(soon(t)); err == nil || status(err) != 0 {
		t.Errorf("down: %v", err)
	}
	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: bridgetest.SendsOnly})
	if err := send(soon(t)); status(err) != http.StatusInternalServerError {
		t.Errorf("error: %v", err)
	}
	if _, err := ghost.Whoami(soon(t)); err != nil {
		t.Errorf("a request that the fault does not concern: %v", err)
	}
	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultRateLimit, RetryAfter: 1500 * time.Millisecond})
	ghost.IgnoreRateLimit = true
	if err := send(soon(t)); status(err) != http.StatusTooManyRequests {
		t.Errorf("rate limit: %v", err)
	}
	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultUnreachable})
	if err := send(soon(t)); status(err) != http.StatusBadGateway {
		t.Errorf("deaf: %v", err)
	}
	if _, err := ghost.Whoami(soon(t)); err != nil {
		t.Errorf("whoami while deaf: %v", err)
	}
	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.SendsOnly})
	if err := send(soon(t)); err == nil {
		t.Error("lost answer: no error")
	}
	homeserver.SetFault(bridgetest.Fault{})
	timeline := homeserver.Timeline(room.RoomID)
	if last := timeline[len(timeline)-1]; last.Type != "m.room.message" {
		t.Errorf("the request whose answer was lost was not served: the last event is %s", last.Type)
	}

	homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang})
	hung := make(chan error, 1)
	ctx := soon(t)
	go func() { hung <- send(ctx) }()
	if err := homeserver.Wait(ctx, func() bool {
		sends := homeserver.Sends()
		return sends[len(sends)-1].Fault == bridgetest.FaultHang
	}); err != nil {
		t.Fatal(err)
	}
	homeserver.SetFault(bridgetest.Fault{})
	if err := <-hung; err != nil {
		t.Errorf("after the hang: %v", err)
	}
}

func TestSlowRoomSlowsNoOther(t *testing.T) {
	homeserver := startHomeserver(t, testService(t, ""))
	ghost := asService(t, homeserver)
	var rooms [2]id.RoomID
	for i := range rooms {
		resp, err := ghost.CreateRoom(soon(t), &mautrix.ReqCreateRoom{})
		if err != nil {
			t.Fatal(err)
		}
		rooms[i] = resp.RoomID
	}
	homeserver.SetSlow(rooms[0], time.Hour)
	slow, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		_, err := ghost.SendText(slow, rooms[0], "late")
		hung <- err
	}()
	if _, err := ghost.SendText(soon(t), rooms[1], "in time"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-hung; !errors.Is(err, context.Canceled) {
		t.Errorf("the slow room answered: %v", err)
	}
}

func TestStateMembersAccountDataAndMedia(t *testing.T) {
	homeserver := startHomeserver(t, testService(t, ""))
	alice := person(t, homeserver, "alice")
	ghost := asService(t, homeserver)
	if err := ghost.SetDisplayName(soon(t), "Ghost"); err != nil {
		t.Fatal(err)
	}
	made, err := ghost.CreateRoom(soon(t), &mautrix.ReqCreateRoom{Name: "Home", Invite: []id.UserID{alice.UserID()}, IsDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := homeserver.Wait(soon(t), func() bool {
		return slices.Contains(homeserver.Members(made.RoomID, "join"), alice.UserID())
	}); err != nil {
		t.Fatalf("alice did not accept: %v", err)
	}
	var name event.RoomNameEventContent
	if err := alice.Matrix.StateEvent(soon(t), made.RoomID, event.StateRoomName, "", &name); err != nil || name.Name != "Home" {
		t.Errorf("room name: %q, %v", name.Name, err)
	}
	members, err := alice.Matrix.Members(soon(t), made.RoomID)
	if err != nil || len(members.Chunk) != 2 {
		t.Errorf("members: %v, %v", members, err)
	}
	data := map[string]string{"key": "value"}
	if err := alice.Matrix.SetAccountData(soon(t), "test", data); err != nil {
		t.Fatal(err)
	}
	var back map[string]string
	if err := alice.Matrix.GetAccountData(soon(t), "test", &back); err != nil || back["key"] != "value" {
		t.Errorf("account data: %v, %v", back, err)
	}
	uploaded, err := ghost.UploadBytes(soon(t), []byte("picture"), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	downloaded, err := alice.Matrix.DownloadBytes(soon(t), uploaded.ContentURI)
	if err != nil || string(downloaded) != "picture" {
		t.Errorf("media: %q, %v", downloaded, err)
	}
}
