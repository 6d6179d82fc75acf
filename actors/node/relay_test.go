// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"crypto/rand"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// relay is Mallory, with no key but her node's: every stream to her node goes on,
// byte by byte, to another node.
type relay struct {
	*memnet.Node
	streams atomic.Int32
}

func newRelay(t *testing.T, w *actorstest.World, to identity.NodeKey) *relay {
	t.Helper()
	r := &relay{Node: w.Net.Node(overlay.Limits{})}
	port, err := r.Listen(peer.Port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := port.Accept(ctx)
			if err != nil {
				return
			}
			r.streams.Add(1)
			out, err := r.Dial(ctx, to, peer.Port)
			if err != nil {
				_ = in.Abort()
				continue
			}
			for _, way := range [][2]overlay.Conn{{in, out}, {out, in}} {
				passing.Go(func() {
					_, _ = io.Copy(way[1], way[0])
					_, _ = way[0].Abort(), way[1].Abort()
				})
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = r.Close()
		passing.Wait()
	})
	return r
}

// Bar S08: somebody between two of our nodes gets no signature out of them, and
// the one who is asked raises the alarm, once. Each of them has another contact,
// who is not disturbed.
func TestRelay_BetweenTwoNodes_RefusedWithAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		l := w.NewLyingTracker()
		alice, bob := w.Node("alice", actorstest.WithTrackers(l.Address())), w.Node("bob", actorstest.WithTrackers(l.Address()))
		carol := w.Node("carol", actorstest.WithTrackers(l.Address()))
		actorstest.Befriend(alice, bob)
		actorstest.Befriend(carol, alice)
		actorstest.Befriend(carol, bob)
		mallory := newRelay(t, w, bob.Key())
		// Mallory has got a signature of Bob's over her node key, and has announced it.
		ofAlice := actorstest.RecordFor(alice.AccountKey(), alice.Key(), 1)
		l.Say(actorstest.RecordFor(bob.AccountKey(), mallory.Key(), 1), ofAlice)
		alice.Say(bob, "for bob alone")
		alice.EventuallyWithin(5*time.Minute, "the alarm", func() bool { return len(alice.EventsOf(store.HandshakeRelayed)) > 0 })
		virtual.Sleep(30 * time.Minute)

		if mallory.streams.Load() < 2 {
			t.Error("alice has not tried again")
		}
		if heard := bob.Heard(alice); len(heard) != 0 {
			t.Errorf("through mallory came %q", heard)
		}
		events := alice.EventsOf(store.HandshakeRelayed)
		if len(events) != 1 || events[0].NodeKey != mallory.Key() || events[0].Reason != bob.Account.ID.String() {
			t.Errorf("alarms: %+v", events)
		}
		s := alice.Status()
		if len(s.Suspicions) != 1 || s.Suspicions[0].Kind != contact.SuspicionRelay || s.Suspicions[0].Node != mallory.Key() ||
			s.Suspicions[0].Count < 2 || s.Suspected != s.Suspicions[0].Count {
			t.Errorf("status: %+v, %d in all", s.Suspicions, s.Suspected)
		}
		if n := len(bob.EventsOf(store.HandshakeRelayed)); n != 0 {
			t.Errorf("%d alarms of bob, who was asked for nothing", n)
		}

		carol.Say(alice, "hello alice")
		alice.EventuallyWithin(5*time.Minute, "carol reaches alice", func() bool { return len(alice.Heard(carol)) == 1 })
		// With the true node in the tracker again everything arrives.
		l.Say(actorstest.RecordFor(bob.AccountKey(), bob.Key(), 1), ofAlice)
		bob.EventuallyWithin(10*time.Minute, "bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
	})
}

// A stranger who dials us and shows a challenge that is sealed for another
// connection gets no signature, and raises an alarm; a hundred of them raise few,
// and are counted.
func TestRelay_ByStrangersWhoDial_RefusedFewAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n := w.Node("owner")
		n.AwaitAnnounced()
		carrier := newCarrier(t, w)
		const strangers = 20
		for i := range strangers {
			who := phone.IdentityOf("stranger " + strconv.Itoa(i))
			seal := identity.Seal{
				VerifierNode: identity.NodeKey{7}, Verifier: identity.PublicKey(who.Key()), Prover: n.Account.ID, Role: identity.SealInitiator,
			}
			c, err := seal.Draw(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			l, err := phone.DialLine(t.Context(), carrier, n.Key())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
				t.Fatal(err)
			}
			h := &phone.Handshake{Identity: who, Receiver: phone.Key(n.Account.ID), Challenge: c[:]}
			if err := h.Initiate(l); err == nil {
				t.Errorf("stranger %d has a signature", i)
			}
			l.Abort()
			virtual.Sleep(2 * time.Second) // within what one node may begin
		}
		events := n.EventsOf(store.HandshakeRelayed)
		if len(events) == 0 || len(events) > 4 || events[0].NodeKey != carrier.Key() || events[0].Reason != phone.IdentityOf("stranger 0").Key().String() {
			t.Errorf("%d alarms: %+v", len(events), events)
		}
		if s := n.Status(); s.Suspected != strangers || len(s.Suspicions) != len(events) {
			t.Errorf("%d suspected, %d shown", s.Suspected, len(s.Suspicions))
		}
	})
}
