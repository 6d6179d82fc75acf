// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/overlay"
)

func TestOpenNeedsKey(t *testing.T) {
	if _, err := overlay.Open(overlay.Options{}); err == nil {
		t.Error("a node without a key was opened")
	}
}

// Bar S19: a node with default options opens no port.
func TestNetworkListensOnlyWhenTold(t *testing.T) {
	n := openNetwork(t, overlay.Options{})
	s := n.Status()
	if len(n.ListenAddrs()) != 0 || len(s.Listening) != 0 || len(s.Peers) != 0 {
		t.Errorf("status is %+v", s)
	}
	if s.Key != n.Key() || s.Key != n.Stream().Key() || !s.IPv6.Is6() || s.IPv6.As16()[0] != 0x02 {
		t.Errorf("address %v of key %v", s.IPv6, s.Key)
	}
}

// Entries that cannot be used are shown with their reason and stop nothing.
func TestBadEntriesAreReported(t *testing.T) {
	good := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}})
	bad := map[string]string{
		"://":                          "cannot be read",
		"tcp://secret:%zz@127.0.0.1:1": "cannot be read",
		"gopher://127.0.0.1:1":         "unknown scheme",
		"tcp://127.0.0.1":              "host and a port",
		"wss://?password=secret":       "needs a host",
		"unix://":                      "needs a path",
		"tcp://127.0.0.1:2?key=beef&password=secret":                 "64 hex digits",
		"tcp://127.0.0.1:3?priority=256&password=secret":             "priority",
		"tcp://127.0.0.1:4?maxbackoff=1s&password=secret":            "maxbackoff",
		"tcp://127.0.0.1:5?password=" + strings.Repeat("secret", 11): "password is longer",
	}
	var log bytes.Buffer
	opts := overlay.Options{
		Peers:          append(slices.Sorted(maps.Keys(bad)), good.ListenAddrs()...),
		InterfacePeers: map[string][]string{"eth9": {"gopher://127.0.0.1:6"}},
		Listen:         []string{"gopher://127.0.0.1:0", "tcp://192.0.2.1:1?password=secret", "tcp://127.0.0.1:0?priority=x", "tcp://127.0.0.1:0"},
		Multicast:      []overlay.MulticastInterface{{Regex: "(", Beacon: true}, {Regex: "none"}},
		Logger:         slog.New(slog.NewTextHandler(&log, nil)),
	}
	n := openNetwork(t, opts)
	waitFor(t, "the good peer", func() bool { return linked(n) })
	if addrs := n.ListenAddrs(); len(addrs) != 1 || !strings.HasPrefix(addrs[0], "tcp://127.0.0.1:") {
		t.Errorf("listens on %v, want one listener", addrs)
	}
	status := n.Status()
	for uri, reason := range bad {
		if !slices.ContainsFunc(status.Peers, func(p overlay.PeerStatus) bool {
			return p.LastError != nil && strings.Contains(p.LastError.Error(), reason) && !p.Up
		}) {
			t.Errorf("%q is not reported with %q", uri, reason)
		}
	}
	reported := 0
	for _, p := range status.Peers {
		if p.LastError != nil {
			reported++
		}
		if strings.Contains(p.URI, "secret") || p.LastError != nil && strings.Contains(p.LastError.Error(), "secret") {
			t.Errorf("a password is shown: %+v", p)
		}
	}
	if want := len(bad) + 1; reported != want {
		t.Errorf("%d peers are reported, want %d", reported, want)
	}
	for _, uri := range []string{"gopher://127.0.0.1:0", "tcp://192.0.2.1:1", "tcp://127.0.0.1:0"} {
		if status.ListenErrors[uri] == nil {
			t.Errorf("listener %s is not reported", uri)
		}
	}
	text := log.String()
	if got, want := strings.Count(text, "unusable ")+strings.Count(text, "opening a listener failed"), reported+len(status.ListenErrors)+1; got != want {
		t.Errorf("%d entries are logged, want %d", got, want)
	}
	if strings.Contains(text, "secret") {
		t.Error("a password is in the log")
	}
}

