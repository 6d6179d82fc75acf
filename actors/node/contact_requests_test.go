// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// contactOf is what the node knows of a phone's owner.
func contactOf(t *testing.T, n *actorstest.Node, k phone.Key) store.Contact {
	t.Helper()
	c, err := n.Contact(n.Account.ID, identity.PublicKey(k))
	if err != nil && !errors.Is(err, node.ErrUnknownContact) {
		t.Fatal(err)
	}
	return c
}

// eventsOf counts the events of a kind in the log of the node's account.
func eventsOf(t *testing.T, n *actorstest.Node, kind store.EventKind) (found []store.Event) {
	t.Helper()
	events, err := n.Events(n.Account.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// A request waits with its text until a person says yes; the phone is told as soon
// as it can be reached.
func TestRequestIsHeldAndAccepted(t *testing.T) {
	for name, connected := range map[string]bool{"connected": true, "called back": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n, key := w.Owner()
				p := w.Phone("phone", phone.Quirks{})
				if err := p.Ask(t.Context(), key, "let me in"); err != nil {
					t.Fatal(err)
				}
				id := identity.PublicKey(p.Key())
				n.Eventually("the request", func() bool { return contactOf(t, n, p.Key()).State == store.ContactRequested })
				if c := contactOf(t, n, p.Key()); c.Request != "let me in" || c.Nickname != "phone" || c.Requested == 0 {
					t.Errorf("%+v", c)
				}
				if !connected {
					p.Session(key).Close()
					n.Eventually("the session has ended", func() bool { return n.Status().Sessions == 0 })
				}
				if _, err := n.AcceptContact(t.Context(), n.Account.ID, id); err != nil {
					t.Fatal(err)
				}
				p.Eventually(t, 5*time.Minute, "the answer", func() bool { return len(p.Page(key).Of(phone.TypeContactResponse)) > 0 })
				virtual.Sleep(30 * time.Minute)
				if answers := p.Page(key).Of(phone.TypeContactResponse); len(answers) != 1 || answers[0].Int("accepted") != 1 {
					t.Errorf("answers %v", answers)
				}
				if c := contactOf(t, n, p.Key()); c.State != store.ContactAccepted || c.Owed != store.AnswerNone {
					t.Errorf("%+v", c)
				}
				if _, err := n.AcceptContact(t.Context(), n.Account.ID, id); err != nil {
					t.Errorf("accept again: %v", err)
				}
			})
		})
	}
}

// A no is told, also to the next request within a day; after that one may ask
// again, and a person may change their mind.
func TestRequestIsDeclined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		at, p := phoneNode(t, w), phone.New(phone.Options{Name: "phone", Trackers: []identity.NodeKey{w.Tracker.Node}, Log: t.Logf})
		if err := p.Start(at); err != nil {
			t.Fatal(err)
		}
		asks := func(text string) {
			if err := p.Ask(t.Context(), key, text); err != nil {
				t.Fatal(err)
			}
		}
		answers := func() []phone.Frame { return p.Page(key).Of(phone.TypeContactResponse) }
		state := func(s store.ContactState) func() bool {
			return func() bool { return contactOf(t, n, p.Key()).State == s }
		}
		asks("one")
		n.Eventually("the request", state(store.ContactRequested))
		if _, err := n.DeclineContact(t.Context(), n.Account.ID, identity.PublicKey(p.Key())); err != nil {
			t.Fatal(err)
		}
		p.Eventually(t, time.Minute, "the no", func() bool { return len(answers()) == 1 && answers()[0].Int("accepted") == 0 })
		asks("two")
		p.Eventually(t, time.Minute, "the second no", func() bool { return len(answers()) == 2 && answers()[1].Int("accepted") == 0 })
		if c := contactOf(t, n, p.Key()); c.State != store.ContactStranger || c.Request != "one" {
			t.Errorf("%+v", c)
		}
		n.Stop() // a day of theirs is a minute of ours
		p.Stop()
		virtual.Sleep(25 * time.Hour)
		n.Start()
		n.AwaitAnnounced()
		if err := p.Start(at); err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		asks("three")
		n.Eventually("a request is possible again", state(store.ContactRequested))
		if c := contactOf(t, n, p.Key()); c.Request != "three" {
			t.Errorf("%+v", c)
		}
		if _, err := n.AcceptContact(t.Context(), n.Account.ID, identity.PublicKey(p.Key())); err != nil {
			t.Fatal(err)
		}
		p.Eventually(t, time.Minute, "the yes", func() bool { return len(answers()) == 3 && answers()[2].Int("accepted") == 1 })
	})
}

