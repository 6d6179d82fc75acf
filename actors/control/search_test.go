// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/proto/identity"
)

// withSearch gives a node a search index and a control API.
func withSearch(dir, socket string) func(*node.Options) {
	return func(o *node.Options) {
		index := search.New(dir)
		o.Parts = []node.Part{
			{Name: "search", New: func(n *node.Node) kernel.Actor { return index.NewActor(n) }},
			{Name: "control", New: control.New(control.Options{Socket: socket, Version: "test", Search: index})},
		}
	}
}

// TestSearch_ThroughTheAPI has two accounts with two contacts each.
func TestSearch_ThroughTheAPI(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	w := actorstest.New(t, memnet.Options{})
	n := w.Node("alice", withSearch(t.TempDir(), socket))
	api := client.New(socket)
	t.Cleanup(api.Close)
	n.Eventually("the control API answers", func() bool {
		_, err := api.Accounts(t.Context())
		return err == nil
	})
	if _, err := n.CreateAccount(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for i, name := range []string{"bob", "carol"} {
		key := identity.NewPrivateKey([32]byte{byte(40 + i)}).Public()
		keys[name] = key.String()
		for _, account := range []string{"alice", "anna"} {
			if _, err := api.AddContact(t.Context(), account, identity.Link{Key: key, Name: name}.String()); err != nil {
				t.Fatal(err)
			}
			if _, err := api.Send(t.Context(), account, name, control.Text{Text: "greetings from " + account + " to " + name}); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := func(account string, q control.Search) control.Found {
		t.Helper()
		var found control.Found
		n.Eventually("the index has everything", func() bool {
			var err error
			found, err = api.Search(t.Context(), account, q)
			var refusal *client.Error
			if err != nil && (!errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable) {
				t.Fatal(err)
			}
			return err == nil && found.Unread == 0
		})
		return found
	}
	wants := func(account string, q control.Search, want ...string) {
		t.Helper()
		var got []string
		for _, hit := range found(account, q).Messages {
			got = append(got, hit.Name+": "+hit.Excerpt)
		}
		slices.Sort(got) // they were sent in the same moment
		if !slices.Equal(got, want) {
			t.Errorf("%s, %+v: %q, want %q", account, q, got, want)
		}
	}
	wants("alice", control.Search{Words: "GREET"}, "bob: greetings from alice to bob", "carol: greetings from alice to carol")
	wants("anna", control.Search{Words: "greetings"}, "bob: greetings from anna to bob", "carol: greetings from anna to carol")
	wants("anna", control.Search{Words: "greetings alice"})
	wants("anna", control.Search{Words: "greetings", With: "bob"}, "bob: greetings from anna to bob")
	wants("anna", control.Search{From: "-", With: keys["carol"]}, "carol: greetings from anna to carol")
	wants("anna", control.Search{Words: "greetings", From: "bob"})
	wants("anna", control.Search{Words: "greetings", Until: time.Now().AddDate(0, 0, -1)})
	wants("anna", control.Search{Words: "greetings", Since: time.Now().Add(time.Minute)})
	wants("anna", control.Search{Files: true})
	if names := found("alice", control.Search{Words: "car"}).Names; len(names) != 1 || names[0].Name != "carol" || names[0].Contact != keys["carol"] {
		t.Errorf("names: %+v", names)
	}
	page := found("alice", control.Search{Words: "greetings", Limit: 1})
	rest := found("alice", control.Search{Words: "greetings", Limit: 1, Before: page.Next})
	if page.Next == "" || len(rest.Messages) != 1 || rest.Next != "" || rest.Messages[0].Message.ID == page.Messages[0].Message.ID {
		t.Errorf("pages: %+v, %+v", page, rest)
	}

	if err := api.RebuildSearch(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants("alice", control.Search{Words: "carol"}, "carol: greetings from alice to carol")
	for _, wrong := range []control.Search{{}, {Words: "?!"}, {Words: "greetings", With: "nobody"}, {Words: "greetings", Before: "x y"}} {
		var refusal *client.Error
		if _, err := api.Search(t.Context(), "alice", wrong); !errors.As(err, &refusal) || refusal.Status/100 != 4 {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// TestSearch_WithoutAnIndex_SaysSo asks a process that keeps none.
func TestSearch_WithoutAnIndex_SaysSo(t *testing.T) {
	r := newRig(t)
	var refusal *client.Error
	if _, err := r.client.Search(t.Context(), "-", control.Search{Words: "word"}); !errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
	if err := r.client.RebuildSearch(t.Context()); !errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable {
		t.Error(err)
	}
}
