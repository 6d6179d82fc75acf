// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

// wallClock is a clock that somebody sets while the program runs.
type wallClock struct {
	offset atomic.Int64
	stuck  atomic.Int64 // not 0: it stands still there
}

func (w *wallClock) Now() time.Time {
	if at := w.stuck.Load(); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Now().Round(0).Add(time.Duration(w.offset.Load()))
}

// Bar R13: the wall clock jumps and stands still. Nobody notices: sessions live on,
// messages keep their order, and nothing spins. Even a start in another decade is
// one like any other.
func TestClockJumps(t *testing.T) {
	const (
		year = 365 * 24 * time.Hour
		// quiet is longer than a session without messages lives, with all its pings,
		// announcements and rotations.
		quiet = 25 * time.Minute
		// perSecond is how often something may happen meanwhile, on average.
		perSecond = 5
		texts     = 5
	)
	for _, jump := range []struct {
		name    string
		by      time.Duration
		stuck   bool
		restart bool
	}{
		{name: "an hour on", by: time.Hour},
		{name: "an hour back", by: -time.Hour},
		{name: "ten years on", by: 10 * year},
		{name: "ten years on, and a start", by: 10 * year, restart: true},
		{name: "before Mimir, and a start", by: -25 * year, restart: true},
		{name: "stuck", stuck: true},
		{name: "stuck, and a start", stuck: true, restart: true},
	} {
		t.Run(jump.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := new(wallClock)
				var turns atomic.Int64
				w := actorstest.New(t, memnet.Options{})
				alice := w.Node("alice", func(o *node.Options) {
					o.Now = clock.Now
					o.BeforeReceive = func(kernel.Ref, any) { turns.Add(1) }
				})
				bob := w.Node("bob")
				actorstest.Befriend(alice, bob)
				var want []string
				talk := func(what string) {
					for n := range texts {
						text := fmt.Sprint(what, n)
						want = append(want, text)
						alice.Say(bob, text)
						bob.Say(alice, text)
					}
					for _, p := range [][2]*actorstest.Node{{alice, bob}, {bob, alice}} {
						p[0].EventuallyWithin(10*time.Minute, "everything arrives", func() bool { return len(p[0].Heard(p[1])) >= len(want) })
						if heard := p[0].Heard(p[1]); !slices.Equal(heard, want) {
							t.Errorf("heard %v", heard)
						}
					}
				}
				talk("before")
				since := alice.Presence(alice.Account.ID, bob.Account.ID).Since
				if jump.stuck {
					clock.stuck.Store(clock.Now().UnixMilli())
				} else {
					clock.offset.Store(int64(jump.by))
				}
				if jump.restart {
					alice.Stop()
					alice.Start()
				}
				talk("after")
				if now := alice.Presence(alice.Account.ID, bob.Account.ID).Since; !jump.restart && !now.Equal(since) {
					t.Error("the session has not lived on")
				}
				begun := turns.Load()
				virtual.Sleep(quiet)
				if n := turns.Load() - begun; n > perSecond*int64(quiet/time.Second) {
					t.Errorf("%d turns while nobody spoke", n)
				}
				talk("later")
				clock.stuck.Store(0)
				clock.offset.Store(0)
				talk("set right")
			})
		})
	}
}
