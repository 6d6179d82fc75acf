// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"strings"
	"testing"
)

// Bar S16
func TestMessageThatTheHomeserverRefusesHoldsNothingUp(t *testing.T) {
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
	// A homeserver that takes nothing is waited for.
	f.homeserver.RefuseText("body")
	f.node.receive(f.account, bob, "later", "at last")
	f.await("it fails", func() bool { return len(f.failing()) == 1 })
	f.homeserver.RefuseText()
	f.await("the next one is shown", func() bool { return slices.Contains(f.shown(room), "at last") })
}
