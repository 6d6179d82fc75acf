// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
)

// sendsOf returns the attempts to show a message.
func (f *fixture) sendsOf(text string) []bridgetest.Send {
	return slices.DeleteFunc(f.homeserver.Sends(), func(send bridgetest.Send) bool {
		return send.Type != "m.room.message" || !strings.Contains(string(send.Content), text)
	})
}

func TestMessage_Retried_SameTransaction(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
	f.node.receive(f.account, bob, "first", "second")
	f.await("the first was tried", func() bool { return len(f.sendsOf("first")) > 0 })
	f.homeserver.SetFault(bridgetest.Fault{})
	f.awaitShown(room, "I am Bob", "first", "second")
	first, second := f.sendsOf("first"), f.sendsOf("second")
	for _, send := range first {
		if send.TxnID != first[0].TxnID || !strings.HasPrefix(send.TxnID, "mimird-") {
			t.Errorf("tried under %s and %s", first[0].TxnID, send.TxnID)
		}
	}
	if second[0].TxnID == first[0].TxnID {
		t.Error("two messages have one transaction id")
	}
}

// The homeserver has the event, we do not know, and it has forgotten the
// transaction: in this process, and after this process was killed.
//
// Bar R01
func TestMessage_TransactionForgotten_ShownOnce(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			f := newFixture(t)
			bob, room := f.conversation("Bob")
			f.node.receive(f.account, bob, "before")
			f.awaitShown(room, "I am Bob", "before")
			f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
			f.node.receive(f.account, bob, "in doubt", "after")
			f.await("it is in the room", func() bool { return slices.Contains(f.shown(room), "in doubt") })
			if killed {
				f.stop()
			}
			// What others say meanwhile does not hide it.
			for i := range 110 {
				if _, err := f.alice.SendText(soon(t), room, fmt.Sprintf("noise %d", i)); err == nil {
					continue // the answer is lost to alice too
				}
			}
			f.homeserver.ForgetTransactions()
			f.homeserver.SetFault(bridgetest.Fault{})
			if killed {
				f.start()
			}
			f.awaitShown(room, "I am Bob", "before", "in doubt", "after")
			if n := len(f.sendsOf("in doubt")); n > 1 && killed {
				t.Errorf("sent %d times", n)
			}
			// The row was written: it can be replied to, and is known to be shown.
			f.node.accept(store.AcceptMessage{
				Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("reply"), ReplyTo: f.guidOf(bob, "in doubt"),
			})
			f.await("the reply is shown", func() bool { return slices.Contains(f.shown(room), "reply") })
			if reply := f.sendsOf("reply")[0]; !strings.Contains(string(reply.Content), string(f.eventOf(room, "in doubt"))) {
				t.Errorf("the reply does not point to the event: %s", reply.Content)
			}
		})
	}
}

// The node and the homeserver were killed together. The homeserver has the event,
// has forgotten the transaction, and does not list the event at once.
//
// Bar R01
func TestMessage_ListedLate_ShownOnce(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
	f.node.receive(f.account, bob, "in doubt", "after")
	f.await("it is in the room", func() bool { return slices.Contains(f.shown(room), "in doubt") })
	f.stop()
	f.homeserver.ForgetTransactions()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.homeserver.LagListings(20)
	f.start()
	f.awaitShown(room, "I am Bob", "in doubt", "after")
	if n := len(f.sendsOf("in doubt")); n > 1 {
		t.Errorf("sent %d times", n)
	}
}

// The same, but what the homeserver had taken comes to light only when the message
// was sent again, behind what came next: the second event is taken back.
//
// Bar R01
func TestMessage_AppearsLate_ShownOnce(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: func(r *http.Request) bool {
		return bridgetest.MessagesOnly(r) || strings.HasSuffix(r.URL.Path, "/messages")
	}})
	f.node.receive(f.account, bob, "in doubt", "after")
	f.await("it is in the room", func() bool { return slices.Contains(f.shown(room), "in doubt") })
	f.stop()
	appear := f.homeserver.Withhold()
	f.homeserver.ForgetTransactions()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.start()
	f.awaitShown(room, "I am Bob", "in doubt", "after")
	second := f.eventOf(room, "in doubt")
	appear()
	f.await("a redaction", func() bool {
		return slices.ContainsFunc(f.homeserver.Timeline(room), func(e bridgetest.Event) bool { return e.Type == "m.room.redaction" })
	})
	f.awaitShown(room, "I am Bob", "in doubt", "after")
	if have := f.eventOf(room, "in doubt"); have != second {
		t.Errorf("%s is left, not %s, which replies refer to", have, second)
	}
}

