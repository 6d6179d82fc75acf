// SPDX-License-Identifier: MPL-2.0

package answering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

const (
	ring = 10 * time.Second
	// second is about a second of audio.
	second = 44
)

// voice is audio of a speaker: units that nobody else has.
func voice(speaker string, units int) [][]byte {
	var out [][]byte
	for i := range units {
		out = append(out, fmt.Appendf(nil, "\x01%s, unit %d", speaker, i))
	}
	return out
}

// greeting is the file of a greeting.
func greeting(speaker string, units int) []byte {
	return aac.Audio{Config: aac.Call(), Units: voice(speaker, units)}.AppendADTS(nil)
}

// rig is a node with two accounts, and two phones that are contacts of both.
type rig struct {
	*actorstest.Family
	t *testing.T
}

func newRig(t *testing.T, change ...func(*node.Options)) *rig {
	t.Helper()
	return &rig{actorstest.New(t, memnet.Options{}).NewFamily(2, 2, phone.Quirks{}, change...), t}
}

func (r *rig) greet(account int, file []byte) {
	r.t.Helper()
	if _, err := r.Node.SetGreeting(r.t.Context(), r.Accounts[account], file); err != nil {
		r.t.Fatal(err)
	}
}

// call has a phone call an account.
func (r *rig) call(a, p int) *phone.Call {
	r.t.Helper()
	c, err := r.Phones[p].Call(r.t.Context(), phone.Key(r.Accounts[a]))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// answered has a phone call the first account, and waits for the answer and the end of a
// greeting of a second.
func (r *rig) answered(p int) *phone.Call {
	r.t.Helper()
	c := r.call(0, p)
	r.await(c)
	if err := c.Send(phone.CallConfig()); err != nil {
		r.t.Fatal(err)
	}
	virtual.Sleep(time.Duration(second+1)*phone.CallUnit + time.Second/2)
	return c
}

func (r *rig) await(c *phone.Call) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := c.Await(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// messages are the audio of the voice messages that an account has from a phone.
func (r *rig) messages(a, p int) [][][]byte {
	r.t.Helper()
	page, err := r.Node.Messages(r.Accounts[a], r.Contact(p), 0, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var out [][][]byte
	for _, m := range slices.Backward(page) {
		file, info, err := r.Node.OpenMedia(r.Accounts[a], r.Contact(p), m.ID)
		if errors.Is(err, transfer.ErrNoMedia) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			r.t.Fatal(err)
		}
		units, err := phone.VoiceUnits(content)
		if err != nil {
			r.t.Fatal(err)
		}
		if m.ID.Dir != store.In || !info.Voice || info.MIMEType != "audio/mp4" || info.State != store.MediaStored || info.Caption == "" {
			r.t.Errorf("not an incoming voice message: %+v", info)
		}
		out = append(out, units)
	}
	return out
}

// missed counts the missed calls of a conversation.
func (r *rig) missed(a, p int) int {
	r.t.Helper()
	events, err := r.Node.Events(r.Accounts[a], 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	found := 0
	for _, e := range events {
		if e.Kind == store.CallMissed && e.Conversation.Contact() == r.Contact(p) {
			found++
		}
	}
	return found
}

func (r *rig) check(a, p, missed int, messages ...[][]byte) {
	r.t.Helper()
	same := func(x, y [][]byte) bool { return slices.EqualFunc(x, y, bytes.Equal) }
	if got := r.messages(a, p); !slices.EqualFunc(got, messages, same) {
		var sizes []int
		for _, m := range got {
			sizes = append(sizes, len(m))
		}
		r.t.Errorf("account %d has from phone %d voice messages of %v units, want %d messages", a, p, sizes, len(messages))
	}
	if got := r.missed(a, p); got != missed {
		r.t.Errorf("account %d has %d missed calls of phone %d, want %d", a, got, p, missed)
	}
}

// recordings are the files of calls without a message.
func (r *rig) recordings() []string {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.Node.Opts.Dir, "calls", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// Two contacts call two accounts at the same time: each hears the greeting of the account,
// as fast as it plays, and each leaves a message. What they write meanwhile arrives.
func TestCall_GreetingThenVoiceMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const played = 5 * second
		r := newRig(t)
		for a := range r.Accounts {
			r.greet(a, greeting(fmt.Sprint("account ", a), played))
		}
		says := func(a, p int) [][]byte { return voice(fmt.Sprintf("phone %d to account %d", p, a), 3*second) }
		var calls sync.WaitGroup
		r.Each(func(a, p int) {
			calls.Go(func() {
				began := time.Now()
				c := r.call(a, p)
				r.await(c)
				if took := time.Since(began); took < ring || took > ring+time.Second {
					t.Errorf("answered after %v", took)
				}
				if err := c.Say(phone.CallConfig(), []byte("\x01 nobody listens yet")); err != nil {
					t.Error(err)
				}
				virtual.Sleep((played/2)*phone.CallUnit - 2*phone.CallUnit)
				if heard := len(c.Heard()); heard < played/2-4 || heard > played/2+5 {
					t.Errorf("%d of %d units heard at half time", heard, played)
				}
				virtual.Sleep((played/2 + 8) * phone.CallUnit)
				want := append([][]byte{phone.CallConfig()}, voice(fmt.Sprint("account ", a), played)...)
				if got := c.Heard(); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("account %d: phone %d heard %d packets, want %d", a, p, len(got), len(want))
				}
				all := says(a, p)
				if err := c.Say(all[:second]...); err != nil {
					t.Error(err)
				}
				r.PhoneSays(a, p, 10)
				r.NodeSays(a, p, 10)
				if err := c.Say(all[second:]...); err != nil {
					t.Error(err)
				}
				if waiting := len(r.Phones[p].Waiting(phone.Key(r.Accounts[a]))); waiting != 0 || c.Over() {
					t.Errorf("%d texts wait during the call, over: %v", waiting, c.Over())
				}
				if err := c.HangUp(); err != nil {
					t.Error(err)
				}
			})
		})
		calls.Wait()
		virtual.Sleep(5 * time.Second)
		r.Each(func(a, p int) {
			r.check(a, p, 1, says(a, p))
			texts := slices.DeleteFunc(r.Heard(a, p), func(s string) bool { return s != actorstest.TextOf("to the node", a, p, 10) })
			if got := r.Phones[p].Page(phone.Key(r.Accounts[a])).Texts(); len(texts) != 1 || len(got) != 1 {
				t.Errorf("account %d, phone %d: %d texts in, %d out", a, p, len(texts), len(got))
			}
		})
		if left := r.recordings(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// The machine answers accepted contacts of accounts that have a greeting and the role
// primary. All others have their calls declined, or not noticed at all.
func TestCall_NotAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(r *rig)
		missed  int
	}{
		"off": {func(*rig) {}, 1},
		"turned off": {func(r *rig) {
			r.greet(0, greeting("hello", second))
			r.greet(0, nil)
		}, 1},
		"another account": {func(r *rig) { r.greet(1, greeting("hello", second)) }, 1},
		"backup":          {func(r *rig) { r.role(store.RoleBackup) }, 1},
		"mirror":          {func(r *rig) { r.role(store.RoleMirror) }, 1},
		"blocked while it rings": {func(r *rig) {
			r.greet(0, greeting("hello", second))
			time.AfterFunc(10*time.Second+ring/2, func() {
				if _, err := r.Node.BlockContact(context.Background(), r.Accounts[0], r.Contact(0)); err != nil {
					r.t.Error(err)
				}
			})
		}, 0},
		"stranger": {func(r *rig) {
			r.greet(0, greeting("hello", second))
			if err := r.Node.RemoveContact(r.t.Context(), r.Accounts[0], r.Contact(0)); err != nil {
				r.t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.t = t
				test.prepare(r)
				virtual.Sleep(10 * time.Second)
				c := r.call(0, 0)
				virtual.Sleep(2 * ring)
				if c.Answered() || len(c.Heard()) > 0 {
					t.Error("the call was answered")
				}
				if name != "stranger" && !c.Over() {
					t.Error("the call was not declined")
				}
				r.check(0, 0, test.missed)
			})
		})
	}
}

func (r *rig) role(role store.Role) {
	r.greet(0, greeting("hello", second))
	if _, err := r.Node.SetRole(r.t.Context(), r.Accounts[0], role); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.Node.SetGreeting(r.t.Context(), r.Accounts[0], greeting("again", second)); !errors.Is(err, node.ErrAnsweringRole) {
		r.t.Errorf("a greeting in the role %v: %v", role, err)
	}
}

// The caller may hang up, or be gone, at any moment: what they have said until then is a
// message when it is long enough, the call is missed once, and the next one is answered.
func TestCall_EndsAtAnyMoment(t *testing.T) {
	const played = second
	for name, at := range map[string]time.Duration{
		"ringing": ring / 2, "as it is answered": ring, "greeting": ring + time.Second/2, "short message": ring + 1500*time.Millisecond,
		"message": ring + 5*time.Second,
	} {
		for how, end := range map[string]func(*testing.T, *phone.Call, *phone.Session){
			"hangs up": func(t *testing.T, c *phone.Call, _ *phone.Session) {
				if err := c.HangUp(); err != nil {
					t.Fatal(err)
				}
			},
			"is gone": func(_ *testing.T, _ *phone.Call, s *phone.Session) { s.Abort() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.greet(0, greeting("hello", played))
					key := phone.Key(r.Accounts[0])
					began := time.Now()
					c := r.call(0, 0)
					first := r.Phones[0].Session(key)
					says := voice("first", 10*second)
					var talk sync.WaitGroup
					talk.Go(func() {
						virtual.Sleep(ring + time.Millisecond)
						// A session that is gone refuses the rest.
						_ = c.Say(append([][]byte{phone.CallConfig()}, says...)...)
					})
					virtual.Sleep(time.Until(began.Add(at)))
					end(t, c, first)
					talk.Wait()
					virtual.Sleep(10 * time.Second)
					got := r.messages(0, 0)
					if wanted := name == "message"; (len(got) == 1) != wanted || len(got) > 1 {
						t.Fatalf("%d messages", len(got))
					}
					if len(got) == 1 {
						skipped := slices.IndexFunc(says, func(u []byte) bool { return bytes.Equal(u, got[0][0]) })
						if skipped < 0 || !slices.EqualFunc(got[0], says[skipped:skipped+len(got[0])], bytes.Equal) || len(got[0]) < 3*second {
							t.Errorf("a message of %d units, from unit %d on", len(got[0]), skipped)
						}
					}
					if left := r.recordings(); len(left) != 0 {
						t.Errorf("left: %v", left)
					}
					if n := r.missed(0, 0); n != 1 {
						t.Errorf("%d missed calls", n)
					}
					virtual.Sleep(time.Minute)
					c = r.answered(0)
					second := voice("second", 2*second)
					if err := errors.Join(c.Say(second...), c.HangUp()); err != nil {
						t.Fatal(err)
					}
					virtual.Sleep(5 * time.Second)
					r.check(0, 0, 2, append(got, second)...)
				})
			})
		}
	}
}

