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

// A family moves to a new device while large texts wait on both sides, and our node is
// started anew in between: each pair is held at the new node key until a tracker names
// it, gets its turns there, and nothing comes twice or under another name.
func TestFamily_MovesToANewDevice(t *testing.T) {
	for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}})
					f := w.NewFamily(2, 2, q)
					f.Each(func(a, p int) {
						f.PhoneSays(a, p, 100)
						f.NodeSays(a, p, 100)
					})
					f.Settle(30 * time.Minute)
					f.CheckOnce()
					f.Move()
					f.Each(func(a, p int) {
						f.PhoneSays(a, p, 120_000)
						f.NodeSays(a, p, 120_001)
						f.PhoneSays(a, p, 101)
					})
					if restart {
						virtual.Sleep(20 * time.Second)
						f.Node.Stop()
						f.Node.Start()
					}
					start := time.Now()
					f.Settle(time.Hour)
					t.Logf("after %v", time.Since(start))
					virtual.Sleep(10 * time.Minute)
					f.CheckOnce()
				})
			})
		}
	}
}