// Our request goes out with the first session, once, also when the node is started
// again before there is one; the answer is an event.
func TestOurRequestIsAnswered(t *testing.T) {
	for name, accepted := range map[string]bool{"yes": true, "no": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n, key := w.Owner()
				p := phone.New(phone.Options{Name: "phone", ContactsOnly: true, Trackers: []identity.NodeKey{w.Tracker.Node}, Log: t.Logf})
				link := identity.Link{Key: identity.PublicKey(p.Key())}
				for range 2 { // asking twice is one request
					if _, err := n.RequestContact(t.Context(), n.Account.ID, link, "may I?"); err != nil {
						t.Fatal(err)
					}
				}
				virtual.Sleep(time.Minute)
				n.Stop()
				n.Start()
				startPhone(t, w, p)
				page := func() phone.Page { return p.Page(key) }
				p.Eventually(t, 10*time.Minute, "the request", func() bool { return len(page().Of(phone.TypeContactRequest)) > 0 })
				n.Eventually("the request was heard", func() bool { return contactOf(t, n, p.Key()).Asked == store.AskSent })
				p.Session(key).Close()
				n.SayTo(p.Key(), "beside it") // makes another session
				p.Eventually(t, 10*time.Minute, "the next session", func() bool { return p.Session(key) != nil })
				if err := p.Session(key).Send(phone.Frame{Type: phone.TypeContactResponse, Fields: phone.Fields{"accepted": accepted}}); err != nil {
					t.Fatal(err)
				}
				n.Eventually("the answer", func() bool { return len(eventsOf(t, n, store.ContactAnswered)) == 1 })
				want := store.AskDeclined
				if accepted {
					want = store.AskAccepted
				}
				if got := contactOf(t, n, p.Key()).Asked; got != want || eventsOf(t, n, store.ContactAnswered)[0].Accepted != accepted {
					t.Errorf("asked %v", got)
				}
				requests := page().Of(phone.TypeContactRequest)
				if len(requests) != 1 || requests[0].Text("message") != "may I?" || requests[0].Text("nickname") != n.Account.Name {
					t.Errorf("requests %v", requests)
				}
			})
		})
	}
}

// phoneNode is where a phone can be turned on.
func phoneNode(t *testing.T, w *actorstest.World) *memnet.Node {
	t.Helper()
	node := w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = node.Close() })
	return node
}

// startPhone turns a phone on; it is turned off with the test.
func startPhone(t *testing.T, w *actorstest.World, p *phone.Phone) {
	t.Helper()
	node := phoneNode(t, w)
	if err := p.Start(node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
}

// Bar S10: a node that asks in the names of many people is heard twenty times in an
// hour, and each person once; what they write is neither stored nor acknowledged.
func TestRequestsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		node := phoneNode(t, w)
		requests := func() int {
			contacts, err := n.Contacts(n.Account.ID)
			if err != nil {
				t.Fatal(err)
			}
			return len(contacts)
		}
		ask := func(i int) {
			p := phone.New(phone.Options{Name: fmt.Sprint("person ", i), Log: t.Logf, Quirks: phone.Quirks{PlainChallenges: true}, Avatar: []byte("\xff\xd8\xffpicture")})
			if err := p.Start(node); err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			p.Found(key, n.Key())
			for range 3 {
				if err := p.Ask(t.Context(), key, strings.Repeat("x", 4096)); err != nil {
					t.Fatal(err)
				}
			}
			p.Write(key, "spam")
			virtual.Sleep(time.Second)
			if told := p.Page(key).Told; len(told) != 0 {
				t.Errorf("acknowledged %v", told)
			}
			p.Session(key).Close()
			virtual.Sleep(time.Second)
		}
		for i := range 25 {
			ask(i)
		}
		if got := requests(); got != 20 {
			t.Errorf("%d requests in an hour", got)
		}
		if got := len(eventsOf(t, n, store.MessageReceived)); got != 0 {
			t.Errorf("%d messages", got)
		}
		virtual.Sleep(time.Hour)
		ask(100)
		if got := requests(); got != 21 {
			t.Errorf("%d requests after an hour", got)
		}
	})
}

