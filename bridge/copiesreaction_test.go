// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/peer"
)

// What the homeserver had taken comes to light when the reaction was sent again, or
// when the contact has taken it back: the copy is taken back, too.
//
// Bar R01
func TestReaction_AppearsLate_ShownOnce(t *testing.T) {
	for _, takenBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken back=%v", takenBack), func(t *testing.T) {
			f := newFixture(t)
			bob, room := f.conversation("Bob")
			f.node.receive(f.account, bob, "look")
			f.awaitShown(room, "I am Bob", "look")
			target := f.guidOf(bob, "look")
			react := func(emoji string, at store.Millis) {
				f.node.accept(store.AcceptMessage{
					Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(peer.TypeReaction), ReplyTo: target, SendTime: at,
					Payload: peer.Reaction{Emoji: emoji, Target: peer.GUID(target)}.AppendTo(nil),
				})
			}
			left := func() (events []id.EventID) {
				redacted := make(map[id.EventID]bool)
				for _, e := range f.homeserver.Timeline(room) {
					redacted[e.Redacts] = true
				}
				for _, e := range f.homeserver.Timeline(room) {
					if e.Type == "m.reaction" && !redacted[e.ID] {
						events = append(events, e.ID)
					}
				}
				return events
			}
			f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: func(r *http.Request) bool {
				return bridgetest.MessagesOnly(r) || strings.HasSuffix(r.URL.Path, "/messages")
			}})
			react("👍️", 2_000_000_000_000)
			f.await("it is in the room", func() bool { return len(left()) == 1 })
			first := left()[0]
			f.stop()
			appear := f.homeserver.WithholdNewest("m.reaction")
			f.homeserver.ForgetTransactions()
			f.homeserver.SetFault(bridgetest.Fault{})
			f.start()
			f.await("it is there again", func() bool { return len(left()) == 1 && left()[0] != first })
			want := left()
			if takenBack {
				react("", 2_000_000_001_000)
				f.await("it is taken back", func() bool { return len(left()) == 0 })
				want = nil
			}
			f.await("it is noted", func() bool { return f.status().Conversations == 0 })
			appear()
			f.await("the copy is taken back", func() bool {
				return slices.ContainsFunc(f.homeserver.Timeline(room), func(e bridgetest.Event) bool { return e.Redacts == first })
			})
			if have := left(); !slices.Equal(have, want) {
				t.Errorf("left are %v, not %v", have, want)
			}
		})
	}
}
