// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/changes"
	"github.com/mimird/mimird/actors/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	second = "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss"
	bob    = "alice-bob"
	carol  = "alice-carol"
	choir  = "group-alice-choir"
)

// screen is what is on the screen.
func (r *rig) screen() string { return r.View().String() }

func (r *rig) want(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.screen(), text) {
			t.Errorf("no %q on the screen:\n%s", text, r.screen())
		}
	}
}

func (r *rig) wantNot(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(r.screen(), text) {
			t.Errorf("%q on the screen:\n%s", text, r.screen())
		}
	}
}

func started(t *testing.T, prepare func(*fake)) *rig {
	t.Helper()
	f := newFake()
	if prepare != nil {
		prepare(f)
	}
	r := newRig(f)
	r.settle()
	return r
}

func TestModel_SendAndReceive(t *testing.T) {
	r := started(t, nil)
	r.want(t, "alice", "Bob", "Carol", "#Choir", "#Walkers", "online")
	r.press("enter", `"hello`, "enter")
	r.want(t, "you: hello ✓")
	r.f.add(alice, bob, "in", "hi there")
	r.f.add(alice, carol, "in", "are you there?")
	r.settle()
	r.want(t, "Bob: hi there", "(1)", "are you there?")
	if read := r.f.chat(alice, bob).read; read != 2 {
		t.Errorf("what is on the screen is read up to %d", read)
	}
	if read := r.f.chat(alice, carol).read; read != 0 {
		t.Errorf("another conversation is read up to %d", read)
	}
	r.tell(changed{alice, changesPresence(bob, true)})
	r.want(t, "Bob — online")
}

// changesPresence says that a contact has come or gone.
func changesPresence(contact string, online bool) control.Change {
	return control.Change{Kind: changes.Presence, Contact: contact, Online: online, LastSeen: noon}
}

func TestModel_DeliveryMarks(t *testing.T) {
	r := started(t, func(f *fake) {
		f.add(alice, bob, "out", "one")
		f.change(alice, bob, f.add(alice, bob, "out", "two").ID, store.MessageDelivered, func(m *control.Message) { m.State = "delivered" })
	})
	r.press("enter")
	r.want(t, "you: one …", "you: two ✓")
	first := r.f.chat(alice, bob).messages[0]
	r.f.change(alice, bob, first.ID, store.MessageFailed, func(m *control.Message) { m.State, m.Reason = "failed", "cancelled" })
	r.settle()
	r.want(t, "you: one ✗ not delivered: cancelled")
}

func TestModel_OpenedAtTheFirstUnread_ReadAsItIsScrolled(t *testing.T) {
	r := started(t, func(f *fake) {
		for i := range 300 {
			f.add(alice, bob, "in", fmt.Sprintf("message %d", i+1))
		}
		f.chat(alice, bob).read = 100
	})
	r.want(t, "(200)")
	r.press("enter")
	r.want(t, "── unread", "message 101")
	r.wantNot(t, "Bob: message 300")
	after := r.f.chat(alice, bob).read
	if after < 101 || after > 125 {
		t.Errorf("read up to %d at first", after)
	}
	r.press("pgdn")
	if now := r.f.chat(alice, bob).read; now <= after || now > 150 {
		t.Errorf("read up to %d one page later, %d before", now, after)
	}
	r.press("pgup", "pgup", "pgup")
	r.want(t, "Bob: message 70")
	r.press("ctrl+g")
	r.want(t, "message 300")
	if now := r.f.chat(alice, bob).read; now != 300 {
		t.Errorf("read up to %d at the end", now)
	}
	r.wantNot(t, "(1")
}

func TestModel_NothingReadYet_OpenedAtTheBeginning(t *testing.T) {
	r := started(t, func(f *fake) {
		for i := range 120 {
			f.add(alice, bob, "in", fmt.Sprintf("message %d.", i+1))
		}
	})
	r.press("enter")
	r.want(t, "── unread", "Bob: message 1.")
	if read := r.f.chat(alice, bob).read; read > 20 {
		t.Errorf("read up to %d", read)
	}
	for range 10 {
		r.press("pgdn")
	}
	r.want(t, "Bob: message 120.")
	if read := r.f.chat(alice, bob).read; read != 120 {
		t.Errorf("read up to %d at the end", read)
	}
}

