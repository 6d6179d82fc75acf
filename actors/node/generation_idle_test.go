// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// disguised is a network of one old generation, whose carrier is ygg_stream below:
// TCP and QUIC do not know virtual time, and sessions do not know the difference.
type disguised struct {
	uplink.Network
	kind  overlay.Kind
	dials *atomic.Int32
}

func (n disguised) Stream() overlay.Carrier { return mute{n.Network.Stream()} }

func (n disguised) CarrierOf(kind overlay.Kind) (overlay.Carrier, bool) {
	return relabelled{n.Network.Stream(), n.dials}, kind == n.kind
}

// relabelled is a carrier on which old generations have a port of ygg_stream.
type relabelled struct {
	overlay.Carrier
	dials *atomic.Int32
}

func (c relabelled) Dial(ctx context.Context, to identity.NodeKey, _ uint16) (overlay.Conn, error) {
	conn, err := c.Carrier.Dial(ctx, to, 50)
	if err == nil {
		c.dials.Add(1)
	}
	return conn, err
}

func (c relabelled) Listen(uint16) (overlay.Listener, error) { return c.Carrier.Listen(50) }

// A session of gen1 ends after exactly 2 minutes without a frame, one
// of gen2 after 10 with nothing but pings. Before that it is used again; after
// that the next message dials.
func TestOldSessionsEndWhenIdle(t *testing.T) {
	for kind, idle := range map[overlay.Kind]time.Duration{overlay.KindTCP: 2 * time.Minute, overlay.KindQUIC: 10 * time.Minute} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, dials := actorstest.New(t, memnet.Options{}), &atomic.Int32{}
				old := func(o *node.Options) {
					o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
						net, err := w.Open(key)
						return disguised{net, kind, dials}, err
					}
				}
				alice, bob := w.Node("alice", old), w.Node("bob", old)
				actorstest.Befriend(alice, bob)
				online := func() bool {
					synctest.Wait()
					return alice.Presence(alice.Account.ID, bob.Account.ID).Online && bob.Presence(bob.Account.ID, alice.Account.ID).Online
				}
				said := 0
				say := func() {
					t.Helper()
					said++
					alice.Say(bob, "hello")
					bob.EventuallyWithin(5*time.Minute, "bob hears alice", func() bool { return len(bob.Heard(alice)) == said })
					alice.Eventually("alice knows", func() bool {
						n, err := alice.Waiting(alice.Account.ID)
						return err == nil && n == 0
					})
				}
				say()
				virtual.Sleep(10 * time.Second) // profiles are swapped, and dials that cross have ended
				say()
				first := dials.Load()
				for range 3 {
					virtual.Sleep(idle - time.Second)
					if !online() {
						t.Fatalf("the session ended before it was idle for %v", idle)
					}
					say()
				}
				if dials.Load() != first {
					t.Errorf("%d dials while there was a session", dials.Load()-first)
				}
				virtual.Sleep(idle - time.Second)
				if !online() {
					t.Errorf("the session ended before it was idle for %v", idle)
				}
				virtual.Sleep(2 * time.Second)
				if online() {
					t.Errorf("the session is still there after %v", idle)
				}
				say()
				if dials.Load() == first {
					t.Error("nobody has dialled")
				}
			})
		})
	}
}
