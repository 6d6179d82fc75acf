// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a broken scenario takes.
const patience = 3 * time.Minute

// world is a network of relays with nodes at them.
type world struct {
	t       *testing.T
	relays  []*overlay.Network
	nodes   []*node
	tracker tracker.Address
}

// node is one mimird with one account.
type node struct {
	*actors.Node
	account store.Account
}

// topology says how relays are linked: pairs of their numbers.
type topology struct {
	relays int
	links  [][2]int
}

func chain(n int) topology {
	t := topology{relays: n}
	for i := range n - 1 {
		t.links = append(t.links, [2]int{i, i + 1})
	}
	return t
}

func star(n int) topology {
	t := topology{relays: n}
	for i := range n - 1 {
		t.links = append(t.links, [2]int{0, i + 1})
	}
	return t
}

func mesh(n int) topology {
	t := topology{relays: n}
	for i := range n {
		for j := range i {
			t.links = append(t.links, [2]int{j, i})
		}
	}
	return t
}

// newWorld builds the relays, a tracker at the first and a node at each, everybody
// everybody's contact.
func newWorld(t *testing.T, top topology) *world {
	t.Helper()
	w := &world{t: t}
	for range top.relays {
		w.relays = append(w.relays, w.open(overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}}))
	}
	for _, l := range top.links {
		if err := w.relays[l[0]].AddPeer(w.uri(l[1])); err != nil {
			t.Fatal(err)
		}
	}
	role := w.start(actors.Options{Tracker: &actors.TrackerOptions{OpenNetwork: w.at(0)}}, "tracker")
	key, _ := role.TrackerKey()
	w.tracker = tracker.Address{Node: key, Port: tracker.Port}
	for i := range top.relays {
		n := &node{Node: w.start(actors.Options{OpenNetwork: w.at(i), Trackers: []tracker.Address{w.tracker}}, "node")}
		var err error
		if n.account, err = n.CreateAccount(t.Context(), "node"); err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, n)
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a == b {
				continue
			}
			if _, err := a.AddContact(t.Context(), a.account.ID, b.Link(b.account)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func (w *world) uri(relay int) string { return w.relays[relay].ListenAddrs()[0] }

func (w *world) open(o overlay.Options) *overlay.Network {
	w.t.Helper()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	o.Key = key
	n, err := overlay.Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = n.Close() })
	return n
}

// at joins the network at a relay.
func (w *world) at(relay int) func(identity.NodePrivateKey) (actors.Network, error) {
	return func(key identity.NodePrivateKey) (actors.Network, error) {
		return overlay.Open(overlay.Options{Key: key, Peers: []string{w.uri(relay)}})
	}
}

func (w *world) start(o actors.Options, name string) *actors.Node {
	w.t.Helper()
	o.Dir = filepath.Join(w.t.TempDir(), name)
	o.Logger = slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("in", filepath.Base(filepath.Dir(o.Dir)))
	n, err := actors.Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
	if err := n.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			w.t.Errorf("stop: %v", err)
		}
	})
	return n
}

// heard returns what from has written to n, in the order of arrival.
func (w *world) heard(n, from *node) []string {
	w.t.Helper()
	page, err := n.Messages(n.account.ID, from.account.ID, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, m := range page {
		if m.ID.Dir == store.In {
			texts = append([]string{string(m.Payload)}, texts...)
		}
	}
	return texts
}
