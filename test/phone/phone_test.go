// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// pair runs a test with two phones that know of each other through a tracker.
func pair(t *testing.T, net memnet.Options, a, b Options, test func(t *testing.T, a, b *Phone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(net)
		t.Cleanup(n.Close)
		tracker := startTracker(t, n)
		a.Name, b.Name = "a", "b"
		var both [2]*Phone
		for i, opts := range []Options{a, b} {
			opts.Trackers, opts.Log = []identity.NodeKey{tracker}, t.Logf
			both[i] = InMemory(t, n, opts)
			both[i].Eventually(t, time.Minute, "the phone is announced", func() bool { return both[i].Announced() > 0 })
		}
		test(t, both[0], both[1])
	})
}

// hears waits until a phone has these texts of another one, and no others.
func hears(t *testing.T, p, from *Phone, within time.Duration, texts ...string) {
	t.Helper()
	p.Eventually(t, within, fmt.Sprintf("%d messages", len(texts)), func() bool { return len(p.Page(from.Key()).Received) >= len(texts) })
	if got := p.Page(from.Key()).Texts(); !slices.Equal(got, texts) {
		t.Errorf("heard %q, want %q", got, texts)
	}
}

func TestPhonesTalkBothWays(t *testing.T) {
	pair(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
		guid := a.Write(b.Key(), "hello")
		hears(t, b, a, time.Minute, "hello")
		a.Eventually(t, time.Minute, "a has its OK", func() bool { return len(a.Waiting(b.Key())) == 0 })
		if page := a.Page(b.Key()); !slices.Equal(page.Told, []GUID{guid}) {
			t.Errorf("told %v, want %v", page.Told, guid)
		}
		if page := b.Page(a.Key()); !slices.Equal(page.Acknowledged, []GUID{guid}) || page.Started != 1 {
			t.Errorf("acknowledged %v in %d sessions", page.Acknowledged, page.Started)
		}
		large := strings.Repeat("x", maxControl+1)
		for _, text := range []string{"one", large, "two"} {
			b.Write(a.Key(), text)
			a.Eventually(t, time.Minute, "it arrives", func() bool { return len(b.Waiting(a.Key())) == 0 })
		}
		hears(t, a, b, time.Minute, "one", large, "two")
		b.React(a.Key(), "🔥", guid)
		a.Eventually(t, time.Minute, "the reaction", func() bool { return len(a.Page(b.Key()).Received) == 4 })
		if m := a.Page(b.Key()).Received[3]; m.Type != Reaction || m.ReplyTo != guid || !bytes.Contains(m.Payload, []byte("🔥")) {
			t.Errorf("reaction %+v", m)
		}
	})
}

func TestPhonesSwapProfiles(t *testing.T) {
	b := Options{Info: "about b", Avatar: []byte{0xff, 0xd8}, ProfileTime: 1_700_000_000}
	pair(t, memnet.Options{}, Options{}, b, func(t *testing.T, a, b *Phone) {
		for range 2 { // the second time there is nothing new
			if _, err := a.Dial(t.Context(), b.Key()); err != nil {
				t.Fatal(err)
			}
			sleep(t.Context(), time.Minute)
			a.Session(b.Key()).Close()
			b.Eventually(t, time.Minute, "the session is over", func() bool { return b.Session(a.Key()) == nil })
		}
		profiles := a.Page(b.Key()).Of(TypeInfoResponse)
		if len(profiles) != 1 {
			t.Fatalf("%d profiles", len(profiles))
		}
		if p := profiles[0]; p.Text("nickname") != "b" || p.Text("info") != "about b" || !bytes.Equal(p.Bytes("avatar"), []byte{0xff, 0xd8}) {
			t.Errorf("profile %v", p.Fields)
		}
		if got := len(b.Page(a.Key()).Of(TypeInfoRequest)); got != 2 {
			t.Errorf("%d requests", got)
		}
	})
}

