// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// shared is an account that a node and a phone have, and somebody who writes to it.
// What becomes of that is the table of docs/roles.md.
type shared struct {
	w    *actorstest.World
	n    *actorstest.Node
	key  phone.Key
	own  *phone.Phone // of the same identity
	at   *memnet.Node // where it is turned on
	bob  *phone.Phone
	sent int
}

func share(t *testing.T, role store.Role) *shared {
	t.Helper()
	s := &shared{w: actorstest.New(t, memnet.Options{})}
	s.n, s.key = s.w.Owner()
	if _, err := s.n.SetRole(t.Context(), s.n.Account.ID, role); err != nil {
		t.Fatal(err)
	}
	s.own = phone.New(phone.Options{
		Name: "owner", Seed: seedOf(t, s.n), Trackers: []identity.NodeKey{s.w.Tracker.Node}, Log: t.Logf,
	})
	if s.own.Key() != s.key {
		t.Fatal("the phone has another identity")
	}
	s.at = phoneNode(t, s.w)
	s.bob = s.w.Phone("bob", phone.Quirks{})
	s.n.AddPhone(s.bob.Key())
	virtual.Sleep(time.Minute) // the tracker has the new priority
	return s
}

// seedOf is the secret of the node's account.
func seedOf(t *testing.T, n *actorstest.Node) *[32]byte {
	t.Helper()
	pem, err := n.ExportAccount(n.Account.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.ParsePEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	seed := key.Seed()
	return &seed
}

// turnOn turns the shared phone on, and waits until trackers know.
func (s *shared) turnOn(t *testing.T) {
	t.Helper()
	before := s.own.Announced()
	if err := s.own.Start(s.at); err != nil {
		t.Fatal(err)
	}
	s.own.Eventually(t, 10*time.Minute, "the phone is announced", func() bool { return s.own.Announced() > before })
}

// write has Bob write when he has no session and has forgotten where he found us.
func (s *shared) write(t *testing.T) string {
	t.Helper()
	if open := s.bob.Session(s.key); open != nil {
		open.Close()
	}
	virtual.Sleep(20 * time.Minute)
	s.sent++
	text := fmt.Sprint("message ", s.sent)
	s.bob.Write(s.key, text)
	return text
}

func (s *shared) acknowledged() bool { return len(s.bob.Waiting(s.key)) == 0 }
func (s *shared) phoneHas(text string) bool {
	return slices.Contains(s.own.Page(s.bob.Key()).Texts(), text)
}

func (s *shared) nodeHas(text string) bool {
	return slices.Contains(s.n.HeardFrom(s.bob.Key()), text)
}

func TestRoles(t *testing.T) {
	for _, test := range []struct {
		role                          store.Role
		on                            bool // the phone
		node, phone, acked            bool // who has it an hour later, and whether the sender knows
		nodeLater, phoneLater, ackedL bool // the same when the phone was turned on after that
	}{
		{store.RolePrimary, true, true, false, true, true, false, true},
		{store.RolePrimary, false, true, false, true, true, false, true},
		{store.RoleBackup, true, false, true, true, false, true, true},
		{store.RoleBackup, false, true, false, true, true, false, true},
		{store.RoleMirror, true, false, true, true, false, true, true},
		{store.RoleMirror, false, true, false, false, true, true, true},
	} {
		t.Run(fmt.Sprintf("%s, phone on %v", test.role, test.on), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := share(t, test.role)
				if test.on {
					s.turnOn(t)
				}
				defer s.own.Stop()
				text := s.write(t)
				virtual.Sleep(time.Hour)
				if n, p, a := s.nodeHas(text), s.phoneHas(text), s.acknowledged(); n != test.node || p != test.phone || a != test.acked {
					t.Errorf("node %v, phone %v, acknowledged %v", n, p, a)
				}
				if !test.on {
					s.turnOn(t)
				}
				virtual.Sleep(time.Hour)
				if n, p, a := s.nodeHas(text), s.phoneHas(text), s.acknowledged(); n != test.nodeLater || p != test.phoneLater || a != test.ackedL {
					t.Errorf("later: node %v, phone %v, acknowledged %v", n, p, a)
				}
				if texts := s.n.HeardFrom(s.bob.Key()); len(texts) > 1 {
					t.Errorf("the node has %s", actorstest.Brief(texts))
				}
			})
		})
	}
}

