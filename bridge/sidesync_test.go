// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// awaitGivenUp waits until a message is in the outbox no longer.
func (w *world) awaitGivenUp(f func() []store.Message, text string) {
	w.t.Helper()
	w.await(text+" is given up", func() bool {
		for _, m := range f() {
			if string(m.Payload) == text {
				return m.State == store.StateFailed
			}
		}
		return false
	})
}

// refusals counts how often the bot has refused a deletion in a room.
func (w *world) refusals(who *bridgetest.Client, room id.RoomID) (n int) {
	w.t.Helper()
	for _, said := range w.texts(who, room, w.bot()) {
		if strings.Contains(said, "Mimir has no deletions") {
			n++
		}
	}
	return n
}

// Dendrite does not tell bridges of redactions.
func TestDendrite_RedactionsFetched(t *testing.T) {
	r := newReal(t)
	bob := r.node.addContact(r.account, "Bob")
	r.node.receive(r.account, bob, "hello")
	room := r.awaitText(r.alice, r.ghost(bob), "hello")
	write := func(text string) id.EventID {
		sent, err := r.alice.SendText(soon(t), room, text)
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	redact := func(evt id.EventID) {
		r.await("Dendrite redacts, which it may fail to do while it is busy", func() bool {
			_, err := r.alice.Matrix.RedactEvent(soon(t), room, evt)
			return err == nil
		})
	}
	sent := []id.EventID{write("one"), write("two"), write("three")}
	r.awaitOutgoing(r.account, bob, "one", "two", "three")
	outgoing := func() []store.Message { return r.node.outgoing(r.account, bob) }
	redact(sent[0])
	r.awaitGivenUp(outgoing, "one")

	// Also one that was sent while the bridge was away, or before it noted that it
	// has seen it.
	r.stop()
	redact(sent[1])
	r.start()
	r.awaitGivenUp(outgoing, "two")

	// What the contact has already is answered, once.
	r.node.acknowledge(r.account, bob, outgoing()[2].ID)
	redact(sent[2])
	r.await("the bot answers", func() bool { return r.refusals(r.alice, room) > 0 })
	r.stop()
	r.start()
	write("four")
	r.awaitOutgoing(r.account, bob, "one", "two", "three", "four")
	if n := r.refusals(r.alice, room); n != 1 {
		t.Errorf("the bot answers %d times", n)
	}
}

// delivered writes the first text of a conversation, which the contact acknowledges.
func (f *fixture) delivered(contact identity.PublicKey, room id.RoomID, text string) id.EventID {
	f.t.Helper()
	f.write(room, text)
	f.awaitOutgoing(f.account, contact, text)
	f.node.acknowledge(f.account, contact, f.node.outgoing(f.account, contact)[0].ID)
	evt, err := f.alice.WaitText(soon(f.t), room, f.alice.UserID(), text)
	if err != nil {
		f.t.Fatal(err)
	}
	return evt.ID
}

// The fake homeserver pushes redactions, and its /sync has them too.
func TestRedaction_PushedAndFetched_HandledOnce(t *testing.T) {
	f := newFixtureWith(t, func(c *matrixconfig.Config) { c.Homeserver.SideSync = matrixconfig.SideSyncAlways })
	bob, room := f.conversation("Bob")
	evt := f.delivered(bob, room, "to be deleted")
	if _, err := f.alice.Matrix.RedactEvent(soon(t), room, evt); err != nil {
		t.Fatal(err)
	}
	f.await("the bot answers", func() bool { return f.refusals(f.alice, room) > 0 })
	f.write(room, "after")
	f.awaitOutgoing(f.account, bob, "to be deleted", "after")
	f.stop()
	f.start()
	f.write(room, "at the end")
	f.awaitOutgoing(f.account, bob, "to be deleted", "after", "at the end")
	if n := f.refusals(f.alice, room); n != 1 {
		t.Errorf("the bot answers %d times", n)
	}
}

// Bar R17
func TestInboundHealth_Unreachable_Told(t *testing.T) {
	w := newWorld(t)
	w.unreachable = 50 * time.Millisecond
	w.config.Bridge.BridgeStatusNotices = "all"
	homeserver := w.withFake()
	w.node.addAccount("Alice")
	homeserver.CreateUser("alice", "long-secret")
	w.start()
	w.awaitState(bridge.StateRunning)
	alice := w.person(homeserver.URL(), "alice")
	management := w.attach(alice)
	homeserver.SetPushing(false)
	_, err := alice.SendText(soon(t), management, "anything")
	if err != nil {
		t.Fatal(err)
	}
	bob := w.node.addContact(key("Alice"), "Bob")
	w.node.receive(key("Alice"), bob, "hello")
	w.await("the bridge knows that it is unreachable", func() bool {
		status := w.status()
		return status.State == bridge.StateDegraded && strings.Contains(status.Listener.Error, "does not send the bridge the events of its rooms")
	})
	w.said(alice, management, "does not reach the bridge")
	homeserver.SetPushing(true)
	w.awaitState(bridge.StateRunning)
	if _, err := alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID == management && evt.Sender == w.bot() && evt.Type == event.EventMessage
	}); err != nil {
		t.Error(err)
	}
}

// While many messages are shown, the homeserver is not asked for news after each of
// them, and a redaction is found all the same.
func TestSideSync_Backlog_Yields(t *testing.T) {
	f := newFixtureWith(t, func(c *matrixconfig.Config) { c.Homeserver.SideSync = matrixconfig.SideSyncAlways })
	bob, room := f.conversation("Bob")
	evt := f.delivered(bob, room, "to be deleted")
	var asked atomic.Int32
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown, Only: func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/sync") && strings.Contains(r.URL.RawQuery, "m.room.redaction") {
			asked.Add(1)
		}
		return false
	}})
	f.homeserver.SetPushing(false) // it comes from /sync alone
	f.homeserver.SetSlow(room, 20*time.Millisecond)
	texts := numbered("text", 120)
	begun := time.Now()
	f.node.receive(f.account, bob, texts...)
	f.await("the backlog has begun", func() bool { return len(f.shown(room)) > backlogBegun })
	if _, err := f.alice.Matrix.RedactEvent(soon(t), room, evt); err != nil {
		t.Fatal(err)
	}
	f.await("the bot answers", func() bool { return f.refusals(f.alice, room) > 0 })
	f.awaitShown(room, append([]string{"I am Bob"}, texts...)...)
	// One is answered, and one is sent each second; 120 at once without all this.
	if n, most := asked.Load(), 20+int32(time.Since(begun)/time.Second); n > most {
		t.Errorf("the homeserver was asked for news %d times, want at most %d", n, most)
	}
}

// backlogBegun is more messages than those before a backlog is noticed.
const backlogBegun = 10
