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
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// Whatever a phone does otherwise than the protocol asks, the node has each of its
// messages once, in order, and the phone has each of the node's. What the phone
// itself doubles is in the case.
//
// Bar R18, R19.
func TestClumsyPhones(t *testing.T) {
	for name, test := range clumsyPhones() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 20 * time.Millisecond}})
				k := meet(t, w, test.quirks)
				for round := range 3 {
					// The sides take turns to dial; when both do, see TestDialsCross.
					if round%2 == 0 {
						k.phoneSays(fmt.Sprint("opening ", round))
					} else {
						k.nodeSays(t, fmt.Sprint("opening ", round))
					}
					k.settles(t, 10*time.Minute)
					for i := range 5 {
						k.phoneSays(fmt.Sprint("phone ", round, i))
						k.nodeSays(t, fmt.Sprint("node ", round, i))
					}
					k.settles(t, 10*time.Minute)
					k.phoneSays(strings.Repeat("p", 70_000))
					k.nodeSays(t, strings.Repeat("n", 70_000))
					k.settles(t, 10*time.Minute)
					if s := k.p.Session(k.key); s != nil {
						s.Close()
					}
					virtual.Sleep(2 * time.Minute) // whatever comes late has come
				}
				k.nodeHasAllOnce(t)
				page := k.p.Page(k.key)
				if texts := page.Texts(); !slices.Equal(texts, k.fromNode) {
					t.Errorf("the phone has %s, want %s", actorstest.Brief(texts), actorstest.Brief(k.fromNode))
				}
				if !test.allow.told && !slices.Equal(page.Told, k.phoneGUIDs) {
					t.Errorf("the phone was told %v, want %v", page.Told, k.phoneGUIDs)
				}
				if !test.allow.acknowledged && !slices.Equal(page.Acknowledged, k.nodeGUIDs) {
					t.Errorf("the phone has acknowledged %v, want %v", page.Acknowledged, k.nodeGUIDs)
				}
			})
		})
	}
}

// clumsyPhone is a phone with quirks, and what it doubles itself.
type clumsyPhone struct {
	quirks phone.Quirks
	allow  allowance
}

type allowance struct {
	// told: the phone is told more than once, as it asks more than once.
	told bool
	// acknowledged: the phone's own OKs are not one for each message.
	acknowledged bool
}

// clumsyPhones are phones that do otherwise than the protocol asks.
func clumsyPhones() map[string]clumsyPhone {
	return map[string]clumsyPhone{
		"no data stream":            {quirks: phone.Quirks{NoDataStream: true}},
		"late data stream":          {quirks: phone.Quirks{LateDataStream: 20 * time.Second}},
		"data stream before the OK": {quirks: phone.Quirks{EarlyDataStream: true}},
		"drops early data":          {quirks: phone.Quirks{DropsEarlyData: true}},
		"silent":                    {quirks: phone.Quirks{Silent: true}},
		"byte by byte":              {quirks: phone.Quirks{ByteByByte: true}},
		"header apart":              {quirks: phone.Quirks{HeaderApart: true}},
		"wrong size":                {quirks: phone.Quirks{WrongSize: true}},
		"unknown frames":            {quirks: phone.Quirks{UnknownFrames: true}},
		"duplicates":                {quirks: phone.Quirks{Duplicates: true}, allow: allowance{told: true}},
		"duplicates later":          {quirks: phone.Quirks{DuplicateLater: true}, allow: allowance{told: true}},
		"Android's JSON":            {quirks: phone.Quirks{AndroidJSON: true}},
		"unknown keys":              {quirks: phone.Quirks{UnknownKeys: true}},
		"late OK":                   {quirks: phone.Quirks{OKDelay: 10 * time.Second}},
		"OK for 0":                  {quirks: phone.Quirks{OKZero: true}},
		"OK for unknown guids":      {quirks: phone.Quirks{OKUnknown: true}},
		"OK twice":                  {quirks: phone.Quirks{OKTwice: true}},
		"ping at once":              {quirks: phone.Quirks{PingAtOnce: true}},
		"no avatar":                 {quirks: phone.Quirks{NoAvatar: true, UnaskedInfo: true}},
		"asks for no profile":       {quirks: phone.Quirks{NoInfoRequest: true}},
		"many at once": {
			quirks: phone.Quirks{
				LateDataStream: time.Second, HeaderApart: true, WrongSize: true, UnknownFrames: true, Duplicates: true,
				DuplicateLater: true, AndroidJSON: true, UnknownKeys: true, OKDelay: time.Second, OKZero: true,
				OKUnknown: true, OKTwice: true, PingAtOnce: true, NoAvatar: true, UnaskedInfo: true,
			},
			allow: allowance{told: true},
		},
	}
}

