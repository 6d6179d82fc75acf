// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// The node makes its passes by itself, and leaves alone what the policy does not name;
// what a person clears is gone at once.
func TestRetention_PassesAndClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice", func(o *node.Options) { o.Retention = retention.Policy{Contacts: 2 * time.Hour} })
		bob, carol := w.Node("bob"), w.Node("carol")
		actorstest.Befriend(alice, bob)
		actorstest.Befriend(alice, carol)
		bob.Say(alice, "one")
		carol.Say(alice, "two")
		alice.Eventually("both are heard", func() bool { return len(alice.Heard(bob)) == 1 && len(alice.Heard(carol)) == 1 })
		sent := alice.Say(bob, "three")
		bob.Eventually("alice is heard", func() bool { return len(bob.Heard(alice)) == 1 })
		virtual.Sleep(time.Hour)
		if len(alice.Heard(bob)) != 1 {
			t.Error("gone too early")
		}
		virtual.Sleep(3 * time.Hour)
		if got := append(alice.Heard(bob), alice.Heard(carol)...); len(got) != 0 {
			t.Errorf("%q stay", got)
		}
		if _, err := alice.Message(alice.Account.ID, bob.Account.ID, sent.ID); err == nil {
			t.Error("what alice has sent stays")
		}
		if s := alice.Retention(); s == nil || s.Messages != 3 || s.Last.IsZero() || s.Error != "" {
			t.Errorf("%+v", s)
		}
		if len(bob.Heard(alice)) != 1 {
			t.Error("bob has no policy, and a message is gone")
		}
		done, err := bob.ClearConversation(t.Context(), bob.Account.ID, store.ContactConversation(alice.Account.ID), store.MillisOf(time.Now()))
		if err != nil || done.Messages != 2 || len(bob.Heard(alice)) != 0 {
			t.Errorf("%+v, %v, %q", done, err, bob.Heard(alice))
		}
		if _, err := bob.ClearConversation(t.Context(), bob.Account.ID, store.ContactConversation(carol.Account.ID), 0); err == nil {
			t.Error("cleared somebody unknown")
		}
	})
}