func TestStrangerMayOnlyAsk(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{ContactsOnly: true}, func(t *testing.T, a, b *Phone) {
		a.Write(b.Key(), "hello")
		a.Eventually(t, time.Minute, "a session", func() bool { return a.Session(b.Key()) != nil })
		if err := a.Session(b.Key()).Send(Frame{Type: TypeCallOffer}); err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), time.Minute)
		if page := b.Page(a.Key()); len(page.Received) != 0 || page.Counts[TypeMessage] != 1 {
			t.Errorf("b has %d messages of %d", len(page.Received), page.Counts[TypeMessage])
		}
		if page := a.Page(b.Key()); len(page.Told)+page.Counts[TypeCallAnswer]+page.Counts[TypeInfoResponse] != 0 {
			t.Errorf("a was told %v, and got %v", page.Told, page.Counts)
		}
		if err := a.Ask(t.Context(), b.Key(), "let me in"); err != nil {
			t.Fatal(err)
		}
		b.Eventually(t, time.Minute, "the request", func() bool { return len(b.Page(a.Key()).Of(TypeContactRequest)) == 1 })
		if text := b.Page(a.Key()).Of(TypeContactRequest)[0].Text("message"); text != "let me in" {
			t.Errorf("message %q", text)
		}
		b.AddContact(a.Key())
		if err := b.Session(a.Key()).Send(Frame{Type: TypeContactResponse, Fields: Fields{"accepted": true}}); err != nil {
			t.Fatal(err)
		}
		a.Session(b.Key()).Close()
		hears(t, b, a, 5*time.Minute, "hello")
	})
}

// Sessions end when nothing is said for ten minutes, however many pings there are,
// and when a ping gets no answer.
func TestSessionsEnd(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
		s, err := a.Dial(t.Context(), b.Key())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		<-s.Done()
		if life := time.Since(start); life < idleTime || life > idleTime+time.Minute {
			t.Errorf("an idle session lived %v", life)
		}
		if pings := b.Page(a.Key()).Counts[TypePing] + a.Page(b.Key()).Counts[TypePing]; pings < 10 {
			t.Errorf("%d pings in ten minutes", pings)
		}
	})
	pair(t, memnet.Options{}, Options{}, Options{Quirks: Quirks{NoPong: true}}, func(t *testing.T, a, b *Phone) {
		s, err := a.Dial(t.Context(), b.Key())
		if err != nil {
			t.Fatal(err)
		}
		// The other side's pings put the first of our own off, as in the apps.
		if <-s.Done(); !errors.Is(s.Err(), errUnreachable) {
			t.Errorf("the session ended because of %v", s.Err())
		}
	})
}

// What was not acknowledged is sent again over the next session, until it is.
func TestUnacknowledgedIsSentAgain(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{Quirks: Quirks{NoOK: true}}, func(t *testing.T, a, b *Phone) {
		a.Write(b.Key(), "hello")
		hears(t, b, a, time.Minute, "hello")
		sleep(t.Context(), 5*time.Minute)
		hears(t, b, a, time.Minute, "hello") // never again in the same session
		b.SetQuirks(Quirks{})
		a.Session(b.Key()).Close()
		hears(t, b, a, 5*time.Minute, "hello", "hello")
		a.Eventually(t, time.Minute, "a has its OK", func() bool { return len(a.Waiting(b.Key())) == 0 })
	})
}

func TestPhoneIsSwitchedOffAndOn(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
		carrier := b.running().carrier
		b.Stop()
		a.Write(b.Key(), "are you there?")
		a.Eventually(t, time.Minute, "a dial fails", func() bool { return len(a.Failures()) > 0 })
		if err := b.Start(carrier); err != nil {
			t.Fatal(err)
		}
		hears(t, b, a, 10*time.Minute, "are you there?")
	})
}

