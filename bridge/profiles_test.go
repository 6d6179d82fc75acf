// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
)

// A contact that changes its profile all the time costs a few requests a minute, the
// last change is shown, and messages do not wait for it. Another contact is shown at
// once.
func TestProfiles_ManyChanges_RateLimited(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob, carol := b.meet("Bob"), b.meet("Carol")
		for _, c := range []*talk{bob, carol} {
			c.says("hello")
		}
		b.pass(2 * time.Minute)
		var sets, uploads atomic.Int32
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown, Only: func(r *http.Request) bool {
			switch {
			case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/profile/"+bob.ghost()):
				sets.Add(1)
			case r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/upload"):
				uploads.Add(1)
			}
			return false
		}})
		change := func(c *talk, name string, avatar []byte) {
			b.node.apply(store.UpdateContact{
				Account: b.account, Contact: c.contact, Fields: store.FieldNickname | store.FieldAvatar, Nickname: name, Avatar: avatar,
			})
		}
		for i := range 100 {
			change(bob, fmt.Sprintf("Bob %d", i), picture(t, 2+i, 2))
			b.pass(10 * time.Millisecond)
		}
		if n := sets.Load(); n > 2 || uploads.Load() > 1 {
			t.Errorf("%d requests and %d uploads for 100 changes in a second", n, uploads.Load())
		}
		change(carol, "Caroline", nil)
		bob.says("meanwhile")
		b.pass(5 * time.Second)
		if name := b.homeserver.DisplayName(id.UserID(carol.ghost())); name != "Caroline" {
			t.Errorf("another contact is shown as %q", name)
		}
		if !bob.hasText("meanwhile") {
			t.Error("a message waits for the profile")
		}
		b.pass(time.Minute)
		if name := b.homeserver.DisplayName(id.UserID(bob.ghost())); name != "Bob 99" {
			t.Errorf("the contact is shown as %q", name)
		}
		if n := sets.Load(); n > 4 || uploads.Load() > 2 {
			t.Errorf("%d requests and %d uploads in all", n, uploads.Load())
		}
	})
}
