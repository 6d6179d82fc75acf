// SPDX-License-Identifier: MPL-2.0

package session_test

import (
	"crypto/rand"
	"testing"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Both ends of a stream name it alike, in every generation: else no sealed
// challenge would be signed, or none would be sealed.
func TestSealNames_EveryGeneration_EndsAgree(t *testing.T) {
	for generation, kind := range map[uint8]overlay.Kind{1: overlay.KindTCP, 2: overlay.KindQUIC, 3: overlay.KindStream} {
		t.Run(string(kind), func(t *testing.T) {
			w := actorstest.New(t, memnet.Options{})
			a, aKey := openCarrier(t, w, kind)
			b, bKey := openCarrier(t, w, kind)
			port, err := b.Listen(peer.Port)
			if err != nil {
				t.Fatal(err)
			}
			out, err := a.Dial(t.Context(), bKey, peer.Port)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write([]byte{1}); err != nil { // QUIC says nothing before
				t.Fatal(err)
			}
			in, err := port.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			la, ra := session.SealNamesForTest(aKey, out, generation)
			lb, rb := session.SealNamesForTest(bKey, in, generation)
			if la.IsZero() || la != rb || lb.IsZero() || lb != ra || la == lb {
				t.Errorf("dialled: %s and %s, accepted: %s and %s", la.Short(), ra.Short(), lb.Short(), rb.Short())
			}
		})
	}
}

// openCarrier joins a network with a node of its own, over one carrier.
func openCarrier(t *testing.T, w *actorstest.World, kind overlay.Kind) (overlay.Carrier, identity.NodeKey) {
	t.Helper()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	net, err := w.Open(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = net.Close() })
	carriers := net.(interface {
		Enable(overlay.Kind) error
		CarrierOf(overlay.Kind) (overlay.Carrier, bool)
	})
	if kind != overlay.KindStream {
		if err := carriers.Enable(kind); err != nil {
			t.Fatal(err)
		}
	}
	carrier, ok := carriers.CarrierOf(kind)
	if !ok {
		t.Fatal("no such carrier")
	}
	return carrier, key.Key()
}
