// SPDX-License-Identifier: MPL-2.0

package actors_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
)

// What only showed when nodes talked to the apps' own core.

// Who has never seen a contact's profile asks for what is newer than 0, not for
// what is newer than the year 1.
func TestProfileIsAskedForSinceZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		k.nodeSays(t, "hello")
		k.settles(t, time.Minute)
		asked := k.p.Page(k.key).Of(phone.TypeInfoRequest)
		if len(asked) != 1 || asked[0].Int("since") != 0 {
			t.Errorf("the node asked %v", asked)
		}
	})
}

// A tracker goes on naming the node that a contact has left. The next session goes
// to where the last one was, without waiting for a node that is gone.
func TestNextSessionGoesWhereTheLastWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{})
		k.nodeSays(t, "to the first place")
		k.settles(t, time.Minute)
		w.Net.Cut(k.n.Key(), k.p.Node())
		k.p.Stop()

		moved := phone.InMemory(t, w.Net, phone.Options{Name: "phone", Log: t.Logf}) // of which no tracker knows
		moved.AddContact(k.key)
		moved.Found(k.key, k.n.Key())
		moved.Write(k.key, "from the second place")
		moved.Eventually(t, time.Minute, "a session", func() bool { return len(moved.Waiting(k.key)) == 0 })
		moved.Session(k.key).Close()
		k.n.Eventually("the session has ended", func() bool { return k.n.Status().Sessions == 0 })

		start := time.Now()
		say(t, k.n, k.p.Key(), "to the second place")
		moved.Eventually(t, time.Minute, "the message", func() bool {
			return slices.Contains(moved.Page(k.key).Texts(), "to the second place")
		})
		if took := time.Since(start); took > 6*time.Second { // a pause of 5 s follows a session that broke
			t.Errorf("it took %v", took)
		}
	})
}
