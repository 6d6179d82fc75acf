// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// Bar R16: a panic of the store actor ends the node in order, and what was accepted
// is there at the next start.
func TestPanicOfTheStoreEndsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int32
		var armed atomic.Bool
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice", func(o *node.Options) {
			o.BeforeReceive = func(actor kernel.Ref, msg any) {
				if _, ok := msg.(store.Write); ok && kindOf(actor) == "store" && armed.Load() && writes.Add(1) == 7 {
					panic("injected")
				}
			}
		})
		bob := w.Node("bob")
		actorstest.Befriend(alice, bob)
		armed.Store(true)
		var accepted []string
		for n := range 100 {
			text := fmt.Sprint("text ", n)
			_, err := alice.Send(t.Context(), node.Outgoing{Account: alice.Account.ID, Contact: bob.Account.ID, Payload: []byte(text)})
			if err != nil {
				break
			}
			accepted = append(accepted, text)
		}
		if len(accepted) == 0 || len(accepted) == 100 {
			t.Fatalf("%d texts were accepted", len(accepted))
		}
		select {
		case <-alice.Failed():
		case <-time.After(time.Minute):
			t.Fatal("the node goes on without its store")
		}
		if err := alice.Err(); err == nil || !strings.Contains(err.Error(), "store") {
			t.Errorf("the node has ended with: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := alice.Node.Stop(ctx); err != nil {
			t.Errorf("it does not end in order: %v", err)
		}
		alice.Stop()
		armed.Store(false)
		alice.Start()
		bob.EventuallyWithin(10*time.Minute, "everything arrives", func() bool { return len(bob.Heard(alice)) >= len(accepted) })
		if heard := bob.Heard(alice); !slices.Equal(heard, accepted) {
			t.Errorf("accepted %q, heard %q", accepted, heard)
		}
	})
}

// Bar R16: a part that fails again and again is started less and less often, and
// the status says so. Everybody else goes on.
func TestPartThatKeepsPanickingRaisesAnAlarm(t *testing.T) {
	t.Run("live session", func(t *testing.T) { keepsPanicking(t, 0) })
	// Each text needs a new session then, and so a lookup.
	t.Run("no live session", func(t *testing.T) { keepsPanicking(t, 30*time.Second) })
}

// keepsPanicking lets Alice's resolver panic for 20 minutes while she writes to Bob.
// With idle her sessions end after that time without anything to do.
func keepsPanicking(t *testing.T, idle time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var panics atomic.Int32
		var armed atomic.Bool
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice", func(o *node.Options) {
			o.SessionIdle = idle
			o.BeforeReceive = func(actor kernel.Ref, _ any) {
				if kindOf(actor) == "resolver" && armed.Load() {
					panics.Add(1)
					panic("injected")
				}
			}
		})
		bob := w.Node("bob")
		actorstest.Befriend(alice, bob)
		alice.Say(bob, "before")
		bob.Eventually("it arrives", func() bool { return len(bob.Heard(alice)) == 1 })
		if idle > 0 {
			alice.EventuallyWithin(5*time.Minute, "the session ends", func() bool { return !alice.Presence(alice.Account.ID, bob.Account.ID).Online })
		}
		armed.Store(true)
		const minutes = 20
		for n := range minutes {
			before := panics.Load()
			alice.Say(bob, fmt.Sprint("text ", n))
			virtual.Sleep(time.Minute)
			if more := panics.Load() - before; more > 10 {
				t.Errorf("%d panics in the minute %d", more, n)
			}
		}
		if n := panics.Load(); n < 3 {
			t.Fatalf("only %d panics", n)
		}
		bob.Eventually("all arrive", func() bool { return len(bob.Heard(alice)) == 1+minutes })
		alarmed := func() bool {
			return slices.ContainsFunc(alice.Status().Alarms, func(a node.Alarm) bool { return a.Part == "resolver" })
		}
		// The resolver is in back-off, or fails at the question: the status comes all the same.
		asked := time.Now()
		if !alarmed() {
			t.Errorf("%d panics, and no alarm", panics.Load())
		}
		if took := time.Since(asked); took > 3*time.Second {
			t.Errorf("the status took %s", took)
		}
		if trackers := alice.Status().Trackers; len(trackers) != 1 || trackers[0].Answers {
			t.Errorf("trackers %+v", trackers)
		}
		armed.Store(false)
	})
}