// An account that accepts everybody makes a stranger who asks a contact at once.
func TestPolicyAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		if _, err := n.SetStrangers(t.Context(), n.Account.ID, store.StrangersAccept); err != nil {
			t.Fatal(err)
		}
		p := w.Phone("phone", phone.Quirks{})
		k := &talk{n: n, key: key, p: p}
		k.phoneSays("hello")
		k.settles(t, 5*time.Minute)
		k.once(t)
	})
}

// Blocked is silence; unblocked is what it was.
func TestBlockAndUnblock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		id := identity.PublicKey(k.p.Key())
		k.phoneSays("before")
		k.settles(t, 5*time.Minute)
		k.n.Eventually("the session is known", func() bool { return k.n.Status().Sessions == 1 })
		if _, err := k.n.BlockContact(t.Context(), k.n.Account.ID, id); err != nil {
			t.Fatal(err)
		}
		k.n.Eventually("the session has ended", func() bool { return k.n.Status().Sessions == 0 })
		k.phoneSays("meanwhile")
		virtual.Sleep(10 * time.Minute)
		if texts := k.n.HeardFrom(k.p.Key()); len(texts) != 1 {
			t.Errorf("heard %s", actorstest.Brief(texts))
		}
		if _, err := k.n.UnblockContact(t.Context(), k.n.Account.ID, id); err != nil {
			t.Fatal(err)
		}
		k.settles(t, 10*time.Minute)
		k.once(t)
	})
}

// A name of our user's stays, whatever the contact calls themselves, and a change
// of our own profile is told at once.
func TestProfileChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		n, id := k.n, identity.PublicKey(k.p.Key())
		k.phoneSays("hello")
		k.settles(t, 5*time.Minute)
		if _, err := n.RenameContact(t.Context(), n.Account.ID, id, "my phone"); err != nil {
			t.Fatal(err)
		}
		send := func(seconds int64, name string, avatar []byte) {
			err := k.p.Session(k.key).Send(phone.Frame{Type: phone.TypeInfoResponse, Fields: phone.Fields{
				"time": seconds, "nickname": name, "info": "info", "avatar": avatar,
			}})
			if err != nil {
				t.Fatal(err)
			}
			n.EventuallyWithin(2*time.Minute, "the profile", func() bool { return contactOf(t, n, k.p.Key()).Nickname == name })
		}
		send(1<<60, "other", []byte("\xff\xd8\xffpicture"))
		if c := contactOf(t, n, k.p.Key()); c.LocalName != "my phone" || len(c.Avatar) == 0 || c.ProfileTime > store.MillisOf(time.Now()) {
			t.Errorf("%+v", c)
		}
		send(7, "third", []byte("no picture at all"))
		if c := contactOf(t, n, k.p.Key()); c.LocalName != "my phone" || c.Avatar != nil || c.ProfileTime != 7000 {
			t.Errorf("%+v", c)
		}

		told := func() []phone.Frame { return k.p.Page(k.key).Of(phone.TypeInfoResponse) }
		before := len(told())
		name := "new name"
		if _, err := n.UpdateProfile(t.Context(), n.Account.ID, node.ProfileChange{Name: &name}); err != nil {
			t.Fatal(err)
		}
		k.p.Eventually(t, time.Minute, "the new name", func() bool { return len(told()) == before+1 })
		if got := told()[before].Text("nickname"); got != name {
			t.Errorf("told %q", got)
		}
		k.p.Session(k.key).Close() // who was away is told with the next session
		n.Eventually("the session has ended", func() bool { return n.Status().Sessions == 0 })
		name = "newer name"
		if _, err := n.UpdateProfile(t.Context(), n.Account.ID, node.ProfileChange{Name: &name}); err != nil {
			t.Fatal(err)
		}
		k.phoneSays("back")
		k.settles(t, 5*time.Minute)
		k.p.Eventually(t, time.Minute, "the newer name", func() bool { return told()[len(told())-1].Text("nickname") == name })
	})
}

