// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve returns a client of an API that is not a node.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	c := client.New(socket)
	t.Cleanup(func() {
		c.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return c
}

// The names of accounts, contacts and groups are free text, and each stays one segment of
// the path.
func TestClient_AnyName_OneSegment(t *testing.T) {
	var paths []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.Method+" "+r.RequestURI)
		_, _ = w.Write([]byte("{}"))
	})
	for _, ask := range []func() error{
		func() error { _, err := c.Contact(t.Context(), "..", "a/b?c"); return err },
		func() error { _, err := c.Group(t.Context(), "Ä", "."); return err },
		func() error { return c.RemoveContact(t.Context(), "-", "x y") },
		func() error { return c.BanFromMediator(t.Context(), "mimir://mm/u/a", true) },
	} {
		if err := ask(); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /v1/accounts/%2E%2E/contacts/a%2Fb%3Fc", "GET /v1/accounts/%C3%84/groups/%2E",
		"DELETE /v1/accounts/-/contacts/x%20y", "PUT /v1/mediator/bans/mimir:%2F%2Fmm%2Fu%2Fa",
	}
	if !slices.Equal(paths, want) {
		t.Errorf("asked for %q, want %q", paths, want)
	}
}

func TestClient_Refusal_IsAnErrorWithOneSentence(t *testing.T) {
	var status int
	var answer string
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	})
	for _, test := range []struct {
		status       int
		answer, want string
		damaged      bool
	}{
		{404, `{"title":"Not Found","detail":"there is no such group"}`, "there is no such group", false},
		{422, `{"title":"x","errors":[{"message":"too long","location":"body.name"},{"message":"missing","location":"path.a"}]}`, "the node refuses this: name: too long; path.a: missing", false},
		{500, `{"title":"x","detail":"record 3 is damaged","type":"` + control.DamagedType + `"}`, "record 3 is damaged", true},
		{502, `<html>`, "the node answered 502 Bad Gateway", false},
	} {
		status, answer = test.status, test.answer
		_, err := c.Status(t.Context())
		var refusal *client.Error
		if !errors.As(err, &refusal) || refusal.Status != test.status || err.Error() != test.want {
			t.Errorf("status %d: %v, want %q", test.status, err, test.want)
		}
		if errors.Is(err, store.ErrCorrupt) != test.damaged {
			t.Errorf("status %d: damaged is not %v", test.status, test.damaged)
		}
	}
}

// A stream that ends is a node that stopped, also in the middle of an event; a line beyond
// the bound is an error of its own.
// A list that ends early is an error, after what has come of it.
func TestClient_ListEndsEarly_IsAnError(t *testing.T) {
	for _, sent := range []string{"", "[", "[{}", "[{},", "[{}, {}]"} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(sent))
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			if sent != "[{}, {}]" {
				panic(http.ErrAbortHandler)
			}
		})
		n := 0
		err := c.EachContact(t.Context(), "-", func(control.Contact) error { n++; return nil })
		if whole := sent == "[{}, {}]"; (err == nil) != whole || whole && n != 2 {
			t.Errorf("%q: %d contacts, %v", sent, n, err)
		}
	}
}

func TestFollow_EndOfStream(t *testing.T) {
	var stream string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/contacts") {
			_, _ = w.Write([]byte("[]"))
			return
		}
		_, _ = w.Write([]byte(stream))
	})
	const whole = "id: 1\ndata: {\"seq\":1}\n\nid: 2\ndata: {\"seq\":2}\n\n"
	for name, test := range map[string]struct {
		stream string
		want   string // of the error
	}{
		"whole events":      {whole, client.ErrNotRunning.Error()},
		"an event cut off":  {whole + "data: {\"seq\":3}", client.ErrNotRunning.Error()},
		"a line of 9 MB":    {whole + "data: " + strings.Repeat("x", 9<<20) + "\n", "read event: bufio.Scanner: token too long"},
		"not JSON":          {whole + "data: {\n", "read event: unexpected end of JSON input"},
		"comments in it":    {": keep-alive\n\n" + whole, client.ErrNotRunning.Error()},
		"handle has enough": {whole + "data: {\"seq\":99}\n", "enough"},
	} {
		stream = test.stream
		var got []uint64
		err := c.Follow(t.Context(), "-", 0, func(e control.Event) error {
			if e.Seq == 99 {
				return errors.New("enough")
			}
			got = append(got, e.Seq)
			return nil
		})
		if err == nil || err.Error() != test.want || !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("%s: events %v, error %v, want 1 and 2, and %q", name, got, err, test.want)
		}
	}
}

func TestClient_NobodyListens_IsNotRunning(t *testing.T) {
	c := client.New(filepath.Join(t.TempDir(), "s"))
	if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrNotRunning) {
		t.Error(err)
	}
	if err := c.Follow(t.Context(), "-", 0, func(control.Event) error { return nil }); !errors.Is(err, client.ErrNotRunning) {
		t.Error(err)
	}
}

// A call ends with its context, also when the node never answers.
func TestClient_SilentNode_CallEndsWithItsContext(t *testing.T) {
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := make(chan error)
	go func() {
		_, err := c.Accounts(ctx)
		asked <- err
	}()
	cancel(fmt.Errorf("no more patience"))
	if err := <-asked; err == nil {
		t.Error("answered")
	}
}
