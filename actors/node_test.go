// SPDX-License-Identifier: MPL-2.0

package actors_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNodesTalkBothWays(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	alice, bob := w.Node("alice"), w.Node("bob")
	actorstest.Befriend(alice, bob)
	sent := alice.Say(bob, "hello bob")
	bob.Eventually("bob hears alice", func() bool { return len(bob.Heard(alice)) == 1 })
	bob.Say(alice, "hello alice")
	alice.Eventually("alice hears bob", func() bool { return len(alice.Heard(bob)) == 1 })
	alice.Eventually("the message is marked delivered", func() bool {
		m, err := alice.Message(alice.Account.ID, bob.Account.ID, sent.ID)
		return err == nil && m.State == store.StateDelivered
	})
}