func TestModel_AwayFromTheTerminal_NothingIsRead(t *testing.T) {
	r := started(t, nil)
	r.press("enter")
	r.tell(Focused(false))
	r.f.add(alice, bob, "in", "unseen")
	r.settle()
	r.want(t, "Bob: unseen", "(1)")
	if read := r.f.chat(alice, bob).read; read != 0 {
		t.Errorf("read up to %d", read)
	}
	r.tell(Focused(true))
	r.settle()
	if read := r.f.chat(alice, bob).read; read != 1 {
		t.Errorf("read up to %d", read)
	}
}

func TestModel_LongConversation_BoundedMemory(t *testing.T) {
	r := started(t, func(f *fake) {
		for i := range 600 {
			text := "short"
			if i%10 == 9 {
				text = strings.Repeat("long ", 4000)
			}
			f.add(alice, bob, "out", fmt.Sprintf("message %d. %s", i+1, text))
		}
	})
	most, bytes := 0, 0
	look := func() {
		most = max(most, len(r.win.rows))
		n := 0
		for _, row := range r.win.rows {
			n += len(row.Text)
		}
		bytes = max(bytes, n)
	}
	r.press("enter")
	for range 20 {
		r.press("up")
	}
	for i := 0; r.win.rows[0].Order > 1 && i < 100_000; i++ {
		r.press("up")
		look()
	}
	if r.win.rows[0].Order != 1 {
		t.Errorf("the first message is %d", r.win.rows[0].Order)
	}
	r.press("pgup", "pgup")
	for i := 0; r.win.selected != "" && i < 100_000; i++ {
		r.press("down")
		look()
	}
	r.want(t, "bytes more; press v to see all")
	if last := r.win.rows[len(r.win.rows)-1].Order; last != 600 {
		t.Errorf("the last message is %d", last)
	}
	if most > maxWindow || bytes > maxWindow*maxShown {
		t.Errorf("%d messages with %d bytes in memory", most, bytes)
	}
	r.press("up", "v")
	r.press("end")
	r.want(t, "long long")
	if n := len(r.over.message.Text); n < 20_000 {
		t.Errorf("the whole message has %d bytes", n)
	}
}

func TestModel_NodeGoesAway_NothingIsLost(t *testing.T) {
	for _, missed := range []bool{false, true} {
		t.Run(fmt.Sprint("missed ", missed), func(t *testing.T) {
			r := started(t, nil)
			r.press("enter", `"half a sen`)
			r.leaves()
			r.want(t, "no connection", "The node is not running; trying again in 1s.", "half a sen")
			r.press(`"tence`, "enter")
			r.want(t, "you: half a sentence", "not sent yet")
			r.press(`"more`)
			r.f.add(alice, bob, "in", "written meanwhile")
			r.returns(missed)
			r.settle()
			r.want(t, "online", "you: half a sentence ✓", "Bob: written meanwhile", "> more")
			r.wantNot(t, "not sent yet")
			if n := len(r.f.chat(alice, bob).messages); n != 2 {
				t.Errorf("%d messages, want 2", n)
			}
		})
	}
}

func TestModel_AnswerOfSendLost_SentOnce(t *testing.T) {
	r := started(t, nil)
	r.press("enter", `"once`)
	r.tell(Key("enter"))
	i := slices.IndexFunc(r.waiting, func(e Effect) bool { _, ok := e.(sendNext); return ok })
	e := r.waiting[i].(sendNext)
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.f.answer(e)                                         // the node has it
	r.tell(sent{e.what.source, context.DeadlineExceeded}) // the log is followed all the while
	r.want(t, "not sent yet", "The node has not answered in time.")
	r.settle()
	if n := len(r.f.chat(alice, bob).messages); n != 1 || len(r.outbox) != 0 {
		t.Errorf("%d messages, %d on their way", n, len(r.outbox))
	}
}

