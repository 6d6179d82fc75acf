// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// A phone whose own queue has overflowed acknowledges minutes later. While it says
// other things its session lives on, and no text is sent twice.
func TestSession_LatePeer_TextSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{OKDelay: 150 * time.Second})
		other := w.Phone("other", phone.Quirks{})
		k.n.AddPhone(other.Key())
		other.AddContact(k.key)
		k.nodeSays(t, "one")
		k.nodeSays(t, "two")
		k.n.SayTo(other.Key(), "to somebody else")
		for i := range 20 {
			virtual.Sleep(20 * time.Second)
			k.phoneSays(fmt.Sprint("busy ", i))
		}
		k.settles(t, 10*time.Minute)
		page := k.p.Page(k.key)
		if texts := page.Texts(); !slices.Equal(texts, []string{"one", "two"}) || page.Started != 1 || page.Ended != 0 {
			t.Errorf("the phone has %s in %d sessions, %d ended", actorstest.Brief(texts), page.Started, page.Ended)
		}
		if waiting, err := k.n.Waiting(k.n.Account.ID); err != nil || waiting != 0 {
			t.Errorf("%d messages wait, %v", waiting, err)
		}
		k.nodeHasAllOnce(t)
		if texts := other.Page(k.key).Texts(); !slices.Equal(texts, []string{"to somebody else"}) {
			t.Errorf("the other phone has %s", actorstest.Brief(texts))
		}
	})
}

// Bar R17: a peer that sends nothing but pings while a text is not acknowledged is
// given up after a minute; one that says other things, and never acknowledges, too,
// but later.
func TestSession_DeafPeer_GivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		says       func(k *talk, n int)
		least, max time.Duration
	}{
		"only pings": {
			says: func(k *talk, _ int) {
				if s := k.p.Session(k.key); s != nil {
					_ = s.Send(phone.Frame{Type: phone.TypePing})
				}
			},
			least: 59 * time.Second, max: 62 * time.Second,
		},
		"everything but OK": {
			says:  func(k *talk, n int) { k.phoneSays(fmt.Sprint("text ", n)) },
			least: 9 * time.Minute, max: 11 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{NoOK: true})
				k.phoneSays("hello")
				k.settles(t, time.Minute)
				begun := time.Now()
				k.nodeSays(t, "one")
				for n := range 200 {
					if k.p.Page(k.key).Ended > 0 {
						break
					}
					virtual.Sleep(5 * time.Second)
					test.says(k, n)
				}
				if took := time.Since(begun); took < test.least || took > test.max+5*time.Second {
					t.Errorf("given up after %v", took)
				}
				k.p.SetQuirks(phone.Quirks{})
				k.settles(t, 20*time.Minute)
				k.nodeHasAllOnce(t)
			})
		})
	}
}

// A large text on a slow link keeps PONGs behind it. Bytes are life: the session is
// not ended under it.
func TestSession_SlowLargeFrame_IsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{Link: memnet.Link{Rate: 4 << 10}})
		k := meet(t, w, phone.Quirks{NoDataStream: true, NoPing: true})
		k.phoneSays("hello")
		k.settles(t, 10*time.Minute)
		k.phoneSays(strings.Repeat("p", 900_000)) // takes almost four minutes
		k.settles(t, 20*time.Minute)
		k.once(t)
		if page := k.p.Page(k.key); page.Started != 1 {
			t.Errorf("%d sessions", page.Started)
		}
	})
}

// While a large text of the peer arrives on a slow link, its acknowledgment of ours is
// behind it: it is at work, so ours is not sent twice, nor theirs begun anew.
func TestSession_AckBehindASlowLargeFrame_IsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{Link: memnet.Link{Rate: 4 << 10}})
		k := meet(t, w, phone.Quirks{NoDataStream: true, NoPing: true})
		k.phoneSays("hello")
		k.settles(t, 10*time.Minute)
		k.phoneSays(strings.Repeat("p", 900_000)) // takes almost four minutes
		virtual.Sleep(5 * time.Second)
		k.nodeSays(t, "meanwhile")
		k.settles(t, 30*time.Minute)
		k.once(t)
		if page := k.p.Page(k.key); page.Started != 1 {
			t.Errorf("%d sessions", page.Started)
		}
	})
}
