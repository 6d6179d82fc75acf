// SPDX-License-Identifier: MPL-2.0

package notify_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/notify"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cast: two accounts with the same two contacts.
var (
	alice, anna = identity.PublicKey{1}, identity.PublicKey{2}
	bob, carol  = identity.PublicKey{3}, identity.PublicKey{4}
)

// node is a store as what sinks read.
type node struct {
	*store.Store
	writer kernel.Ref
}

func (n node) ConversationMessage(a identity.PublicKey, c store.ConversationID, id store.MessageID) (store.Message, error) {
	return n.Message(a, c, id)
}

func (n node) MoveCursor(ctx context.Context, consumer string, a identity.PublicKey, c store.ConversationID, seq uint64) error {
	_, err := store.Do[bool](ctx, n.writer, store.MoveCursor{Consumer: consumer, Account: a, Conversation: c, Seq: seq})
	return err
}

func (n node) WatchEvents() *store.Watch { return n.Watch(identity.PublicKey{}) }

// phone is a sink that records what it is told, fails, or hangs.
type phone struct {
	mu    sync.Mutex
	got   []notify.Notification
	err   error
	hangs bool
}

func (p *phone) send(ctx context.Context, n notify.Notification) error {
	p.mu.Lock()
	err, hangs := p.err, p.hangs
	if err == nil && !hangs {
		p.got = append(p.got, n)
	}
	p.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (p *phone) set(err error, hangs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.hangs = err, hangs
}

// take returns what was told since the last call, each as title and text.
func (p *phone) take() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.got {
		out = append(out, n.Title+": "+n.Text)
	}
	p.got = nil
	return out
}

type rig struct {
	t        *testing.T
	node     node
	stage    *kerneltest.Stage
	deps     notify.Deps
	ref      kernel.Ref
	guid     int64
	starts   int
	mu       sync.Mutex
	troubles []notify.Trouble
}

func newRig(t *testing.T, sinks ...notify.Sink) *rig {
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, stage: kerneltest.NewStage(t, kernel.Options{})}
	r.node = node{s, r.stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})}
	for a, name := range map[identity.PublicKey]string{alice: "Alice", anna: "Anna"} {
		must[bool](r, store.PutAccount{Account: store.Account{ID: a, Name: name}})
		for c, name := range map[identity.PublicKey]string{bob: "Bob", carol: "Carol"} {
			must[store.Added](r, store.AddContact{Contact: store.Contact{Account: a, ID: c, LocalName: name, State: store.ContactAccepted}})
		}
	}
	r.deps = notify.Deps{Dir: t.TempDir(), Node: r.node, Sinks: sinks, Troubles: func(context.Context) ([]notify.Trouble, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.troubles, nil
	}}
	r.start()
	virtual.Sleep(time.Second) // the sinks have begun
	return r
}

func must[R any](r *rig, op store.Op) R {
	r.t.Helper()
	result, err := store.Do[R](r.t.Context(), r.node.writer, op)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r *rig) start() {
	r.starts++
	r.ref = r.stage.Spawn(r.t, kernel.Spec{Name: "notify" + string(rune('0'+r.starts)), Kind: "notify", New: func() kernel.Actor { return notify.New(r.deps) }})
}

func (r *rig) restart() {
	r.stage.Stop(r.ref)
	kerneltest.Await[kernel.ChildStopped](r.t, r.stage.Probe, time.Minute)
	r.start()
	virtual.Sleep(time.Second)
}

// says stores a message, and lets it be told.
func (r *rig) says(account, contact identity.PublicKey, text string) {
	r.t.Helper()
	r.guid++
	must[store.Accepted](r, store.AcceptMessage{Account: account, Conversation: store.ContactConversation(contact), GUID: r.guid, Payload: []byte(text)})
	virtual.Sleep(time.Second)
}

func (r *rig) wrong(troubles ...notify.Trouble) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.troubles = troubles
}

