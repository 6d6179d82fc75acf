// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
)

// Relays that die are replaced by another one of the list. Who is connected is seen
// at the relays.
func TestDeadRelaysAreReplaced(t *testing.T) {
	t.Parallel() // it waits
	var relays []*overlay.Network
	var uris []string
	for range 3 {
		r := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}})
		relays, uris = append(relays, r), append(uris, r.ListenAddrs()[0])
	}
	n := openNetwork(t, overlay.Options{Peers: append([]string{"gopher://127.0.0.1:1"}, append(uris, uris...)...), Connected: 1})
	// Two are asked, to find out which is better.
	if s := n.Status(); len(s.Spares) != 1 || s.Spares[0] != uris[2] {
		t.Errorf("spares: %v", s.Spares)
	}
	waitFor(t, "two links", func() bool { return linked(relays[0]) && linked(relays[1]) })
	for _, r := range relays[:2] {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the third relay", func() bool { return linked(relays[2]) && linked(n) })
	bad := n.Status().Peers
	if i := slices.IndexFunc(bad, func(p overlay.PeerStatus) bool { return strings.HasPrefix(p.URI, "gopher:") }); i < 0 || bad[i].LastError == nil {
		t.Errorf("the peer that cannot be used is not shown: %+v", bad)
	}
}

// A port that somebody else has when the node starts is taken as soon as it is free.
func TestListener_OpenFails_Retried(t *testing.T) {
	t.Parallel() // it waits
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	uri := "tcp://" + other.Addr().String()
	n := openNetwork(t, overlay.Options{Listen: []string{uri + "?priority=3"}})
	if s := n.Status(); s.ListenErrors[uri] == nil || len(s.Listening) != 0 {
		t.Fatalf("the port is taken: %+v", s)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the listener", func() bool { return slices.Contains(n.ListenAddrs(), uri) })
	if s := n.Status(); len(s.ListenErrors) != 0 {
		t.Errorf("still shown: %v", s.ListenErrors)
	}
	peer := openNetwork(t, overlay.Options{Peers: []string{uri}})
	waitFor(t, "the link", func() bool { return linked(peer) })
}

// Yggdrasil gives a listener up at its first error. It is shown while nobody listens,
// and opened again.
func TestListener_Ends_Reopened(t *testing.T) {
	t.Parallel() // it waits
	n := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0", "tcp://localhost:0?priority=3"}})
	before := n.ListenAddrs()
	n.EndListenerForTest(1)
	const ended = "tcp://localhost:0"
	waitFor(t, "that it is shown", func() bool { return n.Status().ListenErrors[ended] != nil })
	if s := n.Status(); !slices.Equal(s.Listening, before[:1]) || len(s.ListenErrors) != 1 {
		t.Errorf("listening on %v of %v, shown: %v", s.Listening, before, s.ListenErrors)
	}
	waitFor(t, "the listener", func() bool { return len(n.ListenAddrs()) == 2 })
	if s := n.Status(); len(s.ListenErrors) != 0 {
		t.Errorf("still shown: %v", s.ListenErrors)
	}
	peer := openNetwork(t, overlay.Options{Peers: n.ListenAddrs()[1:]})
	waitFor(t, "the link", func() bool { return linked(peer) })
}
