// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// sleeper is a network on a machine that sleeps now and then.
type sleeper struct {
	uplink.Network
	changes *atomic.Uint64
}

func (s sleeper) Changes() uint64 { return s.changes.Load() }

// A machine that wakes up tells trackers at once where it is, and delivers what
// waits: they have forgotten it, and its timers did not run.
func TestWakingUpBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		l := w.NewLyingTracker()
		var changes atomic.Uint64
		alice := w.Node("alice", actorstest.WithTrackers(l.Address()), func(o *node.Options) {
			open := o.OpenNetwork
			o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
				n, err := open(key)
				return sleeper{n, &changes}, err
			}
		})
		alice.Eventually("it is announced", func() bool { return l.Announced.Load() > 0 })
		virtual.Sleep(time.Second)
		before := l.Announced.Load()
		changes.Add(1)
		virtual.Sleep(10 * time.Second)
		synctest.Wait()
		if now := l.Announced.Load(); now != before+1 {
			t.Errorf("announced %d times after waking up", now-before)
		}
	})
}
