// SPDX-License-Identifier: MPL-2.0

package actorstest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// patience is how long a test waits for something that should happen at once.
// It only bounds how long a broken test takes.
const patience = 30 * time.Second

// World is a network with a tracker, and the nodes a test adds. Their databases
// are real and in memory, so that a world may live inside testing/synctest.
type World struct {
	Net *memnet.Net
	// Tracker is the address of the tracker that nodes are told.
	Tracker tracker.Address
	// Limits are those of networks that are opened from now on.
	Limits overlay.Limits

	t testing.TB
}

// New makes a world with a tracker. It ends with the test.
func New(t testing.TB, opts memnet.Options) *World {
	t.Helper()
	w := &World{Net: memnet.New(opts), t: t}
	t.Cleanup(w.Net.Close)
	role := w.Node("tracker", func(o *node.Options) {
		o.Tracker = &trackerserver.Options{OpenNetwork: w.Open}
	})
	role.Eventually("the tracker is up", func() bool {
		if status := role.Status().Tracker; status != nil {
			w.Tracker = tracker.Address{Node: status.Key, Port: tracker.Port}
		}
		return w.Tracker.Port != 0
	})
	return w
}

// Open opens a node's network; it is an node.Options.OpenNetwork.
func (w *World) Open(key identity.NodePrivateKey) (uplink.Network, error) {
	return &network{Node: w.Net.NodeAt(key.Key(), w.Limits), failed: make(chan struct{})}, nil
}

// network is a memnet node as uplink.Network.
type network struct {
	*memnet.Node
	failed chan struct{}
}

func (n *network) Stream() overlay.Carrier { return n.Carrier }

// Enable starts a further carrier.
func (n *network) Enable(kind overlay.Kind) error { return n.Stack().Enable(kind) }

// EnableSystem starts the carrier of gen1 over a system's Yggdrasil.
func (n *network) EnableSystem(s overlay.System) error { return n.Stack().EnableSystem(s) }

func (n *network) CarrierOf(kind overlay.Kind) (overlay.Carrier, bool) {
	return n.Stack().CarrierOf(kind)
}

// KnowContacts tells the node which node keys are those of accepted contacts.
func (n *network) KnowContacts(pairs func(identity.NodeKey) int) { n.Stack().KnowContacts(pairs) }

func (n *network) Links() int { return 1 }

func (n *network) Status() overlay.Status {
	return overlay.Status{Key: n.Key(), Peers: []overlay.PeerStatus{{URI: "memory://", Up: true}}}
}

func (n *network) Failed() <-chan struct{} { return n.Stack().Failed() }
func (n *network) Err() error              { return n.Stack().Err() }

// Node is a node of the world with one account.
type Node struct {
	*node.Node
	// Account is the node's account, made at its first start.
	Account store.Account
	// Opts are what it is started with again.
	Opts node.Options

	w    *World
	stop func()
}