// meet makes a node and a phone that are each other's contacts.
func meet(t *testing.T, w *actorstest.World, q phone.Quirks) *talk {
	t.Helper()
	n, key := w.Owner()
	p := w.Phone("phone", q)
	n.AddPhone(p.Key())
	p.AddContact(key)
	return &talk{n: n, key: key, p: p}
}

// A phone that never acknowledges gets each message once in a session, and keeps the
// node waiting, not lost: when it acknowledges at last, everything goes on in order.
//
// Bar R17.
func TestPhoneThatNeverAcknowledges(t *testing.T) {
	for name, quirks := range map[string]phone.Quirks{
		"nothing":        {NoOK: true},
		"with 0":         {NoOK: true, OKZero: true},
		"something else": {NoOK: true, OKUnknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := meet(t, actorstest.New(t, memnet.Options{}), quirks)
				k.nodeSays(t, "one")
				k.nodeSays(t, "two")
				virtual.Sleep(20 * time.Minute)
				page := k.p.Page(k.key)
				if len(page.Received) == 0 || len(page.Received) > page.Started || slices.Contains(page.Texts(), "two") {
					t.Errorf("the phone has %s in %d sessions", actorstest.Brief(page.Texts()), page.Started)
				}
				if page.Started < 2 {
					t.Errorf("the node has not tried again: %d sessions", page.Started)
				}
				if waiting, err := k.n.Waiting(k.n.Account.ID); err != nil || waiting != 2 {
					t.Errorf("%d messages wait, %v", waiting, err)
				}
				before := len(page.Received)
				k.p.SetQuirks(phone.Quirks{})
				k.settles(t, 20*time.Minute)
				if texts := k.p.Page(k.key).Texts()[before:]; !slices.Equal(slices.Compact(texts), []string{"one", "two"}) {
					t.Errorf("then it got %s", actorstest.Brief(texts))
				}
			})
		})
	}
}

// OKs that come after the node has given the session up: the message is repeated
// over the next one, and is delivered in the end.
func TestPhoneThatAcknowledgesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{OKDelay: 3 * time.Minute})
		k.nodeSays(t, "one")
		virtual.Sleep(10 * time.Minute)
		if page := k.p.Page(k.key); len(page.Received) > page.Started {
			t.Errorf("%d times in %d sessions", len(page.Received), page.Started)
		}
		k.p.SetQuirks(phone.Quirks{OKDelay: 5 * time.Second})
		k.nodeSays(t, "two")
		k.settles(t, 10*time.Minute)
		k.nodeHasAllOnce(t)
		if texts := slices.Compact(k.p.Page(k.key).Texts()); !slices.Equal(texts, k.fromNode) {
			t.Errorf("the phone has %s", actorstest.Brief(texts))
		}
	})
}

// A phone that does not answer pings, and sends none, loses its session and no
// message.
func TestPhoneThatNeverAnswersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{NoPong: true, NoPing: true})
		for i := range 5 {
			k.phoneSays(fmt.Sprint("phone ", i))
			k.nodeSays(t, fmt.Sprint("node ", i))
			k.settles(t, 10*time.Minute)
			virtual.Sleep(5 * time.Minute)
		}
		k.once(t)
		if page := k.p.Page(k.key); page.Ended == 0 {
			t.Error("a deaf session has lasted for half an hour")
		}
	})
}

// A message without a guid is kept once all the same, however often it comes, and
// also when it comes with its guid at last: like an app the node computes one.
func TestMessageWithoutGUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{NoGUID: true})
		k.p.Write(k.key, "nameless")
		virtual.Sleep(40 * time.Minute)
		if page := k.p.Page(k.key); page.Started < 2 || len(k.p.Waiting(k.key)) != 1 {
			t.Errorf("%d sessions, told %v", page.Started, page.Told)
		}
		k.p.SetQuirks(phone.Quirks{})
		k.phoneSays("named")
		k.nodeSays(t, "to the phone")
		k.p.Eventually(t, 20*time.Minute, "all is acknowledged", func() bool { return len(k.p.Waiting(k.key)) == 0 })
		k.n.EventuallyWithin(10*time.Minute, "the node's message arrives", func() bool { return slices.Contains(k.p.Page(k.key).Texts(), "to the phone") })
		if texts := k.n.HeardFrom(k.p.Key()); !slices.Equal(texts, []string{"nameless", "named"}) {
			t.Errorf("the node has %s", actorstest.Brief(texts))
		}
		for _, m := range k.n.Stored(k.p.Key()) {
			if m.ID.GUID == 0 {
				t.Errorf("stored %q with guid 0", m.Payload)
			}
		}
	})
}

