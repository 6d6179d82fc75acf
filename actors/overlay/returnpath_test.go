// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

func openForTest(t *testing.T, opts Options) *Network {
	t.Helper()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opts.Key = key
	n, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// A node that looks us up is looked up in return, before any packet flows.
func TestReturnPathIsFound(t *testing.T) {
	a := openForTest(t, Options{Listen: []string{"tcp://127.0.0.1:0"}})
	b := openForTest(t, Options{Peers: a.ListenAddrs()})
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !b.layer.HasPath(a.Key()); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("no way back")
		}
		a.layer.Lookup(b.Key())
	}
}

// A node that cannot be found is not looked for for ever.
func TestReturnPathGivesUp(t *testing.T) {
	n := openForTest(t, Options{})
	tries := map[identity.NodeKey]int{{1}: 0, {2}: 5}
	for range seekTimes + 1 {
		n.returns.seek(tries)
	}
	if len(tries) != 0 {
		t.Errorf("%d nodes are still looked for", len(tries))
	}
}
