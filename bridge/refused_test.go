// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// Bar S16
func TestRefusal_Message_OthersDelivered(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.RefuseText("poison")
	f.node.receive(f.account, bob, "before", "poison", "after")
	f.await("the next one is shown", func() bool { return slices.Contains(f.shown(room), "after") })
	shown := f.shown(room)
	if len(shown) != 4 || shown[1] != "before" || !strings.Contains(shown[2], "cannot be shown in Matrix") {
		t.Errorf("the room shows %q", shown)
	}
	if n := len(f.sendsOf("poison")); n != 3 {
		t.Errorf("it was tried %d times", n)
	}
	// It can be shown later, in place of the notice.
	f.homeserver.RefuseText()
	f.retryNotice(room)
	f.await("the message is shown in place of the notice", func() bool {
		timeline := f.homeserver.Timeline(room)
		has := func(text string) bool {
			return slices.ContainsFunc(timeline, func(e bridgetest.Event) bool { return strings.Contains(string(e.Content), text) })
		}
		return has("poison") && !has("cannot be shown")
	})
	// A homeserver that takes nothing is waited for.
	f.homeserver.RefuseText("body")
	f.node.receive(f.account, bob, "later", "at last")
	f.await("it fails", func() bool { return len(f.failing()) == 1 })
	f.homeserver.RefuseText()
	f.await("the next one is shown", func() bool { return slices.Contains(f.shown(room), "at last") })
}

// noticesIn returns the notices in place of messages that a room has.
func (f *fixture) noticesIn(room id.RoomID) (notices []id.EventID) {
	for _, event := range f.homeserver.Timeline(room) {
		if strings.Contains(string(event.Content), "cannot be shown in Matrix") {
			notices = append(notices, event.ID)
		}
	}
	return notices
}

// retryNotice says retry as a reply to the notice in place of a message.
func (f *fixture) retryNotice(room id.RoomID) (notice id.EventID) {
	f.t.Helper()
	notices := f.noticesIn(room)
	if len(notices) != 1 {
		f.t.Fatalf("the room has %d notices, want 1", len(notices))
	}
	if _, err := f.alice.Matrix.SendMessageEvent(soon(f.t), room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "!mimir retry", RelatesTo: (&event.RelatesTo{}).SetReplyTo(notices[0]),
	}); err != nil {
		f.t.Fatal(err)
	}
	return notices[0]
}

// unreadableNode panics whenever it is asked for a file.
type unreadableNode struct {
	bridge.Node
	panics atomic.Bool
}

func (n *unreadableNode) MediaState(account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error) {
	if n.panics.Load() {
		panic("the test says no")
	}
	return n.Node.MediaState(account, contact, id)
}

// A message whose conversion panics is a notice, and still one after it was retried: it
// neither disappears nor holds up what comes after it.
func TestRetry_ConversionPanics_NoticeStays(t *testing.T) {
	f := newFixture(t)
	node := &unreadableNode{Node: f.node}
	node.panics.Store(true)
	f.stop()
	f.facing = node
	f.start()
	for _, name := range []string{"Bob", "Carol"} {
		contact, room := f.conversation(name)
		f.node.arrive(f.node.offer(f.account, contact, transfer.Info{Name: "plan.txt", MIMEType: "text/plain"}), store.MediaStored, []byte("a plan"))
		f.node.receive(f.account, contact, "after it")
		f.await("the next one is shown", func() bool { return slices.Contains(f.shown(room), "after it") })
		old := f.retryNotice(room)
		f.await("another notice", func() bool { n := f.noticesIn(room); return len(n) == 1 && n[0] != old })
		f.node.receive(f.account, contact, "and again")
		f.await("the next one is shown", func() bool { return slices.Contains(f.shown(room), "and again") })
		node.panics.Store(false)
		f.retryNotice(room)
		f.await("the notice is taken back", func() bool { return len(f.noticesIn(room)) == 0 })
		if shown := f.shown(room); !slices.Contains(shown, "plan.txt") {
			t.Errorf("the room shows %q", shown)
		}
		node.panics.Store(true)
	}
}
