// SPDX-License-Identifier: MPL-2.0

package forward_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// autoDownload is the size of files that the node fetches by itself.
const autoDownload = 10_000

// rig is a node with two accounts that have a phone each, with another account of the node
// that forwards to it, and two people who are contacts of both accounts.
type rig struct {
	*actorstest.Family
	t      *testing.T
	w      *actorstest.World
	server *phone.FileServer
	homes  []identity.PublicKey
	own    []*phone.Phone // of the accounts
	// open opens the store of the node, which is stopped.
	open func() (*store.Store, error)
}

func newRig(t *testing.T, change ...func(*node.Options)) *rig {
	t.Helper()
	r := &rig{t: t, w: actorstest.New(t, memnet.Options{})}
	r.server = phone.ServeFiles(t, r.place(), phone.FileFaults{})
	change = append(change, func(o *node.Options) {
		o.Media = transfer.Options{Server: r.server.Key(), AutoDownload: autoDownload}
		inner := o.OpenStore
		o.OpenStore = func(opts store.Options) (*store.Store, error) {
			r.open = func() (*store.Store, error) { return inner(opts) }
			return r.open()
		}
	})
	r.Family = r.w.NewFamily(2, 2, phone.Quirks{}, change...)
	r.Each(func(a, p int) {
		// Whether the phone's own name is known when its first text comes is a matter of luck.
		if _, err := r.Node.RenameContact(t.Context(), r.Accounts[a], r.Contact(p), fmt.Sprint("phone ", p)); err != nil {
			t.Fatal(err)
		}
	})
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

// notes are what home says to the phone of the first account about answers to nobody.
func (r *rig) notes() (found []phone.Message) {
	for _, m := range r.onPhone(0) {
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
		note := r.arrives("a sentence", func() []phone.Message { return r.notes() }, func(phone.Message) bool { return true })
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
		if n := len(r.notes()); n != 5+len(wrong) {
			t.Errorf("%d sentences: %q", n, texts(r.onPhone(0)))
		}
		for i, guid := range wrong {
			if !slices.ContainsFunc(r.notes(), func(m phone.Message) bool { return m.ReplyTo == guid }) {
				t.Errorf("nothing is said about the wrong quote %d", i)
			}
		}
		virtual.Sleep(10 * time.Minute)
		again := r.answer(0, 0, "to nobody, later")
		r.arrives("it is said again", func() []phone.Message { return r.notes() }, func(m phone.Message) bool { return m.ReplyTo == again })
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

// Killed after each message was queued and before its cursor moved: everything is dealt with
// again, and nobody has anything twice, neither people nor the phones.
func TestAnswers_RepeatedAfterCrash_SentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Each(func(a, p int) { r.Phones[p].Write(r.account(a), "hello") })
		r.Each(func(a, p int) {
			r.answer(a, r.forwarded(a, p, "hello").GUID, "an answer")
			r.answer(a, 0, "to nobody")
			r.own[a].React(r.home(a), "👍", r.forwarded(a, p, "hello").GUID)
		})
		r.Each(func(a, p int) {
			r.Phones[p].React(r.account(a), "🎉", r.arrives("the answer", func() []phone.Message { return r.with(p, a) }, text("an answer")).GUID)
		})
		r.idle()
		before := make(map[string]int)
		r.Each(func(a, p int) {
			before[fmt.Sprint("with ", p, a)] = len(r.with(p, a))
			before[fmt.Sprint("on ", a)] = len(r.onPhone(a))
		})
		r.Node.Stop()
		r.replay()
		r.Node.Start()
		// While the node cannot be reached people write to the phone itself.
		r.Node.AwaitAnnounced()
		virtual.Sleep(time.Minute)
		r.Each(func(a, p int) { r.Phones[p].Write(r.account(a), "later") })
		r.Each(func(a, p int) { r.answer(a, r.forwarded(a, p, "later").GUID, "another answer") })
		r.idle()
		r.Each(func(a, p int) {
			if got, want := len(r.with(p, a)), before[fmt.Sprint("with ", p, a)]+1; got != want {
				t.Errorf("phone %d has %d messages from account %d, want %d: %q", p, got, a, want, texts(r.with(p, a)))
			}
			if got, want := len(r.onPhone(a)), before[fmt.Sprint("on ", a)]+2; got != want {
				t.Errorf("the phone of account %d has %d messages, want %d: %q", a, got, want, texts(r.onPhone(a)))
			}
		})
	})
}