// A caller who never ends, one who floods, one who sends garbage, and one who is silent
// while their phone answers have a message that is bounded; then the machine hangs up.
func TestCall_Bounded(t *testing.T) {
	const most = 20 * time.Second
	limit := int(most/phone.CallUnit) + 1
	for name, test := range map[string]struct {
		say  func(t *testing.T, c *phone.Call)
		want func(units int) bool
	}{
		"never ends": {func(t *testing.T, c *phone.Call) {
			if err := c.Say(voice("long", 60*second)...); err != nil {
				t.Error(err)
			}
		}, func(n int) bool { return n > limit*9/10 && n <= limit }},
		"floods": {func(t *testing.T, c *phone.Call) {
			for _, u := range voice("flood", 5*limit) {
				if err := c.Send(u); err != nil {
					t.Error(err)
				}
			}
		}, func(n int) bool { return n > second && n <= limit }},
		"floods with large units": {func(t *testing.T, c *phone.Call) {
			for range 2 * limit {
				if err := c.Send(make([]byte, aac.MaxUnit)); err != nil {
					t.Error(err)
				}
			}
		}, func(n int) bool { return n*aac.MaxUnit <= 20*16_000 && n > second }},
		"sends garbage": {func(t *testing.T, c *phone.Call) {
			for range 100 {
				for _, data := range [][]byte{nil, bytes.Repeat([]byte{0xFF}, 100), make([]byte, 60_000)} {
					if err := c.Send(data); err != nil {
						t.Error(err)
					}
				}
			}
		}, func(n int) bool { return n == 0 }},
		"is silent": {func(*testing.T, *phone.Call) {}, func(n int) bool { return n == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(o *node.Options) { o.Answering.MaxMessage = most })
				r.greet(0, greeting("hello", second))
				c := r.answered(0)
				test.say(t, c)
				r.PhoneSays(0, 0, 10)
				virtual.Sleep(most + 2*time.Second)
				if !c.Over() {
					t.Error("the machine has not hung up")
				}
				units := 0
				for _, m := range r.messages(0, 0) {
					units += len(m)
				}
				if !test.want(units) {
					t.Errorf("%d units", units)
				}
				r.Settle(5 * time.Minute) // a flood is in the way of what follows it
				if calls, waiting := r.Node.Calls(); calls != 0 || waiting != 0 {
					t.Errorf("%d calls, %d recordings left", calls, waiting)
				}
			})
		})
	}
}

