// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// dialKind dials until the network has settled.
func dialKind(t *testing.T, from overlay.Carrier, to identity.NodeKey) overlay.Conn {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := from.Dial(t.Context(), to, port)
		if err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// acceptPing accepts the stream whose dialler wrote "ping"; one that was given up while the
// network settled ends without it.
func acceptPing(t *testing.T, l overlay.Listener) overlay.Conn {
	t.Helper()
	for {
		c := mustAccept(t, l)
		if readExactly(c, "ping") == nil {
			return c
		}
		_ = c.Abort() // never fails
	}
}

// Nodes that stop tell the other end of every stream, also of those that they abort just
// before. The packets must have left before Yggdrasil closes the links. A node with the
// older carriers takes longer to stop, so there is one without them, too.
func TestNetwork_Closes_OthersNoticeAtOnce(t *testing.T) {
	middle := openNetwork(t, overlay.Options{Listen: []string{"tcp://127.0.0.1:0"}})
	var nodes [4]*overlay.Network
	for i := range nodes {
		nodes[i] = openNetwork(t, overlay.Options{Peers: middle.ListenAddrs()})
	}
	for _, n := range nodes[1:] {
		for _, kind := range overlay.Kinds() {
			if err := n.Enable(kind); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain, old, others := nodes[0], nodes[1], nodes[2:]
	kinds := map[*overlay.Network][]overlay.Kind{plain: {overlay.KindStream}, old: overlay.Kinds()}
	for _, stopping := range []*overlay.Network{plain, old} {
		var dialled, accepted []overlay.Conn
		for _, kind := range kinds[stopping] {
			carrier, _ := stopping.CarrierOf(kind)
			l := mustListen(t, carrier)
			for _, other := range others {
				from, _ := other.CarrierOf(kind)
				for range 2 {
					c := dialKind(t, from, stopping.Key())
					mustWrite(t, c, []byte("ping"))
					dialled, accepted = append(dialled, c), append(accepted, acceptPing(t, l))
				}
			}
		}
		for i, c := range accepted {
			mustWrite(t, c, []byte("pong"))
			if err := readExactly(dialled[i], "pong"); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_ = c.Abort() // never fails
			}
		}
		if err := stopping.Close(); err != nil {
			t.Fatal(err)
		}
		for i, c := range dialled {
			if err := c.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the other end of stream %d sees %v, want its end", i, err)
			}
		}
	}
}
