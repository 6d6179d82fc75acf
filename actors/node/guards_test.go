// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// foreignNodeEvents counts the alarms in the account's log.
func foreignNodeEvents(t *testing.T, n *actorstest.Node) (nodes []identity.NodeKey) {
	t.Helper()
	events, err := n.Events(n.Account.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == store.ForeignNodeAnnounced {
			nodes = append(nodes, e.NodeKey)
		}
	}
	return nodes
}

// Bar S13b: a tracker that leads to a foreign node with our signature raises one
// alarm within an announce period, and our own record is announced again at once. A
// restart does not raise it again. It ends when no tracker says so any more.
func TestForeignRecordWithOurSignatureRaisesAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		phoneOfAlice, thief := identity.NodeKey{1}, identity.NodeKey{2}
		l := w.NewLyingTracker()
		alice := w.Node("alice", actorstest.WithTrackers(l.Address()), func(o *node.Options) { o.OwnDevices = []identity.NodeKey{phoneOfAlice} })
		key, somebody := alice.AccountKey(), w.Node("somebody").AccountKey()
		// Our own node, another device of ours, a foreign node without our signature.
		l.Say(actorstest.RecordFor(key, alice.Key(), 1), actorstest.RecordFor(key, phoneOfAlice, 1), actorstest.RecordFor(somebody, thief, 9))
		alice.Eventually("it is announced", func() bool { return l.Announced.Load() > 0 })
		virtual.Sleep(time.Hour)
		if s := alice.Status(); len(s.ForeignNodes) != 0 || len(foreignNodeEvents(t, alice)) != 0 {
			t.Fatalf("a false alarm: %+v", s.ForeignNodes)
		}

		l.Say(actorstest.RecordFor(key, alice.Key(), 1), actorstest.RecordFor(key, thief, 9))
		before := l.Announced.Load()
		alice.EventuallyWithin(4*time.Minute, "the alarm", func() bool { return len(foreignNodeEvents(t, alice)) == 1 })
		virtual.Sleep(time.Second)
		if now := l.Announced.Load(); now != before+2 {
			t.Errorf("announced %d times, once by the clock and once for the alarm", now-before)
		}
		virtual.Sleep(time.Hour)
		if nodes := foreignNodeEvents(t, alice); !slices.Equal(nodes, []identity.NodeKey{thief}) {
			t.Errorf("alarms for %v", nodes)
		}
		s := alice.Status()
		if len(s.ForeignNodes) != 1 || s.ForeignNodes[0].Node != thief || s.ForeignNodes[0].Account != alice.Account.ID || time.Since(s.ForeignNodes[0].Since) < time.Hour {
			t.Errorf("status: %+v", s.ForeignNodes)
		}
		if !alice.RefusesToSignForTest(thief) {
			t.Error("it would sign the foreign key once more")
		}

		// A restart raises no alarm, another thief does.
		alice.Stop()
		alice.Start()
		if !alice.RefusesToSignForTest(thief) {
			t.Error("after a restart it would sign the foreign key")
		}
		alice.EventuallyWithin(4*time.Minute, "the alarm in the status", func() bool { return len(alice.Status().ForeignNodes) == 1 })
		if since := alice.Status().ForeignNodes[0].Since; time.Since(since) < time.Hour {
			t.Errorf("the alarm is as old as the process: %v", since)
		}
		another := identity.NodeKey{3}
		l.Say(actorstest.RecordFor(key, thief, 9), actorstest.RecordFor(key, another, 9))
		alice.EventuallyWithin(4*time.Minute, "the other alarm", func() bool { return len(foreignNodeEvents(t, alice)) > 1 })
		if nodes := foreignNodeEvents(t, alice); !slices.Equal(nodes, []identity.NodeKey{thief, another}) {
			t.Errorf("alarms for %v", nodes)
		}

		l.Say(actorstest.RecordFor(key, alice.Key(), 1))
		virtual.Sleep(30 * time.Minute)
		if s := alice.Status(); len(s.ForeignNodes) != 0 {
			t.Errorf("the alarm does not end: %+v", s.ForeignNodes)
		}
		l.Say(actorstest.RecordFor(key, thief, 9))
		alice.EventuallyWithin(4*time.Minute, "the alarm again", func() bool { return len(foreignNodeEvents(t, alice)) == 3 })
	})
}