func TestPeersComeAndGo(t *testing.T) {
	a := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0", "tls://127.0.0.1:0"}})
	b := openNetwork(t, overlay.Options{})
	mustListen(t, a.Stream())
	for _, uri := range a.ListenAddrs() {
		if err := b.AddPeer(uri); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the link", func() bool { return linked(b) && linked(a) })
		settled := dialSettled(t, b, a.Key())
		p := b.Status().Peers[0]
		if p.URI != uri || p.Key != a.Key() || p.Inbound || p.LastError != nil {
			t.Errorf("peer is %+v", p)
		}
		if p := a.Status().Peers[0]; !p.Inbound || p.Key != b.Key() {
			t.Errorf("peer is %+v", p)
		}
		_ = settled.Abort() // never fails
		if err := b.AddPeer(uri + "?maxbackoff=5s"); !errors.Is(err, overlay.ErrPeerKnown) {
			t.Errorf("got %v, want ErrPeerKnown", err)
		}
		if err := b.RemovePeer(uri); err != nil {
			t.Error(err)
		}
		waitFor(t, "the end of the link", func() bool { return !linked(a) && !linked(b) })
		waitFor(t, "the peer to be forgotten", func() bool { return len(b.Status().Peers) == 0 })
		if err := b.RemovePeer(uri); !errors.Is(err, overlay.ErrPeerUnknown) {
			t.Errorf("got %v, want ErrPeerUnknown", err)
		}
	}
	if err := b.AddPeer("gopher://127.0.0.1:1"); err == nil {
		t.Error("a bad peer was added")
	}
	if err := b.RemovePeer("://"); err == nil {
		t.Error("a bad peer was removed")
	}
}

// Bar R28: what a network starts ends with it.
func TestNetwork_Close_NothingLeft(t *testing.T) {
	key := newKey(t)
	run := func() {
		a, err := overlay.Open(overlay.Options{Key: newKey(t), Listen: []string{"tcp://127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := overlay.Open(overlay.Options{Key: key, Peers: a.ListenAddrs()})
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the link", func() bool { return linked(b) })
		for range 2 {
			for _, n := range []*overlay.Network{a, b} {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		select {
		case <-a.Failed():
			t.Error("closing counts as a failure")
		default:
		}
	}
	run()
	before := goleak.IgnoreCurrent()
	files := openFiles(t)
	for range 5 {
		run()
	}
	goleak.VerifyNone(t, before)
	waitFor(t, "files to be closed", func() bool { return openFiles(t) <= files })
}

// openFiles counts this process's files, where the system can tell.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return len(entries)
}

// What Status says of a link in use.
func TestStatusOfLink(t *testing.T) {
	nodes := openChain(t, 2, overlay.Limits{})
	l := mustListen(t, nodes[1].Stream())
	c := dialSettled(t, nodes[0], nodes[1].Key())
	exchange(t, c, mustAccept(t, l), 1<<20)
	for i, n := range nodes {
		s := n.Status()
		if len(s.Peers) != 1 || n.Links() != 1 || s.Streams != 1 {
			t.Fatalf("node %d: %+v", i, s)
		}
		p := s.Peers[0]
		if !p.Up || p.Inbound != (i == 0) || p.Key != nodes[1-i].Key() || p.Cost == 0 || p.Uptime <= 0 ||
			p.RX < 1<<20 || p.TX < 1<<20 || p.LastError != nil {
			t.Errorf("node %d: %+v", i, p)
		}
	}
	for uri, n := range map[string]*overlay.Network{"listens": nodes[0], "dialled": nodes[1]} {
		if p := n.Status().Peers[0]; len(p.URI) < len("tcp://127.0.0.1:1") || p.URI[:16] != "tcp://127.0.0.1:" {
			t.Errorf("the node that %s shows %q", uri, p.URI)
		}
	}
}