// What the node receives reaches the phone as messages of another account of the
// node, in order and once, whenever it is on; what the phone says without a quote stays
// there, and it is told so. Answers are in actors/forward.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := share(t, store.RolePrimary)
		home, err := s.n.CreateAccount(t.Context(), "Home")
		if err != nil {
			t.Fatal(err)
		}
		early := s.write(t)
		s.n.Eventually("it is there", func() bool { return s.nodeHas(early) })
		if _, err := s.n.SetForwardTo(t.Context(), s.n.Account.ID, home.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.n.SetForwardTo(t.Context(), home.ID, s.n.Account.ID); err == nil {
			t.Error("a hand-over in a circle")
		}
		var want []string
		for i := range 5 {
			text := s.write(t)
			want = append(want, "bob: "+text)
			s.n.Eventually("it is there", func() bool { return s.nodeHas(text) })
			if i == 2 {
				s.n.Stop()
				s.n.Start()
			}
		}
		s.bob.React(s.key, "👍", 7) // says nothing on its own
		s.turnOn(t)
		defer s.own.Stop()
		from := phone.Key(home.ID)
		s.own.Eventually(t, time.Hour, "all are on the phone", func() bool { return len(s.own.Page(from).Texts()) >= len(want) })
		s.own.Write(from, "thank you")
		s.own.Eventually(t, time.Hour, "the answer", func() bool { return len(s.own.Waiting(from)) == 0 })
		virtual.Sleep(time.Hour)
		want = append(want, "Sent to nobody: this message does not say whom it answers. Reply to (quote) the forwarded message that you answer.")
		if got := s.own.Page(from).Texts(); !slices.Equal(got, want) {
			t.Errorf("the phone has %q, want %q", got, want)
		}
		answers, err := s.n.Messages(home.ID, s.n.Account.ID, 0, 100)
		if err != nil || len(answers) != 7 || string(answers[1].Payload) != "thank you" {
			t.Errorf("%d messages, %v", len(answers), err)
		}
		if waiting, err := s.n.Waiting(s.n.Account.ID); err != nil || waiting != 0 {
			t.Errorf("%d messages wait, %v: the hand-over goes round", waiting, err)
		}
		// Without the other account there is no hand-over.
		if err := s.n.RemoveAccount(t.Context(), home.ID, true); err != nil {
			t.Fatal(err)
		}
		if a, err := s.n.Node.Account(s.n.Account.ID); err != nil || !a.ForwardTo.IsZero() {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// The way that was not taken: the account's own identity writes to the phone. The
// phone shows it, but what it answers goes nowhere, as it finds itself.
func TestPhoneAnswersItsOwnIdentityInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		seed := [32]byte{9}
		two, own := phone.New(phone.Options{Name: "own", Seed: &seed, Log: t.Logf}), phone.New(phone.Options{
			Name: "own", Seed: &seed, Trackers: []identity.NodeKey{w.Tracker.Node}, Log: t.Logf,
		})
		at := phoneNode(t, w)
		if err := own.Start(at); err != nil {
			t.Fatal(err)
		}
		defer own.Stop()
		startPhone(t, w, two)
		two.Found(own.Key(), own.Node())
		two.Write(own.Key(), "one: hello")
		two.Eventually(t, time.Hour, "it arrives", func() bool { return len(two.Waiting(own.Key())) == 0 })
		two.Session(own.Key()).Close()
		virtual.Sleep(time.Minute)
		own.Write(own.Key(), "an answer")
		virtual.Sleep(time.Hour)
		if len(own.Waiting(own.Key())) != 1 || len(two.Page(own.Key()).Texts()) != 0 {
			t.Errorf("the answer has arrived: %q", two.Page(own.Key()).Texts())
		}
	})
}

// Accounts of one node talk to each other, and to phones, over one listener; one
// that is removed is gone, the others go on.
func TestSeveralAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, _ := w.Owner()
		p := w.Phone("phone", phone.Quirks{})
		var ids []identity.PublicKey
		for _, name := range []string{"one", "two", "three"} {
			a, err := n.CreateAccount(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, a.ID)
			if _, err := n.AddContact(t.Context(), a.ID, identity.Link{Key: identity.PublicKey(p.Key())}); err != nil {
				t.Fatal(err)
			}
			p.Write(phone.Key(a.ID), "to "+name)
		}
		send := func(from, to identity.PublicKey, text string) {
			if _, err := n.Send(t.Context(), node.Outgoing{Account: from, Contact: to, Payload: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		texts := func(account, contact identity.PublicKey) (found []string) {
			page, err := n.Messages(account, contact, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				if m.ID.Dir == store.In {
					found = append(found, string(m.Payload))
				}
			}
			return found
		}
		for i, id := range ids {
			send(id, identity.PublicKey(p.Key()), fmt.Sprint("from ", i))
			next := ids[(i+1)%len(ids)]
			for _, pair := range [][2]identity.PublicKey{{id, next}, {next, id}} {
				if _, err := n.AddContact(t.Context(), pair[0], identity.Link{Key: pair[1]}); err != nil {
					t.Fatal(err)
				}
			}
			send(id, next, fmt.Sprint("round ", i))
		}
		n.EventuallyWithin(30*time.Minute, "everything has arrived", func() bool {
			for i, id := range ids {
				phoneHas := slices.Equal(p.Page(phone.Key(id)).Texts(), []string{fmt.Sprint("from ", i)})
				if !phoneHas || len(texts(id, identity.PublicKey(p.Key()))) != 1 || len(texts(ids[(i+1)%len(ids)], id)) != 1 {
					return false
				}
			}
			return true
		})
		if err := n.RemoveAccount(t.Context(), ids[0], false); err != nil {
			t.Fatal(err)
		}
		p.Write(phone.Key(ids[0]), "to nobody")
		p.Write(phone.Key(ids[1]), "to the one who stays")
		n.EventuallyWithin(30*time.Minute, "the message", func() bool { return len(texts(ids[1], identity.PublicKey(p.Key()))) == 2 })
		if len(p.Waiting(phone.Key(ids[0]))) != 1 || len(n.Status().Alarms) != 0 {
			t.Errorf("waiting %v, alarms %v", p.Waiting(phone.Key(ids[0])), n.Status().Alarms)
		}
		if _, err := n.Node.Account(ids[0]); err == nil {
			t.Error("the account is still there")
		}
	})
}