// The same, but it comes to light while it is not known yet that the message was sent
// again: whether the bridge lives on then or is killed, one event is left.
//
// Bar R01
func TestMessage_TwoEventsBeforeRow_ShownOnce(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			f := newFixture(t)
			bob, room := f.conversation("Bob")
			unread := bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: func(r *http.Request) bool {
				return bridgetest.MessagesOnly(r) || strings.HasSuffix(r.URL.Path, "/messages")
			}}
			shown := func(want ...string) func() bool {
				return func() bool { return slices.Equal(f.bodies(room, "in doubt", "after"), want) }
			}
			f.homeserver.SetFault(unread)
			f.node.receive(f.account, bob, "in doubt", "after")
			f.await("it is in the room", shown("in doubt"))
			f.stop()
			appear := f.homeserver.Withhold()
			f.homeserver.ForgetTransactions()
			// The room can be looked at until the message is sent again, and no longer.
			var sent atomic.Bool
			f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: func(r *http.Request) bool {
				if bridgetest.MessagesOnly(r) && strings.Contains(r.URL.Path, string(room)) {
					sent.Store(true)
				}
				return sent.Load() && unread.Only(r)
			}})
			f.start()
			f.await("it is in the room again", shown("in doubt"))
			appear()
			if _, err := f.alice.SendText(soon(t), room, "I write"); err == nil {
				t.Error("alice got an answer")
			}
			f.await("the bridge has seen all of it", func() bool { return len(f.node.outgoing(f.account, bob)) == 1 })
			f.await("it is there twice", shown("in doubt", "in doubt"))
			if killed {
				f.stop()
				f.homeserver.ForgetTransactions()
			}
			f.homeserver.SetFault(bridgetest.Fault{})
			if killed {
				f.start()
			}
			f.await("one is left", shown("in doubt", "after"))
		})
	}
}

// bodies returns those of some texts that a room shows, each as often as it does.
func (f *fixture) bodies(room id.RoomID, texts ...string) (shown []string) {
	for _, evt := range f.homeserver.Timeline(room) {
		var content struct {
			Body string `json:"body"`
		}
		if json.Unmarshal(evt.Content, &content) == nil && slices.Contains(texts, content.Body) {
			shown = append(shown, content.Body)
		}
	}
	return shown
}

func (f *fixture) guidOf(contact [32]byte, text string) int64 {
	f.t.Helper()
	messages, err := f.node.Messages(f.account, contact, 0, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range messages {
		if string(m.Payload) == text {
			return m.ID.GUID
		}
	}
	f.t.Fatalf("no message %q", text)
	return 0
}

func (f *fixture) eventOf(room id.RoomID, text string) id.EventID {
	f.t.Helper()
	for _, event := range f.homeserver.Timeline(room) {
		if strings.Contains(string(event.Content), `"`+text+`"`) {
			return event.ID
		}
	}
	f.t.Fatalf("no event %q", text)
	return ""
}

// Bar R02
func TestStop_EverythingDrained(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	const n = 15
	for round := range 5 {
		if round%2 == 0 {
			f.stop()
		}
		for i := range n {
			f.node.receive(f.account, bob, fmt.Sprintf("in %d/%d", round, i))
			if _, err := f.alice.SendText(soon(t), room, fmt.Sprintf("out %d/%d", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 0 {
			f.start()
		} else { // in the middle of it
			f.stop()
			f.start()
		}
	}
	shown, sent := []string{"I am Bob"}, []string(nil)
	for round := range 5 {
		shown = append(shown, numbered(fmt.Sprintf("in %d/", round), n)...)
		sent = append(sent, numbered(fmt.Sprintf("out %d/", round), n)...)
	}
	for _, texts := range [][]string{shown, sent} {
		for i := range texts {
			texts[i] = strings.Replace(texts[i], "/ ", "/", 1)
		}
	}
	f.awaitOutgoing(f.account, bob, sent...)
	f.awaitShown(room, shown...)
	f.awaitState(bridge.StateRunning)
	f.await("nothing is left", func() bool {
		status := f.status()
		return status.Transactions == 0 && status.Conversations == 0
	})
}

func TestMessage_ManyParts_CompletedAfterFailure(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	text := strings.Repeat("words and more words\n", 6000) // three parts
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
	f.node.receive(f.account, bob, text, "next")
	f.await("the first part is there", func() bool { return len(f.shown(room)) == 2 })
	f.stop()
	f.homeserver.ForgetTransactions()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.start()
	f.await("all is shown", func() bool { return slices.Contains(f.shown(room), "next") })
	have := f.shown(room)
	if len(have) != 6 {
		t.Errorf("%d events, want 6", len(have))
	}
	if joined := strings.Join(have[1:len(have)-1], "\n") + "\n"; joined != text && joined != text+"\n" {
		t.Errorf("the parts make %d bytes of %d", len(joined), len(text))
	}
}