func TestAvatarIsChecked(t *testing.T) {
	for name, test := range map[string]struct {
		picture []byte
		right   bool
	}{
		"nothing": {nil, true},
		"gif":     {[]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"), true},
		"broken":  {[]byte("\x89PNG\r\n\x1a\nrest"), false},
		"text":    {[]byte("a text"), false},
		"large":   {append([]byte("\xff\xd8\xff"), make([]byte, 50<<10)...), false},
	} {
		if err := node.CheckAvatar(test.picture); (err == nil) != test.right || err != nil && !errors.Is(err, node.ErrAvatar) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A call is declined at once, or rings first; it is in the log once, however often
// the caller's app offers it.
func TestCallsAreMissed(t *testing.T) {
	offer := phone.Frame{Type: phone.TypeCallOffer, Fields: phone.Fields{"mime": "audio/aac", "rate": 44_100, "channels": 1}}
	missed := func(t *testing.T, n *actorstest.Node) int { return len(eventsOf(t, n, store.CallMissed)) }
	for name, ring := range map[string]time.Duration{"at once": 0, "after a while": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n := w.Node("owner", func(o *node.Options) { o.CallRing = ring })
				n.AwaitAnnounced()
				p := w.Phone("phone", phone.Quirks{})
				key := phone.Key(n.Account.ID)
				n.AddPhone(p.Key())
				calls := func() {
					if _, err := p.Dial(t.Context(), key); err != nil {
						t.Fatal(err)
					}
					if err := p.Session(key).Send(offer); err != nil {
						t.Fatal(err)
					}
				}
				answers := func() int { return len(p.Page(key).Of(phone.TypeCallAnswer)) }
				calls()
				virtual.Sleep(time.Second)
				if got := answers(); (got == 1) != (ring == 0) {
					t.Errorf("%d answers after a second", got)
				}
				p.Session(key).Abort() // the app offers the call again over the next session
				virtual.Sleep(time.Second)
				calls()
				p.Eventually(t, time.Minute, "the answer", func() bool { return answers() > 0 })
				virtual.Sleep(2 * time.Minute)
				if got := missed(t, n); got != 1 {
					t.Errorf("%d missed calls", got)
				}
				if ring == 0 {
					return
				}
				before := answers()
				calls()
				virtual.Sleep(ring / 2)
				if err := p.Session(key).Send(phone.Frame{Type: phone.TypeCallHang}); err != nil {
					t.Fatal(err)
				}
				virtual.Sleep(2 * ring)
				if missed(t, n) != 2 || answers() != before {
					t.Errorf("%d missed calls, %d answers after a call that was given up", missed(t, n), answers()-before)
				}
			})
		})
	}
}

// Of reactions that come twice, late or again only the latest counts, and none
// about a message that is not ours to talk about.
//
// Bar S11.
func TestReactionsThatCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{ReactionTwice: true})
		n, id := k.n, identity.PublicKey(k.p.Key())
		k.nodeSays(t, "look")
		k.settles(t, time.Minute)
		target := k.nodeGUIDs[0]
		reactions := func() []store.Reaction {
			found, err := n.Reactions(n.Account.ID, id, peer.GUID(target))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		react := func(emoji string) {
			virtual.Sleep(1100 * time.Millisecond)
			k.p.React(k.key, emoji, target)
			k.p.Eventually(t, time.Minute, "the OK", func() bool { return len(k.p.Waiting(k.key)) == 0 })
		}
		react("🔥")
		react("👍")
		if got := reactions(); len(got) != 1 || got[0].Emoji != "👍" || got[0].Dir != store.In {
			t.Errorf("%+v", got)
		}
		for range 2 {
			if _, err := n.React(t.Context(), node.OutgoingReaction{
				Account: n.Account.ID, Contact: id, Target: peer.GUID(target), Emoji: "❤", Source: "once",
			}); err != nil {
				t.Fatal(err)
			}
		}
		k.p.Eventually(t, time.Minute, "our reaction", func() bool { return len(k.p.Page(k.key).Received) == 2 })
		if got := reactions(); len(got) != 2 || got[1].Emoji != "❤" || got[1].Dir != store.Out {
			t.Errorf("%+v", got)
		}
		react("")
		if got := reactions(); len(got) != 1 || got[0].Dir != store.Out {
			t.Errorf("after it was taken back: %+v", got)
		}

		other := w.Phone("other", phone.Quirks{})
		n.AddPhone(other.Key())
		other.React(k.key, "👎", target)
		other.Eventually(t, time.Minute, "the OK", func() bool { return len(other.Waiting(k.key)) == 0 })
		if got := reactions(); len(got) != 1 {
			t.Errorf("a foreign reaction: %+v", got)
		}
		if got, err := n.Reactions(n.Account.ID, identity.PublicKey(other.Key()), peer.GUID(target)); err != nil || len(got) != 0 {
			t.Errorf("a reaction to nothing: %+v, %v", got, err)
		}
		if got := n.Status().StrayReactions; got != 1 {
			t.Errorf("%d stray reactions are counted", got)
		}
	})
}