// replay has the flows deal with everything again, on the store of the node, which is stopped.
func (r *rig) replay() {
	r.t.Helper()
	s, err := r.open()
	if err != nil {
		r.t.Fatal(err)
	}
	system := kernel.NewSystem(kernel.Options{Logger: actorstest.Logger(r.t, "replay")})
	writer, err := system.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	if err != nil {
		r.t.Fatal(err)
	}
	deps := &forward.Deps{Store: s, Writer: writer, Now: time.Now}
	for a := range r.Accounts {
		if err := forward.ReplayForTest(r.t.Context(), deps, r.Accounts[a], r.homes[a]); err != nil {
			r.t.Error(err)
		}
	}
	if err := errors.Join(system.Stop(r.t.Context()), s.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// file waits for a message with a file and a caption, and returns it with its content.
func (r *rig) file(what string, in func() []phone.Message, caption string) (phone.Message, phone.Attachment, []byte) {
	r.t.Helper()
	var a phone.Attachment
	m := r.arrives(what, in, func(m phone.Message) bool {
		var err error
		a, err = phone.ParseAttachment(m.Payload)
		return err == nil && (m.Type == phone.Image || m.Type == phone.File) && a.Text == caption
	})
	plain, err := r.server.Plain(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return m, a, plain
}

func content(what string, a, p, size int) []byte {
	return []byte(actorstest.TextOf(what, a, p, size))
}

// Files of every form are on the phone, with who they are from, and files of the phone
// with the one whose message they answer, whatever their size. The phone is told which one
// was not sent.
func TestAnswers_Files(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		offer := func(what string, a, p, size int) phone.Attachment {
			return r.server.Offer(fmt.Sprintf("%s-%d-%d.bin", what, a, p), content(what, a, p, size))
		}
		r.Each(func(a, p int) {
			served, inside := offer("served", a, p, 3000), offer("inside", a, p, 3000)
			served.Text = "look"
			r.Phones[p].Post(r.account(a), phone.Message{Type: phone.File, Payload: served.Payload()})
			inside.Text, inside.Key, inside.Server = "inside", "", ""
			r.Phones[p].Post(r.account(a), phone.Message{Type: phone.File, Payload: inside.Inline(content("inside", a, p, 3000))})
		})
		r.Each(func(a, p int) {
			on := func() []phone.Message { return r.onPhone(a) }
			served, _, plain := r.file("the file of the server", on, fmt.Sprintf("phone %d: look", p))
			if !bytes.Equal(plain, content("served", a, p, 3000)) {
				t.Errorf("the phone of account %d has another file of phone %d: %.40q", a, p, plain)
			}
			inside, _, plain := r.file("the file inside of the message", on, fmt.Sprintf("phone %d: inside", p))
			if !bytes.Equal(plain, content("inside", a, p, 3000)) {
				t.Errorf("the phone of account %d has another file of phone %d: %.40q", a, p, plain)
			}
			for size, quote := range map[int]phone.GUID{3000: served.GUID, 2 * autoDownload: inside.GUID} {
				answer := offer(fmt.Sprint("answer", size), a, p, size)
				answer.Text, answer.OriginalName, answer.MIMEType = fmt.Sprint("of size ", size), "voice_message.m4a", "audio/mp4"
				r.own[a].Post(r.home(a), phone.Message{Type: phone.File, ReplyTo: quote, Payload: answer.Payload()})
			}
		})
		r.Each(func(a, p int) {
			for _, size := range []int{3000, 2 * autoDownload} {
				m, about, plain := r.file("the answer", func() []phone.Message { return r.with(p, a) }, fmt.Sprint("of size ", size))
				if !bytes.Equal(plain, content(fmt.Sprint("answer", size), a, p, size)) || m.ReplyTo == 0 || about.OriginalName != "voice_message.m4a" {
					t.Errorf("phone %d has from account %d %+v, an answer to %d: %.40q", p, a, about, m.ReplyTo, plain)
				}
			}
			if n := len(r.with(p, a)); n != 2 {
				t.Errorf("phone %d has %d messages from account %d", p, n, a)
			}
		})
		quote := r.onPhone(0)[0].GUID
		gone := offer("gone", 0, 0, 100)
		gone.Hash = strings.Repeat("ab", 32)
		missing := r.own[0].Post(r.home(0), phone.Message{Type: phone.File, ReplyTo: quote, Payload: gone.Payload()})
		nobody := r.own[0].Post(r.home(0), phone.Message{Type: phone.File, Payload: offer("nobody", 0, 0, 100).Payload()})
		r.arrives("the phone is told that the file is missing", func() []phone.Message { return r.onPhone(0) }, func(m phone.Message) bool {
			return m.ReplyTo == missing && strings.HasPrefix(string(m.Payload), "Not sent: the node does not get this file (")
		})
		r.arrives("the phone is told that the file is for nobody", func() []phone.Message { return r.notes() }, func(m phone.Message) bool { return m.ReplyTo == nobody })
		r.idle()
		r.Each(func(a, p int) {
			if n := len(r.with(p, a)); n != 2 {
				t.Errorf("phone %d has %d messages from account %d", p, n, a)
			}
		})
	})
}

// What two people leave on the answering machine is on the phone of the account, and can be
// answered there.
func TestForward_VoiceMessagesOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		const second = 44 // of audio, about
		greeting := aac.Audio{Config: aac.Call(), Units: [][]byte{{0, 1}, {0, 2}}}
		if _, err := r.Node.SetGreeting(t.Context(), r.Accounts[0], greeting.AppendADTS(nil)); err != nil {
			t.Fatal(err)
		}
		var said [2][][]byte
		var calls sync.WaitGroup
		for p := range r.Phones {
			for i := range 3 * second {
				said[p] = append(said[p], fmt.Appendf(nil, "\x01phone %d, unit %d", p, i))
			}
			calls.Go(func() {
				call, err := r.Phones[p].Call(t.Context(), r.account(0))
				if err == nil {
					err = call.Await(t.Context())
				}
				if err == nil {
					err = call.Send(phone.CallConfig())
				}
				virtual.Sleep(5*phone.CallUnit + time.Second)
				if err := errors.Join(err, call.Say(said[p]...), call.HangUp()); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		for p := range r.Phones {
			m, about, plain := r.file("the voice message", func() []phone.Message { return r.onPhone(0) },
				fmt.Sprintf("phone %d: Left on the answering machine during a call: 0:03", p))
			units, err := phone.VoiceUnits(plain)
			if err != nil || !slices.EqualFunc(units, said[p], bytes.Equal) || about.OriginalName != "voice_message.m4a" || about.MIMEType != "audio/mp4" {
				t.Errorf("the phone has %d units of phone %d as %+v, %v", len(units), p, about, err)
			}
			r.answer(0, m.GUID, fmt.Sprint("I will call phone ", p))
		}
		for p := range r.Phones {
			r.arrives("the answer", func() []phone.Message { return r.with(p, 0) }, text(fmt.Sprint("I will call phone ", p)))
			if got := texts(r.with(p, 0)); len(got) != 1 {
				t.Errorf("phone %d has %q", p, got)
			}
		}
	})
}

// Two people talk in two groups, which one of two accounts has forwarded. What its phone
// answers is in the group of the message that it quotes, as a reply to that. What was said
// before the node had the group is not forwarded, and the other account's phone has nothing.
func TestAnswers_IntoGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Times before 2015 are taken for mistakes.
		now := func() time.Time { return time.Now().AddDate(30, 0, 0) }
		r := newRig(t, func(o *node.Options) { o.Now = now })
		mediator := fakemediator.New(t, r.w.Net.Node(overlay.Limits{}))
		carol, dave := identity.NewPrivateKey([32]byte{3}).Public(), identity.NewPrivateKey([32]byte{4}).Public()
		if _, err := r.Node.AddContact(t.Context(), r.Accounts[0], identity.Link{Key: carol}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Node.RenameContact(t.Context(), r.Accounts[0], carol, "Carol"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Node.SetForwardGroups(t.Context(), r.Accounts[0], true); err != nil {
			t.Fatal(err)
		}
		secrets := []fakemediator.Secret{{1}, {2}}
		var chats []*fakemediator.Chat
		guid := int64(100)
		say := func(g int, who identity.PublicKey, at time.Time, m fakemediator.Inner) int64 {
			guid++
			m.GUID, m.SendTime = guid, at.UnixMilli()
			mediator.Say(chats[g], who, guid, secrets[g].Message(m))
			return guid
		}
		for g, secret := range secrets {
			chats = append(chats, mediator.AddChat(fmt.Sprint("Group ", g), carol, dave, r.Accounts[0], r.Accounts[1]))
			say(g, carol, now().Add(-time.Hour), fakemediator.Inner{Payload: []byte("long ago")})
			for _, account := range r.Accounts {
				if _, err := r.Node.AddGroup(t.Context(), node.KnownGroup{
					Account: account, Mediator: mediator.Key(), Chat: chats[g].ID, Key: secret, Name: fmt.Sprint("Group ", g),
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		on := func() []phone.Message { return r.onPhone(0) }
		// sent waits for a message of the account in a group.
		sent := func(g int, is func(fakemediator.Inner) bool) (found fakemediator.Inner) {
			r.Node.EventuallyWithin(time.Hour, "the answer is in the group", func() bool {
				done := false
				mediator.Lock(func() {
					for _, m := range chats[g].Messages {
						inner, err := secrets[g].Read(m.Blob)
						if err == nil && m.Author == string(r.Accounts[0][:]) && is(inner) {
							found, done = inner, true
						}
					}
				})
				return done
			})
			return found
		}
		for g := range chats {
			asked := []int64{
				say(g, carol, now(), fakemediator.Inner{Payload: []byte("what do you say?")}),
				say(g, dave, now(), fakemediator.Inner{Payload: []byte("and you?")}),
			}
			forwarded := []phone.GUID{
				r.arrives("Carol's question", on, text(fmt.Sprintf("Group %d, Carol: what do you say?", g))).GUID,
				r.arrives("Dave's question", on, text(fmt.Sprintf("Group %d, %s: and you?", g, dave.Short()))).GUID,
			}
			for i := range asked {
				answered := r.answer(0, forwarded[i], fmt.Sprint("answer ", i))
				got := sent(g, func(m fakemediator.Inner) bool { return string(m.Payload) == fmt.Sprint("answer ", i) })
				if got.ReplyTo != asked[i] {
					t.Errorf("group %d: answer %d quotes %d, want %d", g, i, got.ReplyTo, asked[i])
				}
				r.own[0].React(r.home(0), "👍", forwarded[i])
				sent(g, func(m fakemediator.Inner) bool {
					return m.Type == int(phone.Reaction) && m.ReplyTo == asked[i] && strings.Contains(string(m.Payload), "👍")
				})
				say(g, carol, now(), fakemediator.Inner{
					Type: int(phone.Reaction), ReplyTo: got.GUID, Payload: fmt.Appendf(nil, `{"emoji":"🎉","replyTo":%d}`, got.GUID),
				})
				r.arrives("Carol's reaction", on, reaction("🎉", answered))
			}
		}
		r.idle()
		for g := range chats {
			mediator.Lock(func() {
				mine := 0
				for _, m := range chats[g].Messages {
					if m.Author == string(r.Accounts[0][:]) || m.Author == string(r.Accounts[1][:]) {
						mine++
					}
				}
				if mine != 4 {
					t.Errorf("%d messages of the accounts in group %d", mine, g)
				}
			})
		}
		if got := texts(r.onPhone(0)); len(got) != 4 || len(r.onPhone(1)) != 0 {
			t.Errorf("the phones have %q and %q", got, texts(r.onPhone(1)))
		}
	})
}
