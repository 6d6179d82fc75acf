// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
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

// An app offers a message once in a session. What a stranger has written is
// therefore asked for with a new session as soon as the stranger is a contact: the
// old one may last as long as the two talk.
func TestAcceptedStrangerNeedNotWriteAgain(t *testing.T) {
	for name, size := range map[string]int{"a text": 10, "a large text": 70_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n, key := w.Owner()
				p := w.Phone("phone", phone.Quirks{})
				k := &talk{n: n, key: key, p: p}
				if err := p.Ask(t.Context(), key, "let me in"); err != nil {
					t.Fatal(err)
				}
				k.phoneSays(text(size))
				virtual.Sleep(20 * time.Second)
				if got := n.HeardFrom(p.Key()); len(got) != 0 {
					t.Fatalf("a stranger was heard: %s", actorstest.Brief(got))
				}
				n.AddPhone(p.Key())
				k.settles(t, 10*time.Second)
				k.once(t)
				k.nodeSays(t, "welcome")
				k.settles(t, 10*time.Second)
				virtual.Sleep(5 * time.Minute)
				page := p.Page(key)
				if got := len(page.Of(phone.TypeContactResponse)); got != 1 {
					t.Errorf("%d answers to the contact request", got)
				}
				if page.Started != 2 || page.Ended != 1 {
					t.Errorf("%d sessions, %d of them ended", page.Started, page.Ended)
				}
			})
		})
	}
}

// A stranger who has written nothing keeps the session when it becomes a contact.
func TestAcceptedStrangerKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		p := w.Phone("phone", phone.Quirks{})
		if err := p.Ask(t.Context(), key, "let me in"); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(5 * time.Second)
		n.AddPhone(p.Key())
		p.Eventually(t, 10*time.Second, "the answer", func() bool {
			return len(p.Page(key).Of(phone.TypeContactResponse)) == 1
		})
		if page := p.Page(key); page.Started != 1 || page.Ended != 0 {
			t.Errorf("%d sessions, %d of them ended", page.Started, page.Ended)
		}
	})
}

// An app that takes messages from contacts only acknowledges nothing until we are
// one. It is not kept busy with sessions meanwhile, and gets the message with the
// first session after that.
func TestWhoDoesNotHearUsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		p := phone.InMemory(t, w.Net, phone.Options{Name: "phone", ContactsOnly: true, Trackers: []identity.NodeKey{w.Tracker.Node}, Log: t.Logf})
		p.Eventually(t, 10*time.Minute, "the phone is announced", func() bool { return p.Announced() > 0 })
		n.AddPhone(p.Key())
		k := &talk{n: n, key: key, p: p}
		k.nodeSays(t, "from a stranger")
		virtual.Sleep(time.Hour)
		if page := p.Page(key); page.Started < 20 || page.Started > 45 {
			t.Errorf("%d sessions in an hour", page.Started)
		}
		p.AddContact(key)
		k.settles(t, 3*time.Minute)
		k.once(t)
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
		// A device that no tracker names is held for ten minutes.
		moved.Eventually(t, 15*time.Minute, "a session", func() bool { return len(moved.Waiting(k.key)) == 0 })
		moved.Session(k.key).Close()
		k.n.Eventually("the session has ended", func() bool { return k.n.Status().Sessions == 0 })

		start := time.Now()
		k.n.SayTo(k.p.Key(), "to the second place")
		moved.Eventually(t, time.Minute, "the message", func() bool {
			return slices.Contains(moved.Page(k.key).Texts(), "to the second place")
		})
		if took := time.Since(start); took > 6*time.Second { // a pause of 5 s follows a session that broke
			t.Errorf("it took %v", took)
		}
	})
}

func text(size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}
