// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a broken scenario takes.
const patience = 4 * time.Minute

// world is a network of nodes.
type world struct {
	t        *testing.T
	deadline time.Time
	opened   chan *overlay.Network
	links    []*link
	nodes    []*member
	networks []*overlay.Network // of the nodes
	tracker  tracker.Address
	role     *overlay.Network // of the tracker
}

// node is one mimird with one account.
type member struct {
	*node.Node
	account store.Account
}

// newWorld builds nodes with links between them, and a tracker at the first;
// everybody is everybody's contact. change is called with the options of each node.
func newWorld(t *testing.T, size int, links [][2]int, change ...func(i int, o *node.Options)) *world {
	t.Helper()
	w := newUnlinkedWorld(t, size, change...)
	if err := w.role.AddPeer(w.networks[0].ListenAddrs()[0]); err != nil {
		t.Fatal(err)
	}
	for _, pair := range links {
		l, err := newLink(w.networks[pair[0]].ListenAddrs()[0][len("tcp://"):])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		w.links = append(w.links, l)
		if err := w.networks[pair[1]].AddPeer("tcp://" + l.listener.Addr().String() + "?maxbackoff=5s"); err != nil {
			t.Fatal(err)
		}
	}
	w.befriend()
	return w
}

// newUnlinkedWorld builds nodes and a tracker, each of them alone.
func newUnlinkedWorld(t *testing.T, size int, change ...func(i int, o *node.Options)) *world {
	t.Helper()
	w := &world{t: t, deadline: time.Now().Add(patience), opened: make(chan *overlay.Network, 1)}
	role := w.start(node.Options{Tracker: &trackerserver.Options{OpenNetwork: w.open}}, "tracker")
	key, _ := role.TrackerKey()
	w.tracker = tracker.Address{Node: key, Port: tracker.Port}
	w.role = <-w.opened
	for i := range size {
		opts := node.Options{OpenNetwork: w.open, Trackers: []tracker.Address{w.tracker}}
		for _, f := range change {
			f(i, &opts)
		}
		n := &member{Node: w.start(opts, "node")}
		var err error
		if n.account, err = n.CreateAccount(t.Context(), "node"); err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, n)
		w.networks = append(w.networks, <-w.opened)
	}
	return w
}

// befriend makes everybody everybody's contact.
func (w *world) befriend() {
	w.t.Helper()
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a == b {
				continue
			}
			if _, err := a.AddContact(w.t.Context(), a.account.ID, b.Link(b.account)); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// open is an node.Options.OpenNetwork. The caller starts the node and takes the
// network.
func (w *world) open(key identity.NodePrivateKey) (uplink.Network, error) {
	n, err := overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}})
	if err == nil {
		w.opened <- n
	}
	return n, err
}

func (w *world) start(o node.Options, name string) *node.Node {
	w.t.Helper()
	o.Dir = filepath.Join(w.t.TempDir(), name)
	o.Logger = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: logLevel()})).With("in", filepath.Base(filepath.Dir(o.Dir)))
	n, err := node.Open(o)
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

// logLevel keeps the table of the whole matrix readable.
func logLevel() slog.Level {
	if *all {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// heard returns what from has written to n, in the order of arrival.
func (w *world) heard(n, from *member) []string {
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
