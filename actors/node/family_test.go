// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// families are the ways in which several pairs can be at one node, with phones that
// do as the protocol asks and with those that do what the apps do.
func families(t *testing.T, test func(t *testing.T, f *actorstest.Family)) {
	for _, size := range []struct{ accounts, phones int }{{2, 1}, {1, 2}, {2, 2}} {
		for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
			t.Run(fmt.Sprintf("%d accounts, %d phones, %s", size.accounts, size.phones, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}})
					test(t, w.NewFamily(size.accounts, size.phones, q))
				})
			})
		}
	}
}

// What a phone sends to each of several accounts on a data stream arrives, in the
// right account and once, and so does what several contacts behind one node send.
func TestFamily_LargeTextsFromThePhones(t *testing.T) {
	families(t, func(t *testing.T, f *actorstest.Family) {
		f.Each(func(a, p int) { f.PhoneSays(a, p, 100) })
		f.Settle(30 * time.Minute)
		start := time.Now()
		f.Each(func(a, p int) { f.PhoneSays(a, p, 120_000) })
		f.Settle(15 * time.Minute)
		t.Logf("after %v", time.Since(start))
		f.CheckOnce()
	})
}

// What the node's accounts send to contacts behind one node arrives at the right one,
// from the right one, and once. The phone attributes a data stream to the account that
// was last at its node, as the apps do.
func TestFamily_LargeTextsFromTheAccounts(t *testing.T) {
	families(t, func(t *testing.T, f *actorstest.Family) {
		f.Each(func(a, p int) { f.NodeSays(a, p, 100) })
		f.Settle(30 * time.Minute)
		f.Each(func(a, p int) {
			for _, size := range []int{150_000, 10, 1 << 20} {
				f.NodeSays(a, p, size)
			}
		})
		f.Settle(15 * time.Minute)
		f.CheckOnce()
	})
}

// Everybody writes to everybody at once, without a session before.
func TestFamily_EverybodyAtOnce(t *testing.T) {
	families(t, func(t *testing.T, f *actorstest.Family) {
		f.Each(func(a, p int) {
			f.PhoneSays(a, p, 50)
			f.NodeSays(a, p, 50)
			f.NodeSays(a, p, 90_000)
			f.PhoneSays(a, p, 90_000)
		})
		f.Settle(60 * time.Minute)
		f.Each(func(a, p int) {
			f.NodeSays(a, p, 51)
			f.PhoneSays(a, p, 51)
		})
		f.Settle(30 * time.Minute)
		f.CheckOnce()
	})
}

// What single phones do otherwise than the protocol asks, all of a family do.
func TestFamily_ClumsyPhones(t *testing.T) {
	for name, clumsy := range clumsyPhones() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 20 * time.Millisecond}})
				f := w.NewFamily(2, 2, clumsy.quirks)
				for round := range 2 {
					f.Each(func(a, p int) {
						f.PhoneSays(a, p, 60+round)
						f.NodeSays(a, p, 60+round)
						f.PhoneSays(a, p, 70_000+round)
						f.NodeSays(a, p, 70_000+round)
					})
					f.Settle(time.Hour)
					virtual.Sleep(2 * time.Minute) // whatever comes late has come
				}
				f.CheckOnce()
			})
		})
	}
}

// A network that loses and doubles packets, and a node that is started anew.
func TestFamily_BadNetworkAndRestart(t *testing.T) {
	for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{
					Link: memnet.Link{Delay: 80 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: 0.03, Duplicate: 0.01},
				})
				f := w.NewFamily(2, 2, q)
				for round := range 4 {
					f.Each(func(a, p int) {
						f.PhoneSays(a, p, 70_000+round)
						f.PhoneSays(a, p, 70+round)
					})
					if round == 2 {
						virtual.Sleep(20 * time.Second)
						f.Node.Stop()
						f.Node.Start()
					}
					f.Settle(3 * time.Hour)
				}
				f.CheckOnce()
			})
		})
	}
}