// A caller whose phone does not answer any more, though its pings arrive, is hung up on
// after the time of the apps.
func TestCall_CallerStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.greet(0, greeting("hello", second))
		c := r.answered(0)
		says := voice("stalls", 2*second)
		if err := c.Say(says...); err != nil {
			t.Fatal(err)
		}
		r.Phones[0].SetQuirks(phone.Quirks{NoPong: true})
		virtual.Sleep(3 * time.Second)
		if c.Over() {
			t.Error("the machine has hung up early")
		}
		virtual.Sleep(2 * time.Second)
		if !c.Over() {
			t.Error("the machine has not hung up")
		}
		r.Phones[0].SetQuirks(phone.Quirks{})
		virtual.Sleep(5 * time.Second)
		r.check(0, 0, 1, says)
	})
}

// The node stops in the middle of two calls: what was received is a message after the next
// start, once, also when its recording is found again.
func TestCall_NodeStops_MessageKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.greet(0, greeting("hello", second))
		var says [2][][]byte
		var talk sync.WaitGroup
		for p := range r.Phones {
			says[p] = voice(fmt.Sprint("phone ", p), 4*second)
			talk.Go(func() {
				if err := r.answered(p).Say(says[p]...); err != nil {
					t.Error(err)
				}
			})
		}
		talk.Wait()
		virtual.Sleep(1500 * time.Millisecond)
		copies := map[string][]byte{}
		for _, name := range r.recordings() {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			copies[name] = content
		}
		if len(copies) != 2 {
			t.Fatalf("%d recordings during two calls", len(copies))
		}
		r.Node.Stop()
		for range 2 {
			r.Node.Start()
			virtual.Sleep(30 * time.Second)
			for p := range r.Phones {
				r.check(0, p, 1, says[p])
			}
			if left := r.recordings(); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			r.Node.Stop()
			for name, content := range copies { // as if the process had died before it was removed
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestCheck(t *testing.T) {
	good := greeting("hello", second)
	got, err := answering.Check(good)
	if err != nil || !bytes.Equal(got.Audio, good) || got.Length.Round(10*time.Millisecond) != 1020*time.Millisecond {
		t.Errorf("%d bytes, %v, %v", len(got.Audio), got.Length, err)
	}
	for name, file := range map[string][]byte{
		"nothing":   nil,
		"text":      []byte("Please leave a message."),
		"too large": make([]byte, answering.MaxGreetingFile+1),
		"too long":  greeting("hello", 61*second),
		"cut":       good[:len(good)-1],
		"stereo":    aac.Audio{Config: aac.Config{Rate: 44_100, Channels: 2}, Units: voice("hello", second)}.AppendADTS(nil),
		"48 kHz":    aac.Audio{Config: aac.Config{Rate: 48_000, Channels: 1}, Units: voice("hello", second)}.AppendADTS(nil),
	} {
		if _, err := answering.Check(file); !errors.Is(err, answering.ErrGreeting) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