// Two well-behaved phones that dial each other at the same moment end with one
// session that both believe in, and every message has arrived once.
func TestCrossingDialsEndWithOneSession(t *testing.T) {
	for _, delay := range []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond} {
		link := memnet.Link{Delay: delay, Jitter: delay / 2}
		pair(t, memnet.Options{Link: link}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "from a")
			b.Write(a.Key(), "from b")
			hears(t, a, b, 10*time.Minute, "from b")
			hears(t, b, a, 10*time.Minute, "from a")
			sleep(t.Context(), 30*time.Second)
			for _, p := range [][2]*Phone{{a, b}, {b, a}} {
				if page := p[0].Page(p[1].Key()); page.Started-page.Ended != 1 {
					t.Errorf("delay %v: %d sessions started, %d ended", delay, page.Started, page.Ended)
				}
			}
		})
	}
}

// Two apps as they are complete both sessions, and the clean-up of the replaced one
// takes the other along. The messages arrive all the same, some of them twice.
func TestCrossingDialsOfApps(t *testing.T) {
	app := Options{Quirks: Android()}
	pair(t, memnet.Options{Link: memnet.Link{Delay: 50 * time.Millisecond}}, app, app, func(t *testing.T, a, b *Phone) {
		a.Found(b.Key(), b.Node())
		b.Found(a.Key(), a.Node())
		a.Write(b.Key(), "from a")
		b.Write(a.Key(), "from b")
		for _, p := range [][2]*Phone{{a, b}, {b, a}} {
			p[0].Eventually(t, 10*time.Minute, "both sessions have ended", func() bool { return p[0].Page(p[1].Key()).Ended >= 2 })
			p[0].Eventually(t, 10*time.Minute, "the message", func() bool {
				return slices.Contains(p[0].Page(p[1].Key()).Texts(), "from "+strings.ToLower(p[1].opts.Name))
			})
		}
	})
}

// A phone that has lost its session without a word gets a new one when it dials.
func TestLostSessionIsReplaced(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
		s, err := a.Dial(t.Context(), b.Key())
		if err != nil {
			t.Fatal(err)
		}
		b.Eventually(t, time.Minute, "b has a session", func() bool { return b.Session(a.Key()) != nil })
		s.vanish(errClosed) // resets the stream
		b.Eventually(t, time.Minute, "b has noticed", func() bool { return b.Session(a.Key()) == nil })
		a.SetQuirks(Quirks{Silent: true})
		if s, err = a.Dial(t.Context(), b.Key()); err != nil {
			t.Fatal(err)
		}
		b.Eventually(t, time.Minute, "b has a session", func() bool { return b.Session(a.Key()) != nil })
		s.vanish(errClosed)
		old := b.Session(a.Key())
		a.Write(b.Key(), "again")
		hears(t, b, a, time.Minute, "again")
		if !errors.Is(old.Err(), errReplaced) {
			t.Errorf("the old session: %v", old.Err())
		}
	})
}

// Found without a tracker: the identity key is the node key.
func TestIdentityKeyIsTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Options{})
		t.Cleanup(net.Close)
		a, b := New(Options{Name: "a"}), New(Options{Name: "b"})
		for _, p := range []*Phone{a, b} {
			node := net.NodeAt(identity.NodeKey(p.Key()), overlay.Limits{})
			t.Cleanup(func() { _ = node.Close() })
			if err := p.Start(node); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
		}
		a.Write(b.Key(), "hello")
		hears(t, b, a, time.Minute, "hello")
	})
}

func TestDialFails(t *testing.T) {
	pair(t, memnet.Options{}, Options{}, Options{}, func(t *testing.T, a, b *Phone) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := a.Dial(ctx, IdentityOf("nobody").Key()); err == nil {
			t.Error("nobody was found")
		}
		a.Found(IdentityOf("somebody else").Key(), b.Node())
		if _, err := a.Dial(ctx, IdentityOf("somebody else").Key()); err == nil {
			t.Error("b passed for somebody else")
		}
		a.Stop()
		if _, err := a.Dial(ctx, b.Key()); !errors.Is(err, errOff) {
			t.Errorf("a phone that is off: %v", err)
		}
	})
}
