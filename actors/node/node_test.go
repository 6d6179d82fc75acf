// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNodesTalkBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		sent := alice.Say(bob, "hello bob")
		bob.Eventually("bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
		bob.Say(alice, "hello alice")
		alice.Eventually("alice hears bob", func() bool { return len(alice.Heard(bob)) == 1 })
		alice.Eventually("the message is marked delivered", func() bool {
			m, err := alice.Message(alice.Account.ID, bob.Account.ID, sent.ID)
			return err == nil && m.State == store.StateDelivered
		})
	})
}

// Bar R18: strict order, and everything once, in both directions at the same time.
func TestNodesKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 200
		w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.02}})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		var want []string
		for i := range count {
			text := fmt.Sprintf("message %d", i)
			want = append(want, text)
			alice.Say(bob, text)
			bob.Say(alice, text)
		}
		for _, p := range [][2]*actorstest.Node{{alice, bob}, {bob, alice}} {
			p[0].EventuallyWithin(10*time.Minute, "everything has arrived", func() bool { return len(p[0].Heard(p[1])) >= count })
			if heard := p[0].Heard(p[1]); !slices.Equal(heard, want) {
				t.Errorf("heard %d messages, not the %d in order", len(heard), count)
			}
		}
	})
}

// A large message takes the data stream.
func TestNodesSendLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		sizes := []int{1, 65_535, 65_536, 65_537, 1 << 20}
		for _, size := range sizes {
			alice.Say(bob, strings.Repeat("x", size))
		}
		bob.Eventually("all have arrived", func() bool { return len(bob.Heard(alice)) == len(sizes) })
		for i, text := range bob.Heard(alice) {
			if len(text) != sizes[i] {
				t.Errorf("message %d has %d bytes, want %d", i, len(text), sizes[i])
			}
		}
	})
}

func TestSessionEndsWhenIdleAndIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		alice.Say(bob, "one")
		bob.Eventually("bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
		online := func() bool { return alice.Presence(alice.Account.ID, bob.Account.ID).Online }
		if !online() {
			t.Fatal("no session after a message")
		}
		virtual.Sleep(9 * time.Minute)
		synctest.Wait()
		if !online() {
			t.Error("the session ended before it was idle for 10 minutes")
		}
		virtual.Sleep(2 * time.Minute)
		synctest.Wait()
		if online() {
			t.Error("the session is still there after 11 idle minutes")
		}
		alice.Say(bob, "two")
		bob.Eventually("bob hears alice again", func() bool { return len(bob.Heard(alice)) == 2 })
	})
}

func TestMessagesWaitForTheContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		bob.Stop()
		for i := range 5 {
			alice.Say(bob, fmt.Sprint(i))
		}
		virtual.Sleep(3 * time.Hour)
		if n, err := alice.Waiting(alice.Account.ID); err != nil || n != 5 {
			t.Fatalf("%d messages wait, %v", n, err)
		}
		bob.Start()
		bob.EventuallyWithin(3*time.Minute, "bob hears what was written while he was away", func() bool { return len(bob.Heard(alice)) == 5 })
		if heard := bob.Heard(alice); !slices.Equal(heard, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("heard %v", heard)
		}
	})
}

// A node that was stopped in the middle sends the rest after its next start.
func TestOutboxSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		w.Net.Cut(alice.Key(), bob.Key())
		alice.Say(bob, "before")
		alice.Stop()
		w.Net.Heal(alice.Key(), bob.Key())
		alice.Start()
		bob.EventuallyWithin(3*time.Minute, "bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
	})
}

// Bar S10: an identity that is not a contact leaves no trace and gets no OK; what they
// wrote arrives when they have become one.
func TestStrangersAreNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, mallory := w.Node("alice"), w.Node("mallory")
		if _, err := mallory.AddContact(t.Context(), mallory.Account.ID, alice.Link(alice.Account)); err != nil {
			t.Fatal(err)
		}
		mallory.Say(alice, "let me in")
		virtual.Sleep(10 * time.Minute)
		synctest.Wait()
		if contacts, err := alice.Contacts(alice.Account.ID); err != nil || len(contacts) != 0 {
			t.Errorf("contacts %v, %v", contacts, err)
		}
		if events, err := alice.Events(alice.Account.ID, 0, 100); err != nil || len(events) != 1 { // the account itself
			t.Errorf("events %v, %v", events, err)
		}
		if n, err := mallory.Waiting(mallory.Account.ID); err != nil || n != 1 {
			t.Errorf("%d messages wait, %v: a stranger's message was acknowledged", n, err)
		}
		if _, err := alice.AddContact(t.Context(), alice.Account.ID, mallory.Link(mallory.Account)); err != nil {
			t.Fatal(err)
		}
		alice.EventuallyWithin(5*time.Minute, "alice hears her new contact", func() bool { return len(alice.Heard(mallory)) == 1 })
	})
}

func TestBlockedContactsAreNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		bob.Say(alice, "one")
		alice.Eventually("alice hears bob", func() bool { return len(alice.Heard(bob)) == 1 })
		if _, err := alice.BlockContact(t.Context(), alice.Account.ID, bob.Account.ID); err != nil {
			t.Fatal(err)
		}
		alice.Eventually("the session ends", func() bool { return !alice.Presence(alice.Account.ID, bob.Account.ID).Online })
		bob.Say(alice, "two")
		virtual.Sleep(5 * time.Minute)
		if heard := alice.Heard(bob); len(heard) != 1 {
			t.Errorf("heard %v", heard)
		}
		if _, err := alice.Send(t.Context(), node.Outgoing{Account: alice.Account.ID, Contact: bob.Account.ID, Payload: []byte("x")}); err == nil {
			t.Error("a message to a blocked contact was accepted")
		}
		if _, err := alice.AddContact(t.Context(), alice.Account.ID, bob.Link(bob.Account)); err != nil {
			t.Fatal(err)
		}
		alice.EventuallyWithin(5*time.Minute, "alice hears bob again", func() bool { return len(alice.Heard(bob)) == 2 })
	})
}