func TestModel_ListWithoutAnswer_AskedForAgain(t *testing.T) {
	r := started(t, nil)
	r.tell(gotChats{account: alice, err: context.DeadlineExceeded})
	r.want(t, "The node has not answered in time.")
	r.f.chat(alice, carol).Name = "Caroline"
	r.settle()
	r.want(t, "Caroline")
}

func TestModel_Refused_TextReturns(t *testing.T) {
	r := started(t, nil)
	r.press("enter", `"refuse this`, "enter")
	r.want(t, "> refuse this", "This text is refused.")
	r.press("ctrl+u", `"/file /tmp/a b.txt`, "alt+enter", `"refuse the file`, "enter")
	r.want(t, "> /file /tmp/a b.txt", "refuse the file")
}

func TestModel_Requests(t *testing.T) {
	prepare := func(f *fake) {
		for _, c := range f.chats[alice] {
			if c.Contact != nil {
				c.Contact.State, c.Contact.Request = "requested", "it is "+c.Name
			} else {
				c.Group.State = "invited"
			}
		}
	}
	for key, want := range map[string][]actKind{"a": {actAccept, actAccept, actJoin, actJoin}, "d": {actDecline, actDecline, actRefuse, actRefuse}} {
		r := started(t, prepare)
		r.want(t, "(!)", "asks to be your co…", "invites you")
		for i, kind := range want {
			r.press("home")
			for range i {
				r.press("down")
			}
			r.press(`"` + key)
			if kind == actDecline || kind == actRefuse {
				if len(r.f.acts) != i {
					t.Fatal("declined without a question")
				}
				r.press(`"y`)
			}
			if len(r.f.acts) != i+1 || r.f.acts[i].kind != kind || r.f.acts[i].chat != r.f.chats[alice][i].ID {
				t.Fatalf("%s: %+v", key, r.f.acts)
			}
		}
	}
	r := started(t, prepare)
	r.press("enter")
	r.want(t, "Press a to accept, d to", "“it is Bob”")
	r.press(`"hello`, "enter") // h, e, l, o do nothing
	if n := len(r.f.chat(alice, bob).messages) + len(r.f.acts); n > 0 {
		t.Error("something was done")
	}
	r.press(`"a`)
	if len(r.f.acts) != 1 || r.f.acts[0].kind != actAccept {
		t.Errorf("%+v", r.f.acts)
	}
}

func TestModel_MessageKeys(t *testing.T) {
	r := started(t, func(f *fake) {
		f.add(alice, choir, "in", "first of the choir")
		f.add(alice, choir, "in", "second of the choir")
		f.add(alice, bob, "in", "of Bob")
		waiting := f.add(alice, bob, "out", "not yet")
		f.change(alice, bob, waiting.ID, store.MessageQueued, func(m *control.Message) { m.State = "pending" })
	})
	r.opens(choir)
	r.press("up", "up")
	r.want(t, "r reply")
	r.press("r")
	r.want(t, "> Dora: first of the choir")
	r.press(`"indeed`, "enter")
	messages := r.f.chat(alice, choir).messages
	if last := messages[len(messages)-1]; last.ReplyTo != messages[0].GUID {
		t.Errorf("%+v is not a reply to the first", last)
	}
	r.press("up", "up", "e", `"3`)
	r.press("up", "e", `"🎻`, "enter")
	r.press("up", "e", `"0`)
	r.press("up", "d")
	r.want(t, "Delete this message for everybody? (y/n)")
	r.press(`"y`)
	r.opens(bob)
	r.press("up", "d")
	r.want(t, "Do not send this message? (y/n)")
	r.press(`"n`)
	r.press("d", `"y`)
	r.press("up", "d")
	r.want(t, "cannot be taken back")
	r.press("s")
	r.want(t, "This message has no file.")
	var have []string
	for _, a := range r.f.acts {
		have = append(have, fmt.Sprintf("%d %s %s", a.kind, a.chat, a.text))
	}
	want := []string{"0 group-alice-choir 😂", "0 group-alice-choir 🎻", "0 group-alice-choir ", "2 group-alice-choir ", "1 alice-bob "}
	if !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}