// A reaction comes twice, once with its time in seconds and another guid: two
// messages, both dated in this century.
func TestReactionComesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{ReactionTwice: true})
		k.nodeSays(t, "look")
		k.settles(t, time.Minute)
		k.p.React(k.key, "🔥", k.nodeGUIDs[0])
		k.p.Eventually(t, time.Minute, "both are acknowledged", func() bool { return len(k.p.Waiting(k.key)) == 0 })
		reactions := k.n.Stored(k.p.Key())
		if len(reactions) != 2 {
			t.Fatalf("%d messages", len(reactions))
		}
		for _, m := range reactions {
			if m.Type != int32(phone.Reaction) || phone.GUID(m.ReplyTo) != k.nodeGUIDs[0] {
				t.Errorf("%+v", m)
			}
			if sent := time.UnixMilli(int64(m.SendTime)); time.Since(sent).Abs() > time.Hour {
				t.Errorf("sent %v", sent)
			}
		}
	})
}

// Bar R10: both sides dial at the same moment, again and again. Whatever the phone
// does about it, and the apps do nothing, one session comes of it that both sides
// have, and every message arrives once.
func TestDialsCross(t *testing.T) {
	for name, quirks := range map[string]phone.Quirks{
		"a well-behaved phone":   {},
		"parallel dials":         {ParallelDials: 3},
		"a phone that takes all": {Unarbitrated: true},
		"Android":                phone.Android(),
	} {
		for _, delay := range []time.Duration{0, 5 * time.Millisecond, 120 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %v", name, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const rounds = 10
					w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: delay, Jitter: delay}})
					k := meet(t, w, quirks)
					for round := range rounds {
						k.nodeSays(t, fmt.Sprint("node ", round))
						k.phoneSays(fmt.Sprint("phone ", round))
						k.settles(t, 20*time.Minute)
						oneSession(t, k)
						virtual.Sleep(11 * time.Minute) // every session is over
					}
					k.once(t)
					if page := k.p.Page(k.key); page.Started != rounds || page.Ended != rounds {
						t.Errorf("%d sessions, %d of them ended, in %d rounds", page.Started, page.Ended, rounds)
					}
					if len(k.p.Failures()) == 0 {
						t.Error("no dial was given up: they have not crossed")
					}
				})
			})
		}
	}
}

// oneSession checks that both sides have one session, and that it works.
func oneSession(t *testing.T, k *talk) {
	t.Helper()
	s := k.p.Session(k.key)
	if s == nil || k.n.Status().Sessions != 1 {
		t.Errorf("the phone's session is %v, the node has %d", s, k.n.Status().Sessions)
		return
	}
	pongs := k.p.Page(k.key).Counts[phone.TypePong]
	if err := s.Send(phone.Frame{Type: phone.TypePing}); err != nil {
		t.Error(err)
	}
	k.p.Eventually(t, 5*time.Second, "a PONG", func() bool { return k.p.Page(k.key).Counts[phone.TypePong] > pongs })
}

// Bar R19: the same guid a hundred times, across sessions and a restart of the node;
// the same guid of somebody else is another message.
func TestRepetitionsAreStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{})
		other := w.Phone("other", phone.Quirks{})
		k.n.AddPhone(other.Key())
		other.AddContact(k.key)
		m := phone.Message{GUID: -77, SendTime: 1_767_225_600_123, Payload: []byte("once")}
		repeat := func(p *phone.Phone) {
			p.Post(k.key, m)
			p.Eventually(t, 10*time.Minute, "an OK", func() bool { return len(p.Waiting(k.key)) == 0 })
		}
		for i := range 100 {
			switch {
			case i == 50:
				k.n.Stop()
				k.n.Start()
			case i%10 == 9:
				k.p.Session(k.key).Close()
				virtual.Sleep(time.Minute)
			}
			repeat(k.p)
		}
		repeat(other)
		for _, p := range []*phone.Phone{k.p, other} {
			if texts := k.n.HeardFrom(p.Key()); !slices.Equal(texts, []string{"once"}) {
				t.Errorf("the node has %s", actorstest.Brief(texts))
			}
		}
		if told := k.p.Page(k.key).Told; len(told) < 100 {
			t.Errorf("told %d times", len(told))
		}
	})
}

