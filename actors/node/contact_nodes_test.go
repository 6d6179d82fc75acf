// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// The index follows what becomes of a contact, and is there again after a restart.
func TestContactNodes_FollowTheContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		friend, stranger := w.Phone("friend", phone.Quirks{}), w.Phone("stranger", phone.Quirks{})
		n.AddPhone(friend.Key())
		id := identity.PublicKey(friend.Key())
		index := func(what string, want int) {
			t.Helper()
			n.Eventually(what, func() bool { return n.PairsAtForTest(friend.Node()) == want })
		}
		index("not met yet", 0)
		friend.Write(key, "hello")
		if err := stranger.Ask(t.Context(), key, "let me in"); err != nil {
			t.Fatal(err)
		}
		index("met", 1)
		n.Eventually("the stranger is connected", func() bool { return n.Status().Sessions == 2 })
		if got := n.PairsAtForTest(stranger.Node()); got != 0 {
			t.Errorf("the stranger's node counts for %d pairs", got)
		}
		n.Eventually("the request is stored", func() bool {
			return contactOf(t, n, stranger.Key()).State == store.ContactRequested
		})
		n.Stop()
		n.Start()
		if got := n.PairsAtForTest(friend.Node()); got != 1 {
			t.Errorf("%d pairs after a restart, want 1", got)
		}
		if _, err := n.BlockContact(t.Context(), n.Account.ID, id); err != nil {
			t.Fatal(err)
		}
		index("blocked", 0)
		if _, err := n.UnblockContact(t.Context(), n.Account.ID, id); err != nil {
			t.Fatal(err)
		}
		index("unblocked", 1)
		if err := n.RemoveContact(t.Context(), n.Account.ID, id); err != nil {
			t.Fatal(err)
		}
		index("removed", 0)
		if _, err := n.AcceptContact(t.Context(), n.Account.ID, identity.PublicKey(stranger.Key())); err != nil {
			t.Fatal(err)
		}
		n.Eventually("accepted", func() bool { return n.PairsAtForTest(stranger.Node()) == 1 })
	})
}