func TestModel_Reactions_AreShown(t *testing.T) {
	r := started(t, func(f *fake) { f.add(alice, bob, "out", "good news") })
	r.press("enter")
	r.f.react(alice, bob, r.f.chat(alice, bob).messages[0], "🎉")
	r.settle()
	r.want(t, "[🎉 Bob]")
	r.f.change(alice, bob, r.f.chat(alice, bob).messages[0].ID, store.MessageDelivered, func(m *control.Message) { m.State = "delivered" })
	r.settle()
	r.want(t, "[🎉 Bob]", "good news ✓")
}

func TestModel_Files(t *testing.T) {
	r := started(t, func(f *fake) {
		for _, file := range []control.File{
			{Name: "cat.png", Picture: true, Caption: "my cat", State: "stored"},
			{Name: "x.m4a", Voice: true, State: "offered"},
		} {
			m := f.add(alice, bob, "in", "")
			f.change(alice, bob, m.ID, store.MediaChanged, func(m *control.Message) { m.TypeName, m.File = "file", &file })
		}
	})
	r.press("enter")
	r.want(t, "Bob: [picture cat.png] my cat", "Bob: [voice message, 12 KiB] (not fetched yet)")
	r.press("up", "s")
	r.want(t, "press s again when it is here")
	r.press("up", "s")
	r.want(t, "Save as: safe-cat.png")
	r.press("enter")
	r.want(t, "Saved as safe-cat.png.")
	r.press("esc", `"/file '/home/a/my file.pdf'`, "alt+enter", `"see page 3`, "enter")
	r.want(t, "you: [file /home/a/my file.pdf] see page 3 ✓")
	r.press(`"/file`, "enter")
	r.want(t, "Name the file after /file", "> /file")
	for in, want := range map[string]string{` a\ b `: "a b", `"q r"`: "q r", "'x": "'x", "": ""} {
		if have := pathOf(in); have != want {
			t.Errorf("path of %q is %q, want %q", in, have, want)
		}
	}
}

func TestModel_Commands(t *testing.T) {
	r := started(t, func(f *fake) {
		f.add(alice, bob, "in", "needle in the hay")
		f.add(alice, choir, "in", "another needle")
	})
	r.press("enter", `"/xyzzy`, "enter")
	r.want(t, "There is no command /xyzzy", "> /xyzzy")
	r.press("ctrl+u", `"//me waves`, "enter")
	r.want(t, "you: /me waves ✓")
	r.press(`"/members`, "enter")
	r.want(t, "Only groups have members.")
	r.press(`"/search needle`, "enter")
	r.want(t, "Bob: needle in the hay", "Dora in Choir: another needle")
	r.press("down", "enter")
	r.want(t, "Choir — group", "Dora: another needle")
	if r.win.selected != r.f.chat(alice, choir).messages[0].ID {
		t.Errorf("%q is selected", r.win.selected)
	}
	r.press("esc", `"/members`, "enter")
	r.want(t, "Members of Choir", "Dora  owner, online", "01234567  user")
	r.wantNot(t, "Eve")
	r.press("esc", `"/help`, "enter")
	r.want(t, "Ctrl+N, Ctrl+P")
	r.press("esc", "ctrl+f", `"walk`, "enter")
	r.want(t, "group Walkers")
	r.press("enter")
	r.want(t, "Walkers — group")
	r.press(`"/quit`, "enter")
	if !r.ended {
		t.Error("/quit does not quit")
	}
}

func TestModel_Quit_AsksBeforeSomethingIsLost(t *testing.T) {
	r := started(t, nil)
	r.press("enter", `"draft`, "ctrl+c")
	r.want(t, "There is text in the composer of 1 conversation. Quit, and lose it? (y/n)")
	r.press(`"n`)
	r.want(t, "> draft")
	r.leaves()
	r.press("enter", "ctrl+c")
	r.want(t, "The node does not have 1 message of yours yet. Quit, and lose it? (y/n)")
	if r.ended {
		t.Error("ended without an answer")
	}
	r.press(`"y`)
	if !r.ended {
		t.Error("not ended")
	}
}

