// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// holdWorld is a node with two contacts, Bob and Carol, on phones; and a tracker
// that can fall silent, or keep something to itself.
type holdWorld struct {
	t        *testing.T
	w        *actorstest.World
	n        *actorstest.Node
	tracker  *actorstest.Tracker
	silent   atomic.Bool
	bob      *phone.Phone
	carol    *phone.Phone
	mu       sync.Mutex // guards what follows
	table    map[identity.PublicKey]map[identity.NodeKey]tracker.Record
	withhold map[identity.NodeKey]bool
}

func newHoldWorld(t *testing.T) *holdWorld {
	t.Helper()
	h := &holdWorld{
		t: t, w: actorstest.New(t, memnet.Options{}),
		table: make(map[identity.PublicKey]map[identity.NodeKey]tracker.Record), withhold: make(map[identity.NodeKey]bool),
	}
	h.tracker = h.w.NewTracker(func(q tracker.Request) [][]byte {
		if h.silent.Load() {
			return nil
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		switch q := q.(type) {
		case tracker.Ping:
			return [][]byte{tracker.PingReply(q).AppendTo(nil)}
		case tracker.Announce:
			if h.table[q.Identity] == nil {
				h.table[q.Identity] = make(map[identity.NodeKey]tracker.Record)
			}
			h.table[q.Identity][q.Record.Node] = q.Record
			return [][]byte{tracker.AnnounceReply{Nonce: q.Nonce, TTLSeconds: 240}.AppendTo(nil)}
		case tracker.Lookup:
			var found []tracker.Record
			for node, r := range h.table[q.Identity] {
				if !h.withhold[node] {
					r.ExpiresMS = 240_000
					found = append(found, r)
				}
			}
			return [][]byte{tracker.LookupReply{Nonce: q.Nonce, Records: found}.AppendTo(nil)}
		}
		return nil
	})
	h.n = h.w.Node("owner", actorstest.WithTrackers(h.tracker.Address()))
	h.bob, h.carol = h.phone("bob", false), h.phone("carol", false)
	for _, p := range []*phone.Phone{h.bob, h.carol} {
		h.n.AddPhone(p.Key())
		h.says(p, "first")
	}
	return h
}

// phone switches a phone on, at a node of its own. With withheld the tracker takes
// what the phone announces and tells nobody.
func (h *holdWorld) phone(name string, withheld bool) *phone.Phone {
	h.t.Helper()
	node := h.w.Net.Node(overlay.Limits{ConnectionsPerKey: 128})
	h.t.Cleanup(func() { _ = node.Close() })
	h.keep(node.Key(), withheld)
	p := phone.New(phone.Options{Name: name, Trackers: []identity.NodeKey{h.tracker.Address().Node}, Log: h.t.Logf})
	p.Found(phone.Key(h.n.Account.ID), h.n.Key()) // it remembers where the node is
	if err := p.Start(node); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.Stop)
	return p
}

// keep makes the tracker keep a node to itself, or not any more.
func (h *holdWorld) keep(node identity.NodeKey, withheld bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withhold[node] = withheld
}

// says sends a text from a phone and waits until the node has it and the phone
// knows; it returns how long that took.
func (h *holdWorld) says(p *phone.Phone, text string) time.Duration {
	h.t.Helper()
	begin := time.Now()
	guid := p.Write(phone.Key(h.n.Account.ID), text)
	h.n.EventuallyWithin(15*time.Minute, text+" arrives", func() bool {
		return slices.Contains(h.n.HeardFrom(p.Key()), text)
	})
	p.Eventually(h.t, time.Minute, text+" is acknowledged", func() bool {
		return !slices.ContainsFunc(p.Waiting(phone.Key(h.n.Account.ID)), func(m phone.Message) bool { return m.GUID == guid })
	})
	took := time.Since(begin)
	h.t.Logf("measured: %q took %v", text, took)
	return took
}