func (r *rig) status() map[string]notify.SinkStatus {
	r.t.Helper()
	s, err := kernel.Ask[notify.Status](r.t.Context(), r.ref, notify.StatusRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(map[string]notify.SinkStatus)
	for _, sink := range s.Sinks {
		out[sink.Name] = sink
	}
	return out
}

func wants(t *testing.T, p *phone, want ...string) {
	t.Helper()
	if got := p.take(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// Each sink tells what its rules say, of its accounts and contacts, with or without
// content.
func TestNotify_RulesOfTwoSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all, some phone
		r := newRig(t, notify.Sink{Name: "all", Send: all.send, Content: true},
			notify.Sink{Name: "some", Send: some.send, Accounts: []identity.PublicKey{anna}, Contacts: []identity.PublicKey{carol}, Kinds: []string{"message"}})
		wants(t, &all)
		r.says(alice, bob, "one\x1b[31m")
		r.says(anna, bob, "two")
		r.says(anna, carol, "three")
		wants(t, &all, "Bob: one [31m", "Bob: two", "Carol: three")
		wants(t, &some, "Mimir: something new for Anna: ")
		must[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldMuted, Muted: true})
		r.says(alice, bob, "quietly")
		wants(t, &all)
		if got := r.status(); got["all"].Sent != 3 || got["some"].Sent != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// When nothing happens, the cursors of the sinks are at the end of what they have seen, also
// of events that they do not tell: nothing else waits for them then.
func TestNotify_Idle_CursorsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all, calls phone
		r := newRig(t, notify.Sink{Name: "all", Send: all.send}, notify.Sink{Name: "calls", Send: calls.send, Kinds: []string{"call"}})
		behind := func() (n int) {
			t.Helper()
			for _, account := range []identity.PublicKey{alice, anna} {
				last, err := r.node.LastEvent(account)
				if err != nil {
					t.Fatal(err)
				}
				for _, sink := range []string{"all", "calls"} {
					cursor, err := r.node.Cursor(notify.Consumer(sink), account, store.ConversationID{})
					if err != nil {
						t.Fatal(err)
					}
					if cursor < last {
						n++
					}
				}
			}
			return n
		}
		for _, account := range []identity.PublicKey{alice, anna} {
			r.says(account, bob, "one")
			must[bool](r, store.UpdateContact{Account: account, Contact: bob, Fields: store.FieldMuted, Muted: true})
			r.says(account, bob, "quietly")
		}
		if behind() == 0 {
			t.Error("every event moves the cursors")
		}
		virtual.Sleep(2 * time.Minute)
		if n := behind(); n != 0 {
			t.Errorf("%d cursors are behind", n)
		}
		r.restart()
		virtual.Sleep(2 * time.Minute)
		wants(t, &all, "Mimir: something new for Alice: ", "Mimir: something new for Anna: ")
		wants(t, &calls)
	})
}

// A sink that hangs or fails holds up no other, and tells everything in the end, as one;
// a restart in between loses nothing and repeats nothing.
func TestNotify_SinkFails_OthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good, bad phone
		r := newRig(t, notify.Sink{Name: "good", Send: good.send, Content: true}, notify.Sink{Name: "bad", Send: bad.send, Content: true})
		bad.set(nil, true)
		r.says(alice, bob, "one")
		r.says(alice, carol, "two")
		wants(t, &good, "Bob: one", "Carol: two")
		virtual.Sleep(45 * time.Second)
		bad.set(errors.New("no route"), false)
		virtual.Sleep(time.Minute)
		if got := r.status()["bad"]; got.Failures < 2 || got.Error == "" || got.Sent != 0 || got.Dropped != 0 {
			t.Errorf("%+v", got)
		}
		r.restart()
		bad.set(nil, false)
		virtual.Sleep(2 * time.Minute)
		wants(t, &bad, "2 new for Alice: Bob: one\nCarol: two")
		wants(t, &good)
		r.restart()
		virtual.Sleep(2 * time.Minute)
		wants(t, &bad)
		wants(t, &good)
	})
}

func TestNotify_FailsForADay_DroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p phone
		r := newRig(t, notify.Sink{Name: "phone", Send: p.send, Content: true})
		p.set(errors.New("no route"), false)
		r.says(alice, bob, "one")
		r.says(alice, bob, "two")
		virtual.Sleep(20 * time.Hour)
		if got := r.status()["phone"]; got.Dropped != 0 {
			t.Errorf("too early: %+v", got)
		}
		virtual.Sleep(6 * time.Hour)
		if got := r.status()["phone"]; got.Dropped != 2 {
			t.Errorf("%+v", got)
		}
		p.set(nil, false)
		virtual.Sleep(time.Hour)
		r.says(alice, bob, "three")
		wants(t, &p, "Bob: three")
	})
}

// In quiet hours nothing is told; after them it is, once.
func TestNotify_QuietHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC
		var p, other phone
		now := time.Duration(time.Now().Hour()) * time.Hour // of the local time, as in the configuration
		const day = 24 * time.Hour
		quiet := notify.Quiet{From: (now + time.Hour) % day, Until: (now + 3*time.Hour) % day}
		r := newRig(t, notify.Sink{Name: "phone", Send: p.send, Content: true, Quiet: quiet}, notify.Sink{Name: "other", Send: other.send, Content: true})
		r.says(alice, bob, "before")
		virtual.Sleep(time.Hour)
		wants(t, &p, "Bob: before")
		for _, text := range []string{"1", "2", "3", "4", "5", "6", "7"} {
			r.says(alice, bob, text)
		}
		virtual.Sleep(time.Hour)
		wants(t, &p)
		virtual.Sleep(2 * time.Hour)
		wants(t, &p, "7 new for Alice: Bob: 1\nBob: 2\nBob: 3\nBob: 4\nBob: 5\nand 2 more")
		if got := other.take(); len(got) != 8 {
			t.Errorf("the other was told %q", got)
		}
	})
}