// Bar S13: an old record that is replayed, with the best priority there is, does not
// replace the node that has authenticated last; that one is tried first and found.
func TestReplayedRecordDoesNotReplaceTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		l := w.NewLyingTracker()
		alice, bob := w.Node("alice", actorstest.WithTrackers(l.Address())), w.Node("bob", actorstest.WithTrackers(l.Address()))
		key := bob.AccountKey()
		actorstest.Befriend(alice, bob)
		talk := func(text string, n int) {
			alice.Say(bob, text)
			bob.EventuallyWithin(10*time.Minute, "bob hears "+text, func() bool { return len(bob.Heard(alice)) == n })
		}
		old := bob.Key()
		l.Say(actorstest.RecordFor(key, old, 1))
		talk("here", 1)

		// Bob moves to another node, which authenticates; at the old one sits a trap.
		bob.Stop()
		if err := os.Remove(filepath.Join(bob.Opts.Dir, "keys", "node.pem")); err != nil {
			t.Fatal(err)
		}
		bob.Opts.ReplaceNodeKeys = true
		bob.Start()
		l.Say(actorstest.RecordFor(key, bob.Key(), 1))
		talk("there", 2)
		trap := w.Net.NodeAt(old, overlay.Limits{})
		port, err := trap.Listen(phone.Port)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var caught atomic.Int32
		var trapping sync.WaitGroup
		trapping.Go(func() {
			for {
				conn, err := port.Accept(ctx)
				if err != nil {
					return
				}
				caught.Add(1)
				_ = conn.Abort() // the peer is told nothing
			}
		})
		defer func() {
			cancel()
			trapping.Wait()
			_ = trap.Close()
		}()

		// The session is idle and ends; the tracker has only the old record, or both.
		for i, records := range [][]tracker.Record{
			{actorstest.RecordFor(key, old, 255), actorstest.RecordFor(key, bob.Key(), 1)},
			{actorstest.RecordFor(key, old, 255)},
		} {
			virtual.Sleep(20 * time.Minute)
			l.Say(records...)
			talk(fmt.Sprint("again ", i), 3+i)
			if n := caught.Load(); n != 0 {
				t.Errorf("records %d: the old node was tried %d times before the newest", i, n)
			}
		}

		// When the newest does not answer the old one is tried, and does not authenticate.
		virtual.Sleep(20 * time.Minute)
		bob.Stop()
		alice.Say(bob, "nobody there")
		alice.EventuallyWithin(10*time.Minute, "the old node is tried", func() bool { return caught.Load() > 0 })
		contact, err := alice.Contact(alice.Account.ID, bob.Account.ID)
		if err != nil || contact.NodeKeys[0].Key == old {
			t.Errorf("the old node replaced the newest: %+v, %v", contact.NodeKeys, err)
		}
	})
}

// Bar S04: a node that begins handshakes without end is answered a bounded number of
// times; the contacts of other nodes do not notice. Who turns out to be a contact is
// not counted.
func TestHandshakesOfANodeAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := intrude(t)
		stranger := phone.IdentityOf("stranger")
		answered := func(id phone.Identity) bool {
			l := i.line()
			defer l.Close()
			if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
				return false
			}
			h := &phone.Handshake{Identity: id, Receiver: i.owner, Gate: phone.Before(phone.TypeChallenge2)}
			return errors.Is(h.Initiate(l), phone.ErrStopped)
		}
		for n := range 100 {
			if !answered(i.id) {
				t.Fatalf("handshake %d of a contact is refused", n)
			}
			virtual.Sleep(time.Millisecond)
		}
		granted := 0
		for range 100 {
			if answered(stranger) {
				granted++
			}
			virtual.Sleep(time.Millisecond)
		}
		if granted < 16 || granted > 40 {
			t.Errorf("%d of 100 handshakes of a stranger were answered", granted)
		}
		virtual.Sleep(time.Minute)
		if !answered(stranger) {
			t.Error("a minute later it is still refused")
		}
	})
}

// Bar S08: with security.refuse_point_challenges nothing is signed that could be a
// key, for anybody.
func TestPointChallengesAreRefusedWhenToldSo(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint(refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				alice := w.Node("alice", func(o *node.Options) { o.RefusePointChallenges = refuse })
				point := phone.IdentityOf("some key").Key()
				if alice.RefusesChallengeForTest(point) != refuse {
					t.Error("a challenge that could be a key")
				}
				if alice.RefusesChallengeForTest([32]byte{2}) {
					t.Error("a challenge that could not")
				}
				// Between nodes it costs nothing.
				bob := w.Node("bob", func(o *node.Options) { o.RefusePointChallenges = refuse })
				actorstest.Befriend(alice, bob)
				alice.Say(bob, "hello")
				bob.Eventually("bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
			})
		})
	}
}