// Node starts a node with an account of that name. It is stopped with the test.
func (w *World) Node(name string, change ...func(*node.Options)) *Node {
	w.t.Helper()
	disk := vfs.NewMem()
	opts := node.Options{
		Dir:         filepath.Join(w.t.TempDir(), name),
		Logger:      Logger(w.t, name),
		OpenNetwork: w.Open,
		OpenStore: func(o store.Options) (*store.Store, error) {
			o.FS = disk
			return store.Open(o)
		},
	}
	if w.Tracker.Port != 0 {
		opts.Trackers = []tracker.Address{w.Tracker}
	}
	for _, f := range change {
		f(&opts)
	}
	n := &Node{Opts: opts, w: w}
	n.Start()
	accounts, err := n.Accounts()
	if err == nil && len(accounts) == 0 {
		n.Account, err = n.CreateAccount(w.t.Context(), name)
	} else if err == nil {
		n.Account = accounts[0]
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Start opens and starts the node, also again after Stop.
func (n *Node) Start() {
	n.w.t.Helper()
	node, err := node.Open(n.Opts)
	if err != nil {
		n.w.t.Fatal(err)
	}
	if err := node.Start(n.w.t.Context()); err != nil {
		n.w.t.Fatal(err)
	}
	n.Node = node
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Stop(ctx); err != nil {
			n.w.t.Errorf("stop node: %v", err)
		}
		if err := node.Close(); err != nil && !errors.Is(err, store.ErrClosed) { // by the test
			n.w.t.Errorf("close node: %v", err)
		}
	}
	n.w.t.Cleanup(n.stop)
}

// Stop stops the node in order.
func (n *Node) Stop() { n.stop() }

// Status returns the node's status.
func (n *Node) Status() node.Status {
	n.w.t.Helper()
	s, err := n.Node.Status(n.w.t.Context())
	if err != nil {
		n.w.t.Fatal(err)
	}
	return s
}

// Befriend makes two nodes each other's contacts.
func Befriend(a, b *Node) {
	a.w.t.Helper()
	for _, p := range [][2]*Node{{a, b}, {b, a}} {
		if _, err := p[0].AddContact(p[0].w.t.Context(), p[0].Account.ID, p[1].Link(p[1].Account)); err != nil {
			a.w.t.Fatal(err)
		}
	}
}

// Say queues a text for a contact.
func (n *Node) Say(to *Node, text string) store.Message {
	n.w.t.Helper()
	m, err := n.Send(n.w.t.Context(), node.Outgoing{Account: n.Account.ID, Contact: to.Account.ID, Payload: []byte(text)})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return m
}

// Heard returns what a contact has written to the node, in the order of arrival.
func (n *Node) Heard(from *Node) []string {
	n.w.t.Helper()
	var texts []string
	for before := uint64(0); ; {
		page, err := n.Messages(n.Account.ID, from.Account.ID, before, 1000)
		if err != nil {
			n.w.t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page { // newest first
			if m.ID.Dir == store.In {
				texts = append(texts, string(m.Payload))
			}
			before = m.Order
		}
	}
	for i, j := 0, len(texts)-1; i < j; i, j = i+1, j-1 {
		texts[i], texts[j] = texts[j], texts[i]
	}
	return texts
}

// Eventually waits until done reports true.
func (n *Node) Eventually(what string, done func() bool) {
	n.w.t.Helper()
	n.EventuallyWithin(patience, what, done)
}

// EventuallyWithin is Eventually for what takes its time.
func (n *Node) EventuallyWithin(limit time.Duration, what string, done func() bool) {
	n.w.t.Helper()
	watch := n.WatchEvents()
	defer watch.Close()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(max(20*time.Millisecond, limit/1000)) // for what is not in the log
	defer again.Stop()
	for !done() {
		select {
		case <-watch.C():
		case <-again.C:
		case <-deadline.C:
			n.w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Logger returns a logger that writes to the test's log.
func Logger(t testing.TB, name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(&testWriter{t: t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test_node", name)
}

type testWriter struct{ t testing.TB }

func (w *testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}

// KeyFile reads the file with the secret key of a node's account.
func KeyFile(n *Node) ([]byte, error) {
	return os.ReadFile(filepath.Join(n.Opts.Dir, "keys", n.Account.ID.String()+".pem"))
}

// AccountKey returns the secret key of the node's account.
func (n *Node) AccountKey() identity.PrivateKey {
	n.w.t.Helper()
	pem, err := KeyFile(n)
	if err != nil {
		n.w.t.Fatal(err)
	}
	key, err := identity.ParsePEM(pem)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return key
}

// EventsOf returns the events of a kind in the log of the node's account, at most
// 1,000.
func (n *Node) EventsOf(kind store.EventKind) (found []store.Event) {
	n.w.t.Helper()
	events, err := n.Events(n.Account.ID, 0, 1000)
	if err != nil {
		n.w.t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}