// newDevices are the events about new devices of a contact: the node's reason.
func (h *holdWorld) newDevices(p *phone.Phone) (reasons []string) {
	h.t.Helper()
	for _, e := range h.n.EventsOf(store.NodeKeyChanged) {
		if e.Conversation.Contact() == identity.PublicKey(p.Key()) {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// calm checks that there was no alarm, and nothing about the other contact.
func (h *holdWorld) calm() {
	h.t.Helper()
	if refused := h.n.EventsOf(store.DeviceRefused); len(refused) != 0 {
		h.t.Errorf("alarms: %+v", refused)
	}
	if s := h.n.Status(); len(s.Suspicions) != 0 {
		h.t.Errorf("suspicions: %+v", s.Suspicions)
	}
	if other := h.newDevices(h.carol); len(other) != 0 {
		h.t.Errorf("carol: %v", other)
	}
}

// A new phone, which a tracker names: its first text is not even late.
func TestNewDevice_NamedByTracker_TakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldWorld(t)
		h.bob.Stop()
		virtual.Sleep(time.Minute)
		bob := h.phone("bob", false)
		if took := h.says(bob, "from my new phone"); took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
		virtual.Sleep(time.Hour)
		if events := h.newDevices(bob); !slices.Equal(events, []string{""}) {
			t.Errorf("events %q", events)
		}
		h.calm()
	})
}

// A phone and a node of one person, both of which authenticate: the second is taken
// while the first answers, there is one event, and what either says arrives, also
// while the other one has a session.
func TestNewDevice_PhoneAndNode_BothHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldWorld(t)
		node := h.phone("bob", false)
		for i, p := range []*phone.Phone{node, h.bob, node, h.bob} {
			if took := h.says(p, "text "+string(rune('a'+i))); took > 5*time.Minute {
				t.Errorf("text %d took %v", i, took)
			}
			virtual.Sleep(time.Minute)
		}
		if events := h.newDevices(node); !slices.Equal(events, []string{""}) {
			t.Errorf("events %q", events)
		}
		h.calm()
	})
}

// A phone that was installed anew while all trackers are down.
func TestNewDevice_AllTrackersDown_TakenWithWarning(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHoldWorld(t)
			h.bob.Stop()
			h.silent.Store(true)
			virtual.Sleep(20 * time.Minute) // nothing is in a cache any more
			bob := h.phone("bob", false)
			begin := time.Now()
			bob.Write(phone.Key(h.n.Account.ID), "written during the hold")
			if restart {
				virtual.Sleep(30 * time.Second)
				h.n.Stop()
				h.n.Start()
			}
			h.says(bob, "on a bad day")
			if took := time.Since(begin); took > 15*time.Minute {
				t.Errorf("it took %v", took)
			}
			virtual.Sleep(time.Hour)
			if events := h.newDevices(bob); !slices.Equal(events, []string{store.Unconfirmed}) {
				t.Errorf("events %q", events)
			}
			if texts := h.n.HeardFrom(bob.Key()); !slices.Equal(texts, []string{"first", "written during the hold", "on a bad day"}) {
				t.Errorf("heard %q", texts)
			}
			h.calm()
		})
	}
}