// The same guid with another text is another message: nobody's words are dropped
// because of a number.
func TestSameGUIDOtherText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		for _, text := range []string{"one", "two", "one"} {
			k.p.Post(k.key, phone.Message{GUID: 77, SendTime: 1_767_225_600_123, Payload: []byte(text)})
			k.p.Eventually(t, time.Minute, "an OK", func() bool { return len(k.p.Waiting(k.key)) == 0 })
		}
		if texts := k.n.HeardFrom(k.p.Key()); !slices.Equal(texts, []string{"one", "two"}) {
			t.Errorf("the node has %s", actorstest.Brief(texts))
		}
	})
}

// Nobody is told OK for a message that is not stored: the seventeenth content of one
// guid is counted and shown, and whatever comes after it is taken.
func TestMessage_SeventeenthContentOfAGUID_NotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		var want []string
		for n := range store.MaxVariants + 1 {
			text := fmt.Sprint("content ", n)
			k.p.Post(k.key, phone.Message{GUID: 77, SendTime: 1_767_225_600_123, Payload: []byte(text)})
			if n < store.MaxVariants {
				want = append(want, text)
			}
			virtual.Sleep(time.Second)
		}
		k.p.Write(k.key, "another")
		want = append(want, "another")
		k.n.EventuallyWithin(time.Minute, "another message arrives", func() bool { return len(k.n.HeardFrom(k.p.Key())) == len(want) })
		virtual.Sleep(time.Second)
		if texts := k.n.HeardFrom(k.p.Key()); !slices.Equal(texts, want) {
			t.Errorf("the node has %s", actorstest.Brief(texts))
		}
		told := 0
		for _, guid := range k.p.Page(k.key).Told {
			if guid == 77 {
				told++
			}
		}
		if n := k.n.Status().CrowdedGUIDs; told != store.MaxVariants || n == 0 {
			t.Errorf("told OK %d times, counted %d", told, n)
		}
	})
}

// The phone's profile reaches the node, and the node's the phone.
func TestProfilesAreSwapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		avatar := []byte{0xff, 0xd8, 0xff, 0xe0, 1, 2, 3}
		p := phone.InMemory(t, w.Net, phone.Options{
			Name: "Алиса", Info: "about me", Avatar: avatar, Trackers: []identity.NodeKey{w.Tracker.Node},
		})
		n.AddPhone(p.Key())
		if _, err := p.Dial(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		contact := func() store.Contact {
			c, err := n.Contact(n.Account.ID, identity.PublicKey(p.Key()))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		n.Eventually("the node has the profile", func() bool { return contact().Nickname == "Алиса" })
		if c := contact(); c.Info != "about me" || !slices.Equal(c.Avatar, avatar) {
			t.Errorf("%+v", c)
		}
		p.Eventually(t, time.Minute, "the phone has the profile", func() bool { return len(p.Page(key).Of(phone.TypeInfoResponse)) == 1 })
		if name := p.Page(key).Of(phone.TypeInfoResponse)[0].Text("nickname"); name != n.Account.Name {
			t.Errorf("nickname %q", name)
		}
	})
}

// A contact that is removed and added again begins at the first position, and what
// is written then is sent like anything else.
func TestContactAddedAgainIsWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		for _, text := range []string{"one", "two", "three"} {
			k.nodeSays(t, text)
		}
		k.settles(t, time.Minute)
		// Not in the millisecond in which it was added first, which only virtual time
		// can do: the actor tells the two by that when it sees both changes at once.
		virtual.Sleep(time.Second)
		if err := k.n.RemoveContact(t.Context(), k.n.Account.ID, identity.PublicKey(k.p.Key())); err != nil {
			t.Fatal(err)
		}
		k.n.AddPhone(k.p.Key())
		k.nodeSays(t, "four")
		k.settles(t, 10*time.Minute)
		if texts := k.p.Page(k.key).Texts(); !slices.Equal(texts, k.fromNode) {
			t.Errorf("the phone has %s, want %s", actorstest.Brief(texts), actorstest.Brief(k.fromNode))
		}
	})
}
