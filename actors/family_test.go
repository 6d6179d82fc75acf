// SPDX-License-Identifier: MPL-2.0

package actors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// family is a node with two accounts, and a device with two phones that share its
// node key; everybody is everybody's contact. Nothing but a handshake says whose a
// stream between the two is.
type family struct {
	w        *actorstest.World
	n        *actorstest.Node
	accounts []identity.PublicKey
	phones   []*phone.Phone

	// What was said, by account and phone.
	fromNode, fromPhone [][][]string
}

// gather makes a node with accounts and a device with phones.
func gather(t *testing.T, w *actorstest.World, accounts, phones int, q phone.Quirks, change ...func(*actors.Options)) *family {
	t.Helper()
	f := &family{w: w, n: w.Node("account 0", change...)}
	announced(t, f.n)
	f.accounts = append(f.accounts, f.n.Account.ID)
	for i := 1; i < accounts; i++ {
		a, err := f.n.CreateAccount(t.Context(), fmt.Sprint("account ", i))
		if err != nil {
			t.Fatal(err)
		}
		f.accounts = append(f.accounts, a.ID)
	}
	var options []phone.Options
	for i := range phones {
		options = append(options, phone.Options{
			Name: fmt.Sprint("phone ", i), Trackers: []identity.NodeKey{w.Tracker.Node}, Quirks: q, Log: t.Logf,
		})
	}
	f.phones = phone.DeviceInMemory(t, w.Net, options...)
	for _, p := range f.phones {
		p.Eventually(t, 10*time.Minute, "the phone is announced", func() bool { return p.Announced() > 0 })
	}
	for _, a := range f.accounts {
		for _, p := range f.phones {
			if _, err := f.n.AddContact(t.Context(), a, identity.Link{Key: identity.PublicKey(p.Key())}); err != nil {
				t.Fatal(err)
			}
			p.AddContact(phone.Key(a))
		}
		f.fromNode = append(f.fromNode, make([][]string, phones))
		f.fromPhone = append(f.fromPhone, make([][]string, phones))
	}
	time.Sleep(time.Minute) // all accounts are announced
	return f
}

// each calls do for every pair of an account and a phone.
func (f *family) each(do func(a, p int)) {
	for a := range f.accounts {
		for p := range f.phones {
			do(a, p)
		}
	}
}

// textOf is a text that says between whom it is.
func textOf(from string, a, p, size int) string {
	text := fmt.Sprintf("%s, account %d, phone %d: ", from, a, p)
	return text + strings.Repeat("x", max(0, size-len(text)))
}

func (f *family) phoneSays(a, p, size int) {
	text := textOf("to the node", a, p, size)
	f.fromPhone[a][p] = append(f.fromPhone[a][p], text)
	f.phones[p].Write(phone.Key(f.accounts[a]), text)
}

func (f *family) nodeSays(t *testing.T, a, p, size int) {
	t.Helper()
	text := textOf("to the phone", a, p, size)
	f.fromNode[a][p] = append(f.fromNode[a][p], text)
	if _, err := f.n.Send(t.Context(), actors.Outgoing{Account: f.accounts[a], Contact: f.contact(p), Payload: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func (f *family) contact(p int) identity.PublicKey { return identity.PublicKey(f.phones[p].Key()) }

// heard are the texts that an account has from a phone.
func (f *family) heard(t *testing.T, a, p int) []string {
	t.Helper()
	page, err := f.n.Messages(f.accounts[a], f.contact(p), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, m := range slices.Backward(page) {
		if m.ID.Dir == store.In {
			texts = append(texts, string(m.Payload))
		}
	}
	return texts
}

// settles waits until everything has arrived and is acknowledged, on both sides.
func (f *family) settles(t *testing.T, within time.Duration) {
	t.Helper()
	f.n.EventuallyWithin(within, "everything has arrived and is acknowledged", func() bool {
		done := true
		f.each(func(a, p int) {
			waiting, err := f.n.Waiting(f.accounts[a])
			key := phone.Key(f.accounts[a])
			done = done && err == nil && waiting == 0 && len(f.phones[p].Waiting(key)) == 0
		})
		return done
	})
}

// once checks that each has what was said to them: once, and nothing that was said to
// somebody else.
func (f *family) once(t *testing.T) {
	t.Helper()
	same := func(got, want []string) bool {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
		return slices.Equal(got, want)
	}
	f.each(func(a, p int) {
		if got := f.heard(t, a, p); !same(got, f.fromPhone[a][p]) {
			t.Errorf("account %d has from phone %d: %s, want %s", a, p, brief(got), brief(f.fromPhone[a][p]))
		}
		if got := f.phones[p].Page(phone.Key(f.accounts[a])).Texts(); !same(got, f.fromNode[a][p]) {
			t.Errorf("phone %d has from account %d: %s, want %s", p, a, brief(got), brief(f.fromNode[a][p]))
		}
	})
}

// families are the ways in which several pairs can be at one node, with phones that
// do as the protocol asks and with those that do what the apps do.
func families(t *testing.T, test func(t *testing.T, f *family)) {
	for _, size := range []struct{ accounts, phones int }{{2, 1}, {1, 2}, {2, 2}} {
		for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
			t.Run(fmt.Sprintf("%d accounts, %d phones, %s", size.accounts, size.phones, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}})
					test(t, gather(t, w, size.accounts, size.phones, q))
				})
			})
		}
	}
}

