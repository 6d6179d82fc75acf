// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// Bar R06: a homeserver that recovers between a message and the notice in its place
// has refused neither.
func TestRefusal_HomeserverRecoversDuringProbe_NothingLost(t *testing.T) {
	for refusals := range 6 {
		inAnswerBubble(t, func(b *bubble) {
			bob := b.meet("Bob")
			bob.says("hello")
			b.pass(10 * time.Second)
			var met atomic.Int32
			sends := inRoom(bob, "/send/")
			b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: func(r *http.Request) bool {
				return sends(r) && met.Add(1) <= int32(refusals)
			}})
			bob.says("one", "two")
			b.pass(time.Hour)
			if shown := bob.shown(); !slices.Equal(shown, []string{"hello", "one", "two"}) {
				t.Errorf("after %d refusals: %q", refusals, shown)
			}
		})
	}
}

// Bar R07
func TestSlowRoom_TenSecondsPerEvent_OthersDelivered(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		talks := make([]*talk, 20)
		for i := range talks {
			talks[i] = b.meet(fmt.Sprintf("Bob %d", i))
			talks[i].says("hello")
		}
		b.pass(time.Minute)
		slow := talks[7]
		b.homeserver.SetSlow(slow.room(), 10*time.Second)
		for _, c := range talks {
			c.says(numbered("text", 10)...)
		}
		b.pass(2 * time.Second)
		for _, c := range talks {
			if c != slow && len(c.shown()) != 11 {
				t.Errorf("%s's room after 2 s: %q", c.name, c.shown())
			}
		}
		b.pass(5 * time.Minute)
		if len(slow.shown()) != 11 {
			t.Errorf("the slow room: %q", slow.shown())
		}
	})
}

// Two accounts have the same contact, and the room of one of them hangs.
func TestSlowRoom_SameContact_OtherAccountDelivered(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		second := b.node.addAccount("Anna")
		if err := b.bridge.Login(b.t.Context(), bubbleUser, second); err != nil {
			t.Fatal(err)
		}
		mine := b.meet("Bob")
		theirs := &talk{bubble: &bubble{t: b.t, node: b.node, homeserver: b.homeserver, bridge: b.bridge, account: second, log: b.log}, name: "Bob"}
		theirs.contact = b.node.addContact(second, "Bob")
		mine.says("hello")
		theirs.says("hello")
		b.pass(30 * time.Second)
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: inRoom(mine, "/send/")})
		mine.says("later")
		b.pass(time.Second)
		theirs.says("in time")
		b.pass(2 * time.Second)
		if !theirs.hasText("in time") {
			t.Errorf("the other account's room: %q", theirs.shown())
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		b.pass(10 * time.Minute)
		if !mine.hasText("later") {
			t.Errorf("the room that hung: %q", mine.shown())
		}
	})
}

// A reaction that the room has already counts as delivered.
func TestRefusal_ReactionExists_Done(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob := b.meet("Bob")
		bob.first = b.node.receive(b.account, bob.contact, "hello")[0]
		b.pass(10 * time.Second)
		b.homeserver.SetFault(bridgetest.Fault{
			Kind: bridgetest.FaultAnswer, Status: http.StatusBadRequest, Only: inRoom(bob, "/send/m.reaction/"),
			Body: []byte(`{"errcode":"M_DUPLICATE_ANNOTATION","error":"can't send same reaction twice"}`),
		})
		bob.react("👍")
		bob.says("after")
		b.pass(time.Second)
		if shown := bob.shown(); !slices.Equal(shown, []string{"hello", "after"}) {
			t.Errorf("the room: %q", shown)
		}
	})
}

// An access token of our user that is not valid any more stops nothing: the bot says
// what the user cannot.
func TestRefusal_UserMayNotWrite_OthersDelivered(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob := b.meet("Bob")
		bob.says("hello")
		b.pass(10 * time.Second)
		own := []string{string(bubbleUser), string(b.ghostOf(b.account))} // the double puppet, and the ghost in its place
		sends := inRoom(bob, "/send/")
		b.homeserver.SetFault(bridgetest.Fault{
			Kind: bridgetest.FaultAnswer, Status: http.StatusUnauthorized, Body: []byte(`{"errcode":"M_UNKNOWN_TOKEN","error":"logged out"}`),
			Only: func(r *http.Request) bool { return sends(r) && slices.Contains(own, r.URL.Query().Get("user_id")) },
		})
		bob.sends("mine")
		bob.says("after")
		b.pass(time.Minute)
		shown := bob.shown()
		if len(shown) != 3 || !strings.Contains(shown[1], "M_UNKNOWN_TOKEN") || shown[2] != "after" {
			t.Errorf("the room: %q", shown)
		}
	})
}

// A message in the history of a room that is created anew is refused like any other,
// and what was refused before is shown when it no longer is.
func TestRefusal_InHistory_Noticed(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob := b.meet("Bob")
		bob.says("hello")
		b.pass(10 * time.Second)
		refuse := bridgetest.Fault{
			Kind: bridgetest.FaultAnswer, Status: http.StatusForbidden, Body: []byte("<html>spam</html>"), Content: `"poison"`,
			Only: bridgetest.SendsOnly,
		}
		b.homeserver.SetFault(refuse)
		bob.says("poison", "after")
		b.pass(time.Minute)
		b.bridge.Rebuild(b.account, bob.contact)
		b.pass(time.Minute)
		shown := bob.shown()
		if len(shown) != 3 || !isRefusal(shown[1]) || shown[2] != "after" {
			t.Errorf("the new room: %q", shown)
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		b.bridge.Rebuild(b.account, bob.contact)
		b.pass(time.Minute)
		if shown := bob.shown(); !slices.Equal(shown, []string{"hello", "poison", "after"}) {
			t.Errorf("the room after the repair: %q", shown)
		}
	})
}
