// SPDX-License-Identifier: MPL-2.0

package actors_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
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
					f := gather(t, w, 2, 2, q)
					f.each(func(a, p int) {
						f.phoneSays(a, p, 100)
						f.nodeSays(t, a, p, 100)
					})
					f.settles(t, 30*time.Minute)
					f.once(t)
					f.moves(t, w, q)
					f.each(func(a, p int) {
						f.phoneSays(a, p, 120_000)
						f.nodeSays(t, a, p, 120_001)
						f.phoneSays(a, p, 101)
					})
					if restart {
						time.Sleep(20 * time.Second)
						f.n.Stop()
						f.n.Start()
					}
					start := time.Now()
					f.settles(t, time.Hour)
					t.Logf("after %v", time.Since(start))
					time.Sleep(10 * time.Minute)
					f.once(t)
				})
			})
		}
	}
}

// moves switches all phones off, and on again at a new node key without what they had.
func (f *family) moves(t *testing.T, w *actorstest.World, q phone.Quirks) {
	t.Helper()
	var options []phone.Options
	for i, p := range f.phones {
		p.Stop()
		options = append(options, phone.Options{
			Name: fmt.Sprint("phone ", i), Trackers: []identity.NodeKey{w.Tracker.Node}, Quirks: q, Log: t.Logf,
		})
	}
	time.Sleep(time.Minute)
	f.phones = phone.DeviceInMemory(t, w.Net, options...)
	f.each(func(a, p int) {
		f.phones[p].AddContact(phone.Key(f.accounts[a]))
		f.fromNode[a][p] = nil // gone with the old device
	})
}