// What a phone sends to each of several accounts on a data stream arrives, in the
// right account and once, and so does what several contacts behind one node send.
func TestFamily_LargeTextsFromThePhones(t *testing.T) {
	families(t, func(t *testing.T, f *family) {
		f.each(func(a, p int) { f.phoneSays(a, p, 100) })
		f.settles(t, 30*time.Minute)
		start := time.Now()
		f.each(func(a, p int) { f.phoneSays(a, p, 120_000) })
		f.settles(t, 15*time.Minute)
		t.Logf("after %v", time.Since(start))
		f.once(t)
	})
}

// What the node's accounts send to contacts behind one node arrives at the right one,
// from the right one, and once. The phone attributes a data stream to whoever was
// last at its node, as the apps do.
func TestFamily_LargeTextsFromTheAccounts(t *testing.T) {
	families(t, func(t *testing.T, f *family) {
		f.each(func(a, p int) { f.nodeSays(t, a, p, 100) })
		f.settles(t, 30*time.Minute)
		f.each(func(a, p int) {
			for _, size := range []int{150_000, 10, 1 << 20} {
				f.nodeSays(t, a, p, size)
			}
		})
		f.settles(t, 15*time.Minute)
		f.once(t)
	})
}

// Everybody writes to everybody at once, without a session before.
func TestFamily_EverybodyAtOnce(t *testing.T) {
	families(t, func(t *testing.T, f *family) {
		f.each(func(a, p int) {
			f.phoneSays(a, p, 50)
			f.nodeSays(t, a, p, 50)
			f.nodeSays(t, a, p, 90_000)
			f.phoneSays(a, p, 90_000)
		})
		f.settles(t, 60*time.Minute)
		f.each(func(a, p int) {
			f.nodeSays(t, a, p, 51)
			f.phoneSays(a, p, 51)
		})
		f.settles(t, 30*time.Minute)
		f.once(t)
	})
}

// What single phones do otherwise than the protocol asks, all of a family do.
func TestFamily_ClumsyPhones(t *testing.T) {
	for name, clumsy := range clumsyPhones() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 20 * time.Millisecond}})
				f := gather(t, w, 2, 2, clumsy.quirks)
				for round := range 2 {
					f.each(func(a, p int) {
						f.phoneSays(a, p, 60+round)
						f.nodeSays(t, a, p, 60+round)
						f.phoneSays(a, p, 70_000+round)
						f.nodeSays(t, a, p, 70_000+round)
					})
					f.settles(t, time.Hour)
					time.Sleep(2 * time.Minute) // whatever comes late has come
				}
				f.once(t)
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
				f := gather(t, w, 2, 2, q)
				for round := range 4 {
					f.each(func(a, p int) {
						f.phoneSays(a, p, 70_000+round)
						f.phoneSays(a, p, 70+round)
					})
					if round == 2 {
						time.Sleep(20 * time.Second)
						f.n.Stop()
						f.n.Start()
					}
					f.settles(t, 3*time.Hour)
				}
				f.once(t)
			})
		})
	}
}
