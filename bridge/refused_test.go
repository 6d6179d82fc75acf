// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/bridgetest"
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
	var note id.EventID
	for _, event := range f.homeserver.Timeline(room) {
		if strings.Contains(string(event.Content), "cannot be shown in Matrix") {
			note = event.ID
		}
	}
	if _, err := f.alice.Matrix.SendMessageEvent(soon(t), room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "!mimir retry", RelatesTo: (&event.RelatesTo{}).SetReplyTo(note),
	}); err != nil {
		t.Fatal(err)
	}
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
