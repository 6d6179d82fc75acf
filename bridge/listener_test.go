// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mimird/mimird/bridge"
)

// push sends a request to the bridge's listener, as a homeserver does.
func (w *world) push(token, path string, body io.Reader) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(soon(w.t), http.MethodPut, w.config.AppService.Address+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Close = true
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

const transactions = "/_matrix/app/v1/transactions/"

// Bar S18
func TestListener_WrongToken_Refused(t *testing.T) {
	w := newWorld(t)
	w.running()
	body := func() io.Reader { return strings.NewReader(`{"events":[]}`) }
	if status := w.push("", transactions+"1", body()); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	for _, token := range []string{"wrong", w.config.AppService.ASToken, w.config.AppService.HSToken + "x", w.config.AppService.HSToken[1:]} {
		if status := w.push(token, transactions+"1", body()); status != http.StatusForbidden {
			t.Errorf("with a wrong token: %d", status)
		}
	}
	if status := w.push(w.config.AppService.HSToken, transactions+"1", body()); status != http.StatusOK {
		t.Errorf("with the right token: %d", status)
	}
}

// Bar S18: a token that another server would have to be asked about is refused, and
// that server is not asked.
func TestListener_ForeignOpenIDToken_RefusedWithoutRequest(t *testing.T) {
	w := newWorld(t)
	w.running()
	asked := make(chan string, 10)
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	t.Cleanup(other.Close)
	for _, user := range []string{"@eve:" + strings.TrimPrefix(other.URL, "https://"), "@eve:elsewhere.example", "eve", ""} {
		req, err := http.NewRequestWithContext(soon(t), http.MethodGet,
			w.config.AppService.Address+"/_matrix/provision/v3/whoami?user_id="+url.QueryEscape(user), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Authorization", "Bearer openid:s3cr3t-t0ken")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", user, resp.Status)
		}
	}
	select {
	case path := <-asked:
		t.Errorf("the other server was asked for %s", path)
	default:
	}
	if w.log.contains("s3cr3t-t0ken") {
		t.Error("the token is in the log")
	}
}

// Bar S18
func TestListener_TransactionTooLarge_Refused(t *testing.T) {
	w := newWorld(t)
	w.running()
	large := io.MultiReader(strings.NewReader(`{"events":[],"x":"`), bytes.NewReader(bytes.Repeat([]byte("x"), 64<<20)), strings.NewReader(`"}`))
	if status := w.push(w.config.AppService.HSToken, transactions+"large", large); status != http.StatusRequestEntityTooLarge {
		t.Errorf("64 MiB and more: %d", status)
	}
	for _, body := range []string{"", "[", `{"events": 5}`, "null null"} {
		if status := w.push(w.config.AppService.HSToken, transactions+"bad", strings.NewReader(body)); status != http.StatusBadRequest {
			t.Errorf("%q: %d", body, status)
		}
	}
	// The homeserver pushes what the bridge does at its start, too.
	w.await("no transaction is stored", func() bool { return w.status().Transactions == 0 })
}

func TestTransactions_RepeatedOrMalformed(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	event := func(id, text string) string {
		return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"sender":"@alice:mimir.test","type":"m.room.message",`+
			`"origin_server_ts":1700000000000,"content":{"msgtype":"m.text","body":%q}}`, id, room, text)
	}
	push := func(txn string, events ...string) {
		t.Helper()
		body := `{"events":[` + strings.Join(events, ",") + `],"ephemeral":[5,{"type":"m.typing"}],"to_device":[null],"device_lists":{"changed":["x"]}}`
		if status := f.push(f.config.AppService.HSToken, transactions+txn, strings.NewReader(body)); status != http.StatusOK {
			t.Fatalf("%s: %d", txn, status)
		}
	}
	bad := []string{
		`{"event_id":"$b1","type":5}`, `{"event_id":"$b2","room_id":"` + string(room) + `","type":"m.room.message","sender":"@alice:mimir.test","content":{"body":7}}`,
		`{}`, `null`, `5`, `{"event_id":5}`, `{"event_id":"noid","type":"m.room.message"}`, `{"event_id":"$b3","type":"m.room.member","state_key":"@alice:mimir.test","content":"x"}`,
		`{"event_id":"$b4","room_id":"` + string(room) + `","type":"m.room.encrypted","sender":"@alice:mimir.test","content":{}}`,
	}
	push("1", append(bad, event("$one", "one"))...)
	push("1", append(bad, event("$one", "one"))...) // the answer was lost
	push("2", event("$two", "two"), event("$one", "one"))
	push("1", event("$three", "three")) // a homeserver that was set up anew
	f.awaitOutgoing(f.account, bob, "one", "two", "three")
}

func TestListener_BridgeRestarts_KeepsListening(t *testing.T) {
	f := newFixture(t)
	f.stop()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.config.AppService.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("something listens after the end")
	}
	// While the bridge itself cannot start, transactions are taken in.
	good := f.config.Homeserver.Address
	f.config.Homeserver.Address = "http://127.0.0.1:1"
	f.start()
	f.await("it listens", func() bool { return f.status().Listener.OK })
	if status := f.push(f.config.AppService.HSToken, transactions+"early", strings.NewReader(`{"events":[{"event_id":"$e","room_id":"!r"}]}`)); status != http.StatusOK {
		t.Errorf("a transaction: %d", status)
	}
	if status := f.status(); status.State != bridge.StateStarting || status.Transactions == 0 {
		t.Errorf("status is %+v", status)
	}
	resp, err := http.DefaultClient.Do(must(http.NewRequestWithContext(t.Context(), http.MethodGet,
		f.config.AppService.Address+"/_matrix/provision/v3/whoami", nil)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the API of a bridge that does not run: %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	f.stop()
	f.config.Homeserver.Address = good
	f.start()
	f.await("the transaction is dealt with", func() bool { return f.status().Transactions == 0 && f.status().State == bridge.StateRunning })
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