// Somebody is Bob at a node that no tracker names, while Bob's phone answers: not a
// word is taken from there, nothing is sent there, and after ten minutes there is
// one alarm. What Bob and Carol say arrives meanwhile. When Bob's owner lets the
// device in, what it has to say arrives.
func TestNewDevice_NothingSpeaksForIt_RefusedWithAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldWorld(t)
		thief := h.phone("bob", true)
		owner := phone.Key(h.n.Account.ID)
		thief.Write(owner, "from in between")
		virtual.Sleep(time.Minute)
		held := h.n.HeldDevices(h.n.Account.ID, identity.PublicKey(h.bob.Key()))
		if len(held) != 1 || held[0].Node != thief.Node() || held[0].Refused || time.Since(held[0].Since) < 50*time.Second {
			t.Errorf("held: %+v", held)
		}
		h.says(h.bob, "from bob")
		h.says(h.carol, "from carol")
		h.n.SayTo(h.bob.Key(), "to bob")
		h.bob.Eventually(t, 5*time.Minute, "bob has it", func() bool { return len(h.bob.Page(owner).Received) == 1 })
		h.n.EventuallyWithin(15*time.Minute, "the alarm", func() bool { return len(h.n.EventsOf(store.DeviceRefused)) > 0 })
		virtual.Sleep(40 * time.Minute)

		alarms := h.n.EventsOf(store.DeviceRefused)
		if len(alarms) != 1 || alarms[0].NodeKey != thief.Node() || alarms[0].Conversation.Contact() != identity.PublicKey(h.bob.Key()) {
			t.Errorf("alarms: %+v", alarms)
		}
		if s := h.n.Status().Suspicions; len(s) != 1 || s[0].Kind != contact.SuspicionDevice || s[0].Node != thief.Node() {
			t.Errorf("suspicions: %+v", s)
		}
		if texts := h.n.HeardFrom(h.bob.Key()); slices.Contains(texts, "from in between") {
			t.Errorf("heard %q", texts)
		}
		if page := thief.Page(owner); len(page.Received) != 0 {
			t.Errorf("the thief was told %d messages", len(page.Received))
		}
		if events := h.newDevices(h.bob); len(events) != 0 {
			t.Errorf("events %q", events)
		}

		if _, err := h.n.TrustDevice(t.Context(), h.n.Account.ID, identity.PublicKey(h.bob.Key()), thief.Node()); err != nil {
			t.Fatal(err)
		}
		h.n.EventuallyWithin(5*time.Minute, "it is heard after all", func() bool {
			return slices.Contains(h.n.HeardFrom(h.bob.Key()), "from in between")
		})
	})
}

// A device that was refused, and is let in while it is switched off: its generation is still
// known, so that it can be told from an app that draws a new node key at each start.
func TestNewDevice_TrustedWhileAway_GenerationKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldWorld(t)
		for i, p := range []*phone.Phone{h.bob, h.carol} {
			contact := identity.PublicKey(p.Key())
			other := h.phone([]string{"bob", "carol"}[i], true)
			node := other.Node()
			other.Write(phone.Key(h.n.Account.ID), "from another device")
			virtual.Sleep(time.Minute)
			h.says(p, "here, too")
			h.n.EventuallyWithin(15*time.Minute, "the alarm", func() bool { return len(h.n.EventsOf(store.DeviceRefused)) == i+1 })
			other.Stop()
			virtual.Sleep(time.Minute)
			if _, err := h.n.TrustDevice(t.Context(), h.n.Account.ID, contact, node); err != nil {
				t.Fatal(err)
			}
			virtual.Sleep(time.Minute)
			c, err := h.n.Contact(h.n.Account.ID, contact)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.IndexFunc(c.NodeKeys, func(n store.KnownNode) bool { return n.Key == node })
			if found < 0 || c.NodeKeys[found].Generation != 3 {
				t.Errorf("contact %d: nodes %+v, want %s with Generation: 3", i, c.NodeKeys, node.Short())
			}
		}
	})
}

// While no tracker answers and a known device does, a new one waits; when a tracker
// names it, everything arrives.
func TestNewDevice_TrackersDownAndKnownDeviceThere_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldWorld(t)
		h.silent.Store(true)
		virtual.Sleep(20 * time.Minute)
		node := h.phone("bob", false)
		node.Write(phone.Key(h.n.Account.ID), "patience")
		virtual.Sleep(30 * time.Minute)
		if texts := h.n.HeardFrom(node.Key()); len(texts) != 1 {
			t.Errorf("heard %q", texts)
		}
		h.silent.Store(false)
		h.n.EventuallyWithin(15*time.Minute, "it arrives", func() bool { return slices.Contains(h.n.HeardFrom(node.Key()), "patience") })
		if events := h.newDevices(node); !slices.Equal(events, []string{""}) {
			t.Errorf("events %q", events)
		}
		h.calm()
	})
}