// Bar R16: a panic in any part costs that part a restart and nobody a message.
func TestPanicsRestartOnlyTheirPart(t *testing.T) {
	for _, part := range []string{"session", "contact", "account", "listener", "resolver", "overlay"} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var armed atomic.Bool
				var panics atomic.Int32
				w := actorstest.New(t, memnet.Options{})
				alice := w.Node("alice", func(o *node.Options) {
					o.BeforeReceive = func(actor kernel.Ref, _ any) {
						if kindOf(actor) == part && armed.CompareAndSwap(true, false) {
							panics.Add(1)
							panic("injected")
						}
					}
				})
				bob := w.Node("bob")
				actorstest.Befriend(alice, bob)
				var want []string
				say := func(n int) {
					text := fmt.Sprint(part, n)
					want = append(want, text)
					alice.Say(bob, text)
					bob.Say(alice, text)
				}
				say(0)
				bob.Eventually("the first message arrives", func() bool { return len(bob.Heard(alice)) == 1 })
				armed.Store(true)
				for n := range 10 {
					say(n + 1)
				}
				virtual.Sleep(11 * time.Minute) // the session ends
				bob.Say(alice, "by a new session")
				alice.EventuallyWithin(5*time.Minute, "bob has dialled", func() bool { return len(alice.Heard(bob)) == len(want)+1 })
				want = append(want, "by a new session")
				alice.Say(bob, "by a new session")
				for n := range 10 {
					say(n + 11)
				}
				for _, p := range [][2]*actorstest.Node{{alice, bob}, {bob, alice}} {
					p[0].EventuallyWithin(30*time.Minute, "everything arrives", func() bool {
						return len(p[0].Heard(p[1])) >= len(want) && !armed.Load()
					})
					if heard := p[0].Heard(p[1]); !slices.Equal(heard, want) {
						t.Errorf("heard %v", heard)
					}
				}
				if panics.Load() != 1 {
					t.Errorf("%d panics", panics.Load())
				}
				if err := alice.Err(); err != nil {
					t.Errorf("the node has failed: %v", err)
				}
			})
		})
	}
}

// kindOf tells what an actor is by its path.
func kindOf(actor kernel.Ref) string {
	parts := strings.Split(actor.Path(), "/")
	name := parts[len(parts)-1]
	switch {
	case strings.HasPrefix(name, "session-"):
		return "session"
	case strings.HasPrefix(name, "account-"):
		return "account"
	case len(name) == 64:
		return "contact"
	}
	return name
}

// dials is how many crossing dials TestBothSidesDialAtOnce makes.
var dials = flag.Int("dials", 1000, "how often both sides dial at once; a twentieth of it under the race detector")

// dialsInOneWorld bounds the rounds that share a store: an outbox with many rows
// removed and none left is slow to be looked at until Pebble has compacted it.
const dialsInOneWorld = 50

// Bar R10: both sides dial at the same moment, a thousand times. Each time there is
// one session, the same on both sides, and nothing is lost. The race detector makes
// a round ten times as long and sees as much in fewer; make scenario runs them all.
func TestBothSidesDialAtOnce(t *testing.T) {
	left := *dials
	if raceEnabled {
		left /= 20
	}
	for ; left > 0; left -= dialsInOneWorld {
		bothSidesDialAtOnce(t, min(left, dialsInOneWorld))
	}
}

func bothSidesDialAtOnce(t *testing.T, rounds int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond, Jitter: 30 * time.Millisecond}})
		quick := func(o *node.Options) { o.SessionIdle, o.Logger = 2*time.Second, nil }
		alice, bob := w.Node("alice", quick), w.Node("bob", quick)
		actorstest.Befriend(alice, bob)
		waiting := func(n *actorstest.Node) int {
			left, err := n.Waiting(n.Account.ID)
			if err != nil {
				t.Fatal(err)
			}
			return left
		}
		var want []string
		for n := range rounds {
			want = append(want, fmt.Sprint(n))
			alice.Say(bob, fmt.Sprint(n))
			bob.Say(alice, fmt.Sprint(n))
			alice.EventuallyWithin(time.Minute, "both are heard", func() bool { return waiting(alice) == 0 && waiting(bob) == 0 })
			a, b := alice.Presence(alice.Account.ID, bob.Account.ID), bob.Presence(bob.Account.ID, alice.Account.ID)
			if !a.Online || !b.Online || alice.Status().Sessions != 1 || bob.Status().Sessions != 1 {
				t.Fatalf("round %d: %+v and %+v", n, a, b)
			}
			for alice.Status().Sessions+bob.Status().Sessions > 0 {
				virtual.Sleep(time.Second)
			}
		}
		for _, p := range [][2]*actorstest.Node{{alice, bob}, {bob, alice}} {
			if heard := p[0].Heard(p[1]); !slices.Equal(heard, want) {
				t.Errorf("heard %v", heard)
			}
		}
	})
}
