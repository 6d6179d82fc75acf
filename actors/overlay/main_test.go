// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newNet makes a network that ends with the test, after its nodes.
func newNet(t testing.TB, opts memnet.Options) *memnet.Net {
	t.Helper()
	n := memnet.New(opts)
	t.Cleanup(n.Close)
	return n
}

// newNode adds a node that ends with the test.
func newNode(t testing.TB, n *memnet.Net, limits overlay.Limits) *memnet.Node {
	t.Helper()
	node := n.Node(limits)
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
	})
	return node
}

// port is where everybody listens.
const port = 42

func mustListen(t testing.TB, c overlay.Carrier) overlay.Listener {
	t.Helper()
	l, err := c.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustDial(t testing.TB, from, to overlay.Carrier) overlay.Conn {
	t.Helper()
	c, err := from.Dial(t.Context(), to.Key(), port)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustAccept(t testing.TB, l overlay.Listener) overlay.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustPair connects two nodes.
func mustPair(t testing.TB, a, b overlay.Carrier) (dialled, accepted overlay.Conn) {
	t.Helper()
	l := mustListen(t, b)
	dialled = mustDial(t, a, b)
	return dialled, mustAccept(t, l)
}
