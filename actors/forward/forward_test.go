// SPDX-License-Identifier: MPL-2.0

package forward_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// rig is a node with two accounts that have a phone each, with another account of the node
// that forwards to it, and two people who are contacts of both accounts.
type rig struct {
	*actorstest.Family
	t      *testing.T
	w      *actorstest.World
	server *phone.FileServer
	homes  []identity.PublicKey
	own    []*phone.Phone // of the accounts
}

func newRig(t *testing.T, change ...func(*node.Options)) *rig {
	t.Helper()
	r := &rig{t: t, w: actorstest.New(t, memnet.Options{})}
	r.server = phone.ServeFiles(t, r.place(), phone.FileFaults{})
	change = append(change, func(o *node.Options) { o.Media = transfer.Options{Server: r.server.Key()} })
	r.Family = r.w.NewFamily(2, 2, phone.Quirks{}, change...)
	for i, account := range r.Accounts {
		home, err := r.Node.CreateAccount(t.Context(), fmt.Sprint("home ", i))
		if err != nil {
			t.Fatal(err)
		}
		r.homes = append(r.homes, home.ID)
		r.forward(i, home.ID)
		pem, err := r.Node.ExportAccount(account)
		if err != nil {
			t.Fatal(err)
		}
		key, err := identity.ParsePEM(pem)
		if err != nil {
			t.Fatal(err)
		}
		seed := key.Seed()
		own := phone.New(phone.Options{
			Name: fmt.Sprint("own ", i), Seed: &seed, Trackers: []identity.NodeKey{r.w.Tracker.Node}, Log: t.Logf,
		})
		if err := own.Start(r.place()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(own.Stop)
		own.AddContact(r.home(i))
		own.Eventually(t, 10*time.Minute, "the phone is announced", func() bool { return own.Announced() > 0 })
		r.own = append(r.own, own)
	}
	virtual.Sleep(time.Minute)
	return r
}

// place is another node of the network.
func (r *rig) place() *memnet.Node {
	r.t.Helper()
	n := r.w.Net.Node(overlay.Limits{})
	r.t.Cleanup(func() { _ = n.Close() })
	return n
}

func (r *rig) forward(a int, home identity.PublicKey) {
	r.t.Helper()
	if _, err := r.Node.SetForwardTo(r.t.Context(), r.Accounts[a], home); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) home(a int) phone.Key    { return phone.Key(r.homes[a]) }
func (r *rig) account(a int) phone.Key { return phone.Key(r.Accounts[a]) }

// onPhone are the messages that the phone of an account has from home.
func (r *rig) onPhone(a int) []phone.Message { return r.own[a].Page(r.home(a)).Received }

// with are the messages that a person has from an account.
func (r *rig) with(p, a int) []phone.Message { return r.Phones[p].Page(r.account(a)).Received }

// arrives waits for a message with that text in a list of messages.
func (r *rig) arrives(what string, in func() []phone.Message, is func(phone.Message) bool) phone.Message {
	r.t.Helper()
	var found phone.Message
	r.Node.EventuallyWithin(2*time.Hour, what, func() bool {
		all := in()
		i := slices.IndexFunc(all, is)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

func text(s string) func(phone.Message) bool {
	return func(m phone.Message) bool { return m.Type == phone.Text && string(m.Payload) == s }
}

func reaction(emoji string, target phone.GUID) func(phone.Message) bool {
	want := fmt.Sprintf(`{"emoji":%s,"replyTo":%d}`, strconv.Quote(emoji), target)
	return func(m phone.Message) bool { return m.Type == phone.Reaction && string(m.Payload) == want }
}

// forwarded waits for the message of the phone that forwards what a person has written.
func (r *rig) forwarded(a, p int, said string) phone.Message {
	r.t.Helper()
	return r.arrives("it is on the phone", func() []phone.Message { return r.onPhone(a) }, text(fmt.Sprintf("phone %d: %s", p, said)))
}

// answer has the phone of an account write to home.
func (r *rig) answer(a int, quote phone.GUID, said string) phone.GUID {
	return r.own[a].Post(r.home(a), phone.Message{ReplyTo: quote, Payload: []byte(said)})
}

// texts are the texts among messages.
func texts(all []phone.Message) (found []string) {
	for _, m := range all {
		if m.Type == phone.Text {
			found = append(found, string(m.Payload))
		}
	}
	return found
}

// idle waits until nothing is on its way any more.
func (r *rig) idle() {
	r.t.Helper()
	r.Node.EventuallyWithin(2*time.Hour, "nothing is undelivered", func() bool {
		done := true
		for a := range r.Accounts {
			for _, id := range []identity.PublicKey{r.Accounts[a], r.homes[a]} {
				n, err := r.Node.Waiting(id)
				done = done && err == nil && n == 0
			}
			done = done && len(r.own[a].Waiting(r.home(a))) == 0
			for p := range r.Phones {
				done = done && len(r.Phones[p].Waiting(r.account(a))) == 0
			}
		}
		return done
	})
	virtual.Sleep(time.Minute + time.Second)
}

// Two people write to two accounts; the phones of the accounts answer and react. Each
// answer is with the one whose message it quotes, in the name of the account, as an answer to
// that message, and with nobody else. What people react to on it is on the phone.
func TestAnswers_WithTheOneWhoIsQuoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		type said struct {
			asked, forwarded, answered phone.GUID
			text                       string
		}
		var all [2][2]said
		r.Each(func(a, p int) {
			all[a][p].asked = r.Phones[p].Write(r.account(a), fmt.Sprintf("phone %d asks account %d", p, a))
		})
		r.Each(func(a, p int) {
			all[a][p].forwarded = r.forwarded(a, p, fmt.Sprintf("phone %d asks account %d", p, a)).GUID
		})
		r.Each(func(a, p int) {
			s := &all[a][p]
			s.text = fmt.Sprintf("account %d answers phone %d", a, p)
			s.answered = r.answer(a, s.forwarded, s.text)
			r.own[a].React(r.home(a), "👍", s.forwarded)
		})
		r.Each(func(a, p int) {
			s := &all[a][p]
			with := func() []phone.Message { return r.with(p, a) }
			got := r.arrives("the answer", with, text(s.text))
			if got.ReplyTo != s.asked {
				t.Errorf("the answer to %d quotes %d", s.asked, got.ReplyTo)
			}
			r.arrives("the reaction", with, reaction("👍", s.asked))
			r.Phones[p].React(r.account(a), "🎉", got.GUID)
			r.Phones[p].Post(r.account(a), phone.Message{ReplyTo: got.GUID, Payload: []byte("and you?")})
		})
		r.Each(func(a, p int) {
			s := &all[a][p]
			on := func() []phone.Message { return r.onPhone(a) }
			r.arrives("the reaction to the answer", on, reaction("🎉", s.answered))
			got := r.arrives("what is said to the answer", on, func(m phone.Message) bool { return m.ReplyTo == s.answered && m.Type == phone.Text })
			if want := fmt.Sprintf("phone %d: and you?", p); string(got.Payload) != want {
				t.Errorf("the phone has %q, want %q", got.Payload, want)
			}
			r.Phones[p].React(r.account(a), "", r.arrives("the answer", func() []phone.Message { return r.with(p, a) }, text(s.text)).GUID)
			r.own[a].React(r.home(a), "", s.forwarded)
		})
		r.Each(func(a, p int) {
			s := &all[a][p]
			r.arrives("the reaction is taken back", func() []phone.Message { return r.with(p, a) }, reaction("", s.asked))
			r.arrives("the reaction to the answer is taken back", func() []phone.Message { return r.onPhone(a) }, reaction("", s.answered))
		})
		r.idle()
		r.Each(func(a, p int) {
			if got := texts(r.with(p, a)); !slices.Equal(got, []string{all[a][p].text}) {
				t.Errorf("phone %d has from account %d: %q", p, a, got)
			}
			if n := len(r.with(p, a)); n != 3 { // text, reaction, none
				t.Errorf("phone %d has %d messages from account %d", p, n, a)
			}
		})
		for a := range r.Accounts {
			if n := len(r.onPhone(a)); n != 8 { // of each person two texts, a reaction, none
				t.Errorf("phone of account %d has %d messages: %q", a, n, texts(r.onPhone(a)))
			}
		}
	})
}

// notes are what home says to the phone of an account about answers to nobody.
func (r *rig) notes(a int) (found []phone.Message) {
	for _, m := range r.onPhone(a) {
		if strings.HasPrefix(string(m.Payload), "Sent to nobody: ") {
			found = append(found, m)
		}
	}
	return found
}

// What quotes nothing, or what was not forwarded, is with nobody. The phone is told, a few
// times in ten minutes, however much it writes.
func TestAnswers_WithoutQuote_SentToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		asked := r.Phones[0].Write(r.account(0), "hello")
		forwarded := r.forwarded(0, 0, "hello")
		synctest.Wait()
		virtual.Sleep(10*time.Minute - time.Duration(time.Now().UnixMilli()%600_000)*time.Millisecond + time.Second) // a period begins
		first := r.answer(0, 0, "to nobody")
		note := r.arrives("a sentence", func() []phone.Message { return r.notes(0) }, func(phone.Message) bool { return true })
		if note.ReplyTo != first || !strings.Contains(string(note.Payload), "quote") {
			t.Errorf("the sentence is %q, about %d", note.Payload, note.ReplyTo)
		}
		for i := range 30 {
			r.answer(0, 0, fmt.Sprint("to nobody ", i))
		}
		wrong := []phone.GUID{r.answer(0, note.GUID, "to the sentence"), r.answer(0, first, "to myself"), r.answer(0, 4711, "to something"), r.answer(0, asked, "to the guid of the person")}
		r.own[0].React(r.home(0), "👍", note.GUID)
		r.own[0].React(r.home(0), "👍", first)
		virtual.Sleep(5 * time.Minute)
		if n := len(r.notes(0)); n != 5+len(wrong) {
			t.Errorf("%d sentences: %q", n, texts(r.onPhone(0)))
		}
		for i, guid := range wrong {
			if !slices.ContainsFunc(r.notes(0), func(m phone.Message) bool { return m.ReplyTo == guid }) {
				t.Errorf("nothing is said about the wrong quote %d", i)
			}
		}
		virtual.Sleep(10 * time.Minute)
		again := r.answer(0, 0, "to nobody, later")
		r.arrives("it is said again", func() []phone.Message { return r.notes(0) }, func(m phone.Message) bool { return m.ReplyTo == again })
		r.answer(0, forwarded.GUID, "to the one who asked")
		r.arrives("the answer", func() []phone.Message { return r.with(0, 0) }, text("to the one who asked"))
		r.idle()
		r.Each(func(a, p int) {
			if got := len(r.with(p, a)); got != 0 && (a != 0 || p != 0 || got != 1) {
				t.Errorf("phone %d has from account %d: %q", p, a, texts(r.with(p, a)))
			}
		})
		if len(r.onPhone(1)) != 0 {
			t.Errorf("the other phone has %q", texts(r.onPhone(1)))
		}
	})
}

