// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/virtual"
)

// Bar R08: with one tracker silent the others do.
func TestSilentTrackerIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		silent := w.NewTracker(actorstest.Silence)
		alice := w.Node("alice", actorstest.WithTrackers(silent.Address(), w.Tracker))
		bob := w.Node("bob", actorstest.WithTrackers(w.Tracker, silent.Address()))
		actorstest.Befriend(alice, bob)
		alice.Say(bob, "hello")
		bob.Eventually("bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
	})
}

// Bar R08: a silent tracker is asked at most once a minute.
func TestSilentTrackersAreNotPestered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		silent := w.NewTracker(actorstest.Silence)
		alice, bob := w.Node("alice", actorstest.WithTrackers(silent.Address())), w.Node("bob")
		actorstest.Befriend(alice, bob)
		alice.Say(bob, "hello")
		start := time.Now()
		virtual.Sleep(time.Hour)
		synctest.Wait()
		questions := len(silent.Lookups()) / 3 // each is repeated twice
		if minutes := int(time.Since(start) / time.Minute); questions > minutes {
			t.Errorf("%d lookups in %d minutes", questions, minutes)
		}
		if questions == 0 {
			t.Error("it was not asked at all")
		}
		if status := alice.Status(); status.Trackers[0].Answers {
			t.Error("the silent tracker is shown as answering")
		}
	})
}

// Bar S12: nothing that a tracker says is believed without a signature, and what
// is believed is only tried: the handshake decides.
func TestLyingTrackersAreNotBelieved(t *testing.T) {
	key := func() identity.PrivateKey {
		k, err := identity.GeneratePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	mallory := key()
	lookup := func(reply func(tracker.Lookup) [][]byte) func(tracker.Request) [][]byte {
		return func(q tracker.Request) [][]byte {
			if q, ok := q.(tracker.Lookup); ok {
				return reply(q)
			}
			return nil
		}
	}
	somewhere := tracker.NewRecord(mallory, identity.NodeKey{1}, 255, 1)
	somewhere.ExpiresMS = 60_000
	cases := map[string]func(tracker.Request) [][]byte{
		"records signed by somebody else": lookup(func(q tracker.Lookup) [][]byte {
			return [][]byte{tracker.LookupReply{Nonce: q.Nonce, Records: []tracker.Record{somewhere}}.AppendTo(nil)}
		}),
		"a wrong nonce": lookup(func(q tracker.Lookup) [][]byte {
			return [][]byte{tracker.LookupReply{Nonce: q.Nonce + 1}.AppendTo(nil)}
		}),
		"an answer to another command": lookup(func(q tracker.Lookup) [][]byte {
			return [][]byte{tracker.PingReply{Nonce: q.Nonce}.AppendTo(nil)}
		}),
		"garbage": lookup(func(q tracker.Lookup) [][]byte {
			reply := tracker.LookupReply{Nonce: q.Nonce, Records: []tracker.Record{somewhere}}.AppendTo(nil)
			return [][]byte{nil, {1}, reply[:7], append(reply, 0xff, 0xff, 0xff, 0xff, 0xff)}
		}),
		"knowing nobody": lookup(func(q tracker.Lookup) [][]byte {
			return [][]byte{tracker.LookupReply{Nonce: q.Nonce}.AppendTo(nil)}
		}),
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				liar := w.NewTracker(answer)
				alice, bob := w.Node("alice", actorstest.WithTrackers(liar.Address(), w.Tracker)), w.Node("bob")
				actorstest.Befriend(alice, bob)
				alice.Say(bob, "hello")
				bob.EventuallyWithin(2*time.Minute, "bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
				if len(liar.Lookups()) == 0 {
					t.Error("the liar was not even asked")
				}
			})
		})
	}
}

// A record that is signed and old leads to a node that is not the contact any
// more: it is tried, does not authenticate, and the right one is found.
func TestStolenAddressDoesNotAuthenticate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		mallory, bob := w.Node("mallory"), w.Node("bob")
		var bobKey identity.PrivateKey
		pem, err := actorstest.KeyFile(bob)
		if err == nil {
			bobKey, err = identity.ParsePEM(pem)
		}
		if err != nil {
			t.Fatal(err)
		}
		// Bob's signature over mallory's node key, as the handshake of the apps lets
		// anybody have it.
		stolen := tracker.NewRecord(bobKey, mallory.Key(), 255, 77)
		stolen.ExpiresMS = 600_000
		liar := w.NewTracker(func(q tracker.Request) [][]byte {
			if q, ok := q.(tracker.Lookup); ok {
				return [][]byte{tracker.LookupReply{Nonce: q.Nonce, Records: []tracker.Record{stolen}}.AppendTo(nil)}
			}
			return nil
		})
		alice := w.Node("alice", actorstest.WithTrackers(liar.Address(), w.Tracker))
		actorstest.Befriend(alice, bob)
		alice.Say(bob, "secret")
		bob.EventuallyWithin(2*time.Minute, "bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
		if heard := mallory.Heard(alice); len(heard) != 0 {
			t.Errorf("mallory heard %v", heard)
		}
	})
}

func TestOwnSignatureIsNotGivenForNodeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice")
		for name, value := range map[string][32]byte{
			"its own node key":    alice.Key(),
			"its tracker's key":   w.Tracker.Node,
			"its own account key": alice.Account.ID,
		} {
			alice.Eventually("a challenge that is "+name+" is refused", func() bool { return alice.RefusesToSignForTest(value) })
		}
		if alice.RefusesToSignForTest([32]byte{1, 2, 3}) {
			t.Error("any challenge is refused")
		}
	})
}