func TestModel_TwoAccounts(t *testing.T) {
	r := started(t, func(f *fake) {
		f.add(second, "second-bob", "in", "to the second account")
	})
	r.press("enter", `"draft of alice`, "ctrl+o")
	r.want(t, "Accounts", "alice", "second")
	r.press("down", "enter")
	r.want(t, "mimird  second", "to the second acco…")
	r.wantNot(t, "draft of alice")
	r.press("enter", `"from the second`, "enter")
	r.want(t, "you: from the second ✓")
	if n := len(r.f.chat(alice, bob).messages); n != 0 {
		t.Errorf("alice has sent %d messages", n)
	}
	// What is for the account before is passed over.
	r.tell(happened{alice, control.Event{Kind: "message_received", Contact: bob, Message: &control.Message{ID: "i1", Order: 9, Text: "late"}}})
	r.settle()
	r.press("ctrl+o", "up", "enter", "enter")
	r.want(t, "mimird  alice", "> draft of alice")
}

func TestModel_ConversationsComeAndGo(t *testing.T) {
	r := started(t, nil)
	r.opens(bob)
	chats := r.f.chats[alice]
	chats[2].Group.Became = "group-other" // a creation that is a group now
	r.f.chats[alice] = slices.Delete(chats, 0, 1)
	r.f.logs[alice] = append(r.f.logs[alice],
		control.Event{Seq: 1, Kind: store.ContactRemoved.String(), Contact: bob}, control.Event{Seq: 2, Kind: store.GroupChanged.String(), Group: choir})
	r.settle()
	r.want(t, "Carol", "#Walkers", "This conversation was removed.")
	r.wantNot(t, "Bob ", "#Choir")
	r.press(`"nobody`, "enter")
	r.f.add(alice, carol, "in", "back to the top")
	r.settle()
	if r.chats[0].ID != carol || len(r.chats) != 2 {
		t.Errorf("%d conversations, first %s", len(r.chats), r.chats[0].ID)
	}
}

func TestModel_MultilinePaste(t *testing.T) {
	r := started(t, nil)
	r.press("enter")
	r.tell(Pasted("one\r\ntwo\n\x1b[31mthree\x07\ttab"))
	r.want(t, "> one", "two", "[31mthree")
	if n := len(r.f.chat(alice, bob).messages); n != 0 {
		t.Fatal("a paste sends")
	}
	r.press("enter")
	if text := r.f.chat(alice, bob).messages[0].Text; text != "one\ntwo\n[31mthree\ttab" {
		t.Errorf("sent %q", text)
	}
	r.tell(Pasted(strings.Repeat("x", maxText+5)))
	r.want(t, "A message has at most 1 MiB")
	if n := len(r.draft().text); n != maxText {
		t.Errorf("%d bytes in the composer", n)
	}
}