// What is wrong is told once, when it has lasted, and again when it is over, also over a
// restart.
func TestNotify_Troubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p, q phone
		r := newRig(t, notify.Sink{Name: "p", Send: p.send}, notify.Sink{Name: "q", Send: q.send, Kinds: []string{"message"}})
		r.wrong(notify.Trouble{Code: "offline", Text: "No peer.", After: time.Hour}, notify.Trouble{Code: "disk_low", Text: "The disk is full."})
		virtual.Sleep(3 * time.Minute)
		wants(t, &p, "mimird needs attention: The disk is full.")
		virtual.Sleep(time.Hour)
		wants(t, &p, "mimird needs attention: No peer.")
		r.restart()
		virtual.Sleep(2 * time.Hour)
		wants(t, &p)
		r.wrong(notify.Trouble{Code: "offline", Text: "No peer.", After: time.Hour})
		virtual.Sleep(3 * time.Minute)
		wants(t, &p, "mimird is well again: Over: The disk is full.")
		p.set(errors.New("no route"), false)
		r.wrong()
		virtual.Sleep(10 * time.Minute)
		p.set(nil, false)
		virtual.Sleep(time.Hour)
		wants(t, &p, "mimird is well again: Over: No peer.")
		wants(t, &q)
	})
}

func TestSenders_HTTP(t *testing.T) {
	type request struct {
		header http.Header
		body   string
	}
	got := make(chan request, 4)
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got <- request{r.Header, string(raw)}
		w.WriteHeader(code)
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	n := notify.Notification{Kind: "trouble", Title: "Größe", Text: "one\ntwo", Count: 2}
	if err := notify.Ntfy(server.URL, "token")(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.body != "one\ntwo" || r.header.Get("Authorization") != "Bearer token" || r.header.Get("Title") != "=?utf-8?q?Gr=C3=B6=C3=9Fe?=" || r.header.Get("Priority") != "high" {
		t.Errorf("%+v", r)
	}
	if err := notify.Webhook(server.URL, "")(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	var back notify.Notification
	if r := <-got; json.Unmarshal([]byte(r.body), &back) != nil || back != n || r.header.Get("Authorization") != "" {
		t.Errorf("%+v", r)
	}
	code = http.StatusForbidden
	if err := notify.Webhook(server.URL, "")(t.Context(), n); err == nil || !strings.Contains(err.Error(), "answers 403") {
		t.Error(err)
	}
}

// smtpServer takes one mail and returns its lines.
func smtpServer(t *testing.T) (address string, mail func() []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan []string, 1)
	go func() {
		defer close(lines)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewScanner(conn)
		say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
		say("220 ready")
		var got []string
		for data := false; in.Scan(); {
			line := in.Text()
			got = append(got, line)
			switch {
			case data && line != ".":
			case data:
				data = false
				say("250 taken")
			case line == "DATA":
				data = true
				say("354 go on")
			case line == "QUIT":
				say("221 bye")
				lines <- got
				return
			default:
				say("250 fine")
			}
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String(), func() []string { return <-lines }
}

func TestSenders_Mail(t *testing.T) {
	address, mail := smtpServer(t)
	m := notify.Mail{Server: address, From: "node@example.org", To: "me@example.org"}
	if err := m.Send(t.Context(), notify.Notification{Title: "Bob\r\nBcc: evil@example.org", Text: ".\nhello"}); err != nil {
		t.Fatal(err)
	}
	got := mail()
	text := strings.Join(got, "\n")
	body, _ := base64.StdEncoding.DecodeString(got[slices.Index(got, "")+1])
	if !strings.Contains(text, "RCPT TO:<me@example.org>") || strings.Contains(text, "\nBcc") || !strings.HasSuffix(string(body), "\n\n.\nhello\n") {
		t.Errorf("%s\n%q", text, body)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Send(ended, notify.Notification{}); err == nil {
		t.Error("sent after its context")
	}
}

func TestSenders_Command(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	n := notify.Notification{Kind: "message", Title: "$(touch evil)", Count: 1}
	if err := notify.Command([]string{"sh", "-c", `cat >"$0"`, file})(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	var back notify.Notification
	if err != nil || json.Unmarshal(raw, &back) != nil || back != n {
		t.Errorf("%s, %v", raw, err)
	}
	if err := notify.Command([]string{"sh", "-c", "exit 3"})(t.Context(), n); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	if err := notify.Command([]string{"sh", "-c", "sleep 1000"})(soon, n); err == nil {
		t.Error("went on after its context")
	}
}
