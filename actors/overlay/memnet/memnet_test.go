// SPDX-License-Identifier: MPL-2.0

package memnet_test

import (
	"context"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		return pair(t, memnet.Options{})
	})
}

// pair connects two nodes of a new network.
func pair(t *testing.T, opts memnet.Options) (c1, c2 overlay.Conn, stop func(), err error) {
	t.Helper()
	n := memnet.New(opts)
	a, b := n.Node(overlay.Limits{}), n.Node(overlay.Limits{})
	stop = func() {
		for _, c := range []io.Closer{a, b} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		n.Close()
	}
	l, err := b.Listen(42)
	if err != nil {
		return nil, nil, stop, err
	}
	if c1, err = a.Dial(context.Background(), b.Key(), 42); err != nil {
		return nil, nil, stop, err
	}
	c2, err = l.Accept(context.Background())
	return c1, c2, stop, err
}
