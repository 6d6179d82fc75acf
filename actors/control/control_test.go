// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// withControl gives a node of a test world a control API.
func withControl(t *testing.T, socket string) func(*node.Options) {
	t.Helper()
	return func(o *node.Options) {
		o.Parts = []node.Part{{Name: "control", New: control.New(control.Options{
			Socket: socket, Version: "test",
			Parts: map[string]func(context.Context) (any, error){
				"fine":   say(map[string]int{"n": 1}, nil),
				"broken": say(nil, errors.New("is broken")),
			},
		})}}
	}
}

func say(answer any, err error) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return answer, err }
}

type rig struct {
	alice, bob *actorstest.Node
	client     *client.Client
	socket     string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{socket: filepath.Join(t.TempDir(), "s")}
	w := actorstest.New(t, memnet.Options{})
	r.alice, r.bob = w.Node("alice", withControl(t, r.socket)), w.Node("bob")
	r.client = client.New(r.socket)
	t.Cleanup(r.client.Close)
	r.alice.Eventually("the control API answers", func() bool {
		_, err := r.client.Accounts(t.Context())
		return err == nil
	})
	return r
}

func TestConversationThroughTheAPI(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	events := make(chan control.Event, 64)
	following, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- r.client.Follow(following, "-", 0, func(e control.Event) error { events <- e; return nil })
	}()
	defer func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ended with %v", err)
		}
	}()

	added, err := r.client.AddContact(ctx, "-", r.bob.Link(r.bob.Account).String())
	if err != nil {
		t.Fatal(err)
	}
	if added.Name != "bob" || added.State != "accepted" || added.ID != r.bob.Account.ID.String() {
		t.Errorf("added %+v", added)
	}
	if _, err := r.bob.AddContact(ctx, r.bob.Account.ID, r.alice.Link(r.alice.Account)); err != nil {
		t.Fatal(err)
	}
	sent, err := r.client.Send(ctx, "alice", "bob", control.Text{Text: "hello", Source: "one"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.client.Send(ctx, "alice", "bob", control.Text{Text: "hello", Source: "one"})
	if err != nil || again.ID != sent.ID {
		t.Errorf("the same source queued %v (%v), first %v", again.ID, err, sent.ID)
	}
	r.bob.Eventually("bob hears alice", func() bool { return len(r.bob.Heard(r.alice)) == 1 })
	r.bob.Say(r.alice, "hello yourself")

	// Not in this order: bob may answer before alice is told that he has her text.
	want := []string{"account_added", "contact_added", "message_queued", "message_delivered", "message_received"}
	for len(want) > 0 {
		select {
		case e := <-events:
			want = slices.DeleteFunc(want, func(kind string) bool { return kind == e.Kind })
			if e.Kind == "message_received" && (e.Message == nil || e.Message.Text != "hello yourself" || e.Name != "bob") {
				t.Errorf("event %+v", e)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("still waiting for %v", want)
		}
	}
	page, err := r.client.Messages(ctx, "-", r.bob.Account.ID.String(), 0, 10)
	if err != nil || len(page) != 2 || page[0].Text != "hello yourself" || page[1].State != "delivered" {
		t.Errorf("messages %+v, %v", page, err)
	}
	contacts, err := r.client.Contacts(ctx, "-")
	if err != nil || len(contacts) != 1 || !contacts[0].Online {
		t.Errorf("contacts %+v, %v", contacts, err)
	}
}

// Somebody cleans up: the API is there again, at a socket of its own.
func TestSocket_Removed_Recreated(t *testing.T) {
	r := newRig(t)
	if err := os.Remove(r.socket); err != nil {
		t.Fatal(err)
	}
	r.alice.EventuallyWithin(2*time.Minute, "the socket is there again", func() bool {
		api := client.New(r.socket)
		defer api.Close()
		_, err := api.Accounts(t.Context())
		return err == nil
	})
	if info, err := os.Lstat(r.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the new socket: %v, %v", info, err)
	}
}

func TestLargestTextIsAccepted(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.AddContact(t.Context(), "-", r.bob.Link(r.bob.Account).String()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Send(t.Context(), "-", "bob", control.Text{Text: strings.Repeat("x", 1<<20)}); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	var refusal *client.Error
	if _, err := r.client.Send(t.Context(), "-", "bob", control.Text{Text: strings.Repeat("x", 1<<20+1)}); !errors.As(err, &refusal) {
		t.Errorf("1 MiB and a byte: %v", err)
	}
}

// JSON makes six bytes of one of these: neither the request nor the event may be
// too long for that.
func TestLargestText_AnyCharacters_Accepted(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.AddContact(t.Context(), "-", r.bob.Link(r.bob.Account).String()); err != nil {
		t.Fatal(err)
	}
	texts := []string{strings.Repeat("<", 1<<20), strings.Repeat("\x01", 1<<20), strings.Repeat("\u2028", 1<<20/3)}
	for _, text := range texts {
		if _, err := r.client.Send(t.Context(), "-", "bob", control.Text{Text: text}); err != nil {
			t.Fatalf("%q…: %v", text[:3], err)
		}
	}
	seen := 0
	enough := errors.New("enough")
	err := r.client.Follow(t.Context(), "-", 0, func(e control.Event) error {
		if e.Kind == "message_queued" {
			if e.Message.Text != texts[seen] {
				t.Errorf("text %d is %d bytes, want %d", seen, len(e.Message.Text), len(texts[seen]))
			}
			seen++
		}
		if seen == len(texts) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("following ended with %v after %d texts", err, seen)
	}
}

// A decoder puts U+FFFD where there is no UTF-8; the contact would get another text
// than was given.
func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.AddContact(t.Context(), "-", r.bob.Link(r.bob.Account).String()); err != nil {
		t.Fatal(err)
	}
	raw := rawClient(r.socket)
	defer raw.CloseIdleConnections()
	resp, err := raw.Post("http://mimird/v1/accounts/-/conversations/bob/messages", "application/json", strings.NewReader("{\"text\":\"\xfc\"}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("status %s", resp.Status)
	}
	page, err := r.client.Messages(t.Context(), "-", "bob", 0, 1)
	if err != nil || len(page) != 0 {
		t.Errorf("messages %v, %v", page, err)
	}
}

// What a contact calls itself is a segment of a path.
func TestContactsMayHaveAnyName(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"..", ".", "a/../b", "%2E", "a b", "?x=1#y", "ü"} {
		if _, err := r.client.BlockContact(t.Context(), "-", name); err == nil || !strings.Contains(err.Error(), "no such contact") {
			t.Errorf("%q before it is there: %v", name, err)
		}
		w := actorstest.New(t, memnet.Options{})
		other := w.Node("other")
		link := other.Link(other.Account)
		link.Name = name
		if _, err := r.client.AddContact(t.Context(), "-", link.String()); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if c, err := r.client.BlockContact(t.Context(), "-", name); err != nil || c.ID != link.Key.String() {
			t.Errorf("%q: %+v, %v", name, c, err)
		}
	}
}

// The list is streamed a page at a time: it has every contact of the account once, in the
// order of their keys, and no others.
func TestContacts_MoreThanAPage_AllListed(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.CreateAccount(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"alice": nil, "second": nil}
	for account, n := range map[string]int{"alice": 130, "second": 3} { // three pages, and one
		for range n {
			key, err := identity.GeneratePrivateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.client.AddContact(t.Context(), account, key.Public().String()); err != nil {
				t.Fatal(err)
			}
			want[account] = append(want[account], key.Public().String())
		}
	}
	for account := range want {
		slices.Sort(want[account])
		var streamed []string
		err := r.client.EachContact(t.Context(), account, func(c control.Contact) error {
			streamed = append(streamed, c.ID)
			return nil
		})
		if diff := cmp.Diff(want[account], streamed); diff != "" || err != nil {
			t.Errorf("%s: %s %v", account, diff, err)
		}
		whole, err := r.client.Contacts(t.Context(), account)
		if err != nil || len(whole) != len(want[account]) {
			t.Errorf("%s: %d contacts, %v", account, len(whole), err)
		}
	}
	enough := errors.New("enough")
	if err := r.client.EachContact(t.Context(), "alice", func(control.Contact) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if err := r.client.EachContact(t.Context(), "third", func(control.Contact) error { return nil }); err == nil {
		t.Error("an account that is not there has contacts")
	}
}

func TestStatusShowsThePartsOfTheProcess(t *testing.T) {
	r := newRig(t)
	s, err := r.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != "test" || s.Node != r.alice.Key().String() || !s.Overlay.Running || len(s.Trackers) != 1 || len(s.Accounts) != 1 {
		t.Errorf("status %+v", s)
	}
	if got := string(s.Parts["fine"]); got != `{"n":1}` {
		t.Errorf("fine: %s", got)
	}
	if got := string(s.Parts["broken"]); !strings.Contains(got, "is broken") {
		t.Errorf("broken: %s", got)
	}
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	unknown := strings.Repeat("ab", 32)
	cases := []struct {
		name   string
		call   func() error
		status int
		text   string
	}{
		{"unknown account", func() error { _, err := r.client.Contacts(ctx, "nobody"); return err }, 404, "no such account"},
		{"unknown contact", func() error { _, err := r.client.Send(ctx, "-", "nobody", control.Text{Text: "x"}); return err }, 404, "no such contact"},
		{"a contact that was never added", func() error {
			_, err := r.client.Send(ctx, "-", r.bob.Account.ID.String(), control.Text{Text: "x"})
			return err
		}, 404, "no such contact"},
		{"bad link", func() error { _, err := r.client.AddContact(ctx, "-", "https://example.org"); return err }, 422, "contact link"},
		{"a key that is none", func() error { _, err := r.client.AddContact(ctx, "-", unknown); return err }, 422, ""},
		{"own key", func() error { _, err := r.client.AddContact(ctx, "-", r.alice.Account.ID.String()); return err }, 422, "own key"},
		{"empty text", func() error { _, err := r.client.Send(ctx, "-", "bob", control.Text{}); return err }, 422, "the node refuses this: text: expected length >= 1"},
		{"an account that is a way up", func() error { return r.client.Follow(ctx, "..", 0, nil) }, 404, "no such account"},
		{"empty account name", func() error { _, err := r.client.CreateAccount(ctx, ""); return err }, 422, "name"},
		{"following an unknown account", func() error { return r.client.Follow(ctx, "nobody", 0, nil) }, 404, "no such account"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.call()
			var refusal *client.Error
			if !errors.As(err, &refusal) || refusal.Status != c.status || !strings.Contains(refusal.Text, c.text) {
				t.Errorf("%v, want status %d and %q", err, c.status, c.text)
			}
		})
	}
}

func TestSeveralAccountsMustBeNamed(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	second, err := r.client.CreateAccount(ctx, "work")
	if err != nil || second.Name != "work" {
		t.Fatalf("%+v, %v", second, err)
	}
	var refusal *client.Error
	if _, err := r.client.Contacts(ctx, "-"); !errors.As(err, &refusal) || refusal.Status != http.StatusConflict {
		t.Errorf("an unnamed account among several: %v", err)
	}
	for _, name := range []string{"work", "alice", second.ID} {
		if _, err := r.client.Contacts(ctx, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bar S20: only the owner can open the socket.
func TestSocketIsPrivate(t *testing.T) {
	r := newRig(t)
	info, err := os.Stat(r.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestClientSaysThatTheNodeIsNotRunning(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	api := client.New(socket)
	if _, err := api.Status(t.Context()); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	// One that was left behind by a killed process.
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Status(t.Context()); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("a stale socket: %v", err)
	}
}

// A node that is killed leaves off anywhere.
func TestFollowGivesWholeEventsOnly(t *testing.T) {
	const event = "data: {\"seq\":1,\"kind\":\"message_received\"}\n\n"
	for cut := range len(event) {
		got, err := follow(t, func(w io.Writer) { _, _ = io.WriteString(w, event+event[:cut]) })
		want := 1
		if strings.Contains(event[:cut], "\n") {
			want = 2
		}
		if err == nil || err.Error() != client.ErrNotRunning.Error() || len(got) > want {
			t.Errorf("cut after %d bytes: %d events, %v", cut, len(got), err)
		}
	}
}

func TestFollowReadsLongEventsAndNoLongerOnes(t *testing.T) {
	long := strings.Repeat("x", 6<<20)
	got, err := follow(t, func(w io.Writer) {
		for _, text := range []string{long, "short"} {
			_, _ = fmt.Fprintf(w, "data: {\"seq\":1,\"name\":%q}\n\n", text)
		}
		_, _ = io.Copy(w, zeros{}) // until the client goes
	})
	if !errors.Is(err, bufio.ErrTooLong) || len(got) != 2 || got[0].Name != long || got[1].Name != "short" {
		t.Errorf("%d events, %v", len(got), err)
	}
}

// A bot may think about an event, and people stop the output of a terminal.
func TestFollow_SlowReader_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		long := strings.Repeat("x", 100<<10) // more than what is on its way to a reader
		for range 5 {
			alice.Say(bob, long)
		}
		local := client.NewLocal(alice.Node, control.Options{})
		defer func() { _ = local.Close() }()
		var got []string
		errEnough := errors.New("enough")
		err := local.Follow(t.Context(), "-", 0, func(e control.Event) error {
			if e.Kind == "message_queued" {
				got = append(got, e.Message.Text)
			}
			if len(got) == 5 {
				return errEnough
			}
			virtual.Sleep(time.Hour)
			return nil
		})
		if !errors.Is(err, errEnough) || slices.ContainsFunc(got, func(text string) bool { return text != long }) {
			t.Errorf("%d events, then %v", len(got), err)
		}
	})
}

// follow returns what a client makes of a stream that ends in the middle.
func follow(t *testing.T, write func(io.Writer)) (events []control.Event, err error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/contacts") {
			_, _ = io.WriteString(w, "[]")
			return
		}
		write(w) // the client is there
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	api := client.New(socket)
	err = api.Follow(t.Context(), "-", 0, func(e control.Event) error {
		events = append(events, e)
		return nil
	})
	api.Close()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-served
	return events, err
}

func TestBodiesAreBounded(t *testing.T) {
	r := newRig(t)
	raw := rawClient(r.socket)
	defer raw.CloseIdleConnections()
	resp, err := raw.Post("http://mimird/v1/accounts", "application/json", io.LimitReader(zeros{}, 100<<20))
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("100 MiB were accepted: %s", resp.Status)
		}
	}
	if _, err := r.client.Accounts(t.Context()); err != nil {
		t.Errorf("the API is gone: %v", err)
	}
}

func rawClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}