// Whatever arrives in whatever order, with the node going away and coming back: nothing
// that was written is lost or sent twice, memory is bounded, only printable characters are
// on the screen, and in the end the screen shows what the node has.
func TestModel_AnyOrder(t *testing.T) {
	keys := []string{
		"enter", "enter", "up", "down", "left", "tab", "esc", "pgup", "pgdn", "home", "end", "ctrl+n", "ctrl+p", "ctrl+g", "ctrl+f", "ctrl+o",
		"f1", "backspace", "alt+enter", "ctrl+w", "r", "e", "v", "d", "s", "ctrl+l", "ctrl+z",
	}
	rapid.Check(t, func(t *rapid.T) {
		f := newFake()
		f.large = rapid.Bool().Draw(t, "large")
		for range rapid.SampledFrom([]int{0, 1, 30, 60, 260}).Draw(t, "messages") {
			f.add(alice, bob, "in", "old")
		}
		r := newRig(f)
		texts := 0
		t.Repeat(map[string]func(*rapid.T){
			"key": func(t *rapid.T) { r.tell(Key(rapid.SampledFrom(keys).Draw(t, "key"))) },
			"type": func(t *rapid.T) {
				r.tell(Typed(rapid.SampledFrom([]string{"a", "y", "n", "/", " ", "é", "1", "🎉"}).Draw(t, "text")))
			},
			"write": func(t *rapid.T) {
				if r.win.chat == "" || r.focus != onComposer || r.over.kind != overNone || r.draft().text != "" {
					t.Skip()
				}
				texts++
				r.tell(Pasted(fmt.Sprintf("written %d.", texts)))
				r.tell(Key("enter"))
			},
			"answer": func(t *rapid.T) {
				if len(r.waiting) == 0 {
					t.Skip()
				}
				r.answerOne(rapid.IntRange(0, len(r.waiting)-1).Draw(t, "which"))
			},
			"event": func(*rapid.T) { r.tellEvent() },
			"resize": func(t *rapid.T) {
				r.tell(Resized{rapid.IntRange(1, 120).Draw(t, "width"), rapid.IntRange(1, 40).Draw(t, "height")})
			},
			"message": func(t *rapid.T) {
				f.add(alice, rapid.SampledFrom([]string{bob, carol, choir}).Draw(t, "chat"), "in", rapid.String().Draw(t, "text"))
			},
			"react": func(t *rapid.T) {
				if messages := f.chat(alice, bob).messages; len(messages) > 0 {
					f.react(alice, bob, messages[len(messages)-1], rapid.SampledFrom([]string{"👍", "", "\x1b[2J"}).Draw(t, "emoji"))
				}
			},
			"away": func(t *rapid.T) {
				if f.away || r.followed == "" {
					t.Skip()
				}
				r.leaves()
			},
			"back": func(t *rapid.T) {
				if !f.away {
					t.Skip()
				}
				r.returns(rapid.Bool().Draw(t, "missed"))
			},
			"": func(t *rapid.T) {
				if n := len(r.win.rows); n > maxWindow {
					t.Fatalf("%d messages in memory", n)
				}
				checkCanvas(t, r.View())
			},
		})
		if f.away {
			r.returns(false)
		}
		r.tell(Resized{100, 30})
		r.settle()
		if r.account != alice {
			return // an account was chosen whose conversations are empty
		}
		r.over, r.notice = overlay{}, ""
		r.openChat(bob)
		r.tell(Key("ctrl+g"))
		r.settle()
		var want, have []string
		for _, m := range f.chat(alice, bob).messages {
			if m.Reaction == nil {
				want = append(want, m.ID)
			}
		}
		for _, row := range r.win.rows {
			have = append(have, row.ID)
		}
		if n := min(20, len(want)); len(have) < n || !slices.Equal(have[len(have)-n:], want[len(want)-n:]) {
			t.Fatalf("have the messages %v, want %v", have, want)
		}
		if len(r.outbox) > 0 {
			t.Fatalf("not sent: %+v", r.outbox)
		}
		checkWritten(t, r, texts)
	})
}

// checkWritten counts what was written: each text is once at the node.
func checkWritten(t *rapid.T, r *rig, texts int) {
	for i := range texts {
		text, n := fmt.Sprintf("written %d.", i+1), 0
		for _, chats := range r.f.chats {
			for _, c := range chats {
				for _, m := range c.messages {
					if m.Direction == "out" && strings.HasSuffix(m.Text, text) {
						n++
					}
				}
			}
		}
		if n != 1 {
			t.Fatalf("%q was sent %d times", text, n)
		}
	}
}

// checkCanvas fails when something is on the screen that is not one printable character in
// one or two columns.
func checkCanvas(t interface{ Fatalf(string, ...any) }, c *Canvas) {
	for y := range c.Height {
		for x := 0; x < c.Width; x++ {
			cell := c.At(x, y)
			if cell.Text == "" {
				t.Fatalf("half a character at %d, %d", x, y)
			}
			for _, r := range cell.Text {
				if r != zwj && !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) {
					t.Fatalf("%q at %d, %d", cell.Text, x, y)
				}
			}
			if _, width := character(cell.Text); width == 2 {
				if x++; x == c.Width || c.At(x, y).Text != "" {
					t.Fatalf("%q at the edge or covered at %d, %d", cell.Text, x, y)
				}
			} else if width != 1 {
				t.Fatalf("%q has the width %d", cell.Text, width)
			}
		}
	}
}