// An answer to somebody who may not be written to any more is with nobody, and the phone is
// told who that is. One that is given up later, too.
func TestAnswers_Refused_PhoneTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for p := range r.Phones {
			r.Phones[p].Write(r.account(0), "hello")
		}
		blocked, removed := r.forwarded(0, 0, "hello"), r.forwarded(0, 1, "hello")
		if _, err := r.Node.BlockContact(t.Context(), r.Accounts[0], r.Contact(0)); err != nil {
			t.Fatal(err)
		}
		if err := r.Node.RemoveContact(t.Context(), r.Accounts[0], r.Contact(1)); err != nil {
			t.Fatal(err)
		}
		for _, quote := range []phone.GUID{blocked.GUID, removed.GUID} {
			r.answer(0, quote, "an answer")
		}
		on := func() []phone.Message { return r.onPhone(0) }
		r.arrives("the phone is told", on, text("Not sent: phone 0 is blocked."))
		r.arrives("the phone is told", on, text(fmt.Sprintf("Not sent: %s is not a contact any more.", r.Contact(1).Short())))
		if _, err := r.Node.UnblockContact(t.Context(), r.Accounts[0], r.Contact(0)); err != nil {
			t.Fatal(err)
		}
		r.Phones[0].Stop()
		r.answer(0, blocked.GUID, "another answer")
		var waiting []store.Message
		r.Node.Eventually("the answer is in the outbox", func() bool {
			var err error
			waiting, err = r.Node.Outbox(r.Accounts[0], r.Contact(0), 10)
			return err == nil && len(waiting) == 1
		})
		if given, err := r.Node.CancelMessage(t.Context(), r.Accounts[0], r.Contact(0), waiting[0].ID, "cancelled"); !given || err != nil {
			t.Fatal(given, err)
		}
		r.arrives("the phone is told", on, text("Not delivered to phone 0: cancelled."))
	})
}
