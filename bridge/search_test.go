// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/search"
)

// DiskLow is the node's: the test's disk is in memory.
func (n *testNode) DiskLow() bool { return false }

var _ search.Node = (*testNode)(nil)

func TestSearch_CommandInManagementAndConversation(t *testing.T) {
	w := newWorld(t)
	index := search.New(w.dir)
	ref := w.stage.Spawn(t, kernel.Spec{Name: "search", Kind: "search", New: func() kernel.Actor { return index.NewActor(w.node) }})
	t.Cleanup(func() { stopChild(t, w.stage, ref) })
	w.index = index
	f := newFixtureIn(w, func(c *matrixconfig.Config) {
		c.Bridge.Permissions["@anna:mimir.test"] = &bridgeconfig.PermissionLevelUser
	}, func(url string) string { return url })
	bob, bobs := f.conversation("Bob")
	carol, carols := f.conversation("Carol")
	f.node.receive(f.account, bob, "the old bridge is closed @room", "another")
	f.node.receive(f.account, carol, "Bobbing on the Old Bridge")
	f.awaitText(f.alice, f.ghost(bob), "another")
	f.awaitText(f.alice, f.ghost(carol), "Bobbing on the Old Bridge")
	// Anna has an account of her own, with a message that alice must not see.
	other := f.node.addAccount("Other")
	f.node.addContact(other, "Bob")
	f.node.receive(other, bob, "the old bridge of somebody else")
	f.await("the messages are noted as shown", func() bool {
		pending, err := f.node.Pending("matrix", f.account)
		return err == nil && len(pending) == 0
	})
	f.await("the index has everything", func() bool {
		for account, want := range map[[32]byte]int{f.account: 2, other: 1} {
			found, err := index.Search(context.Background(), search.Query{Account: account, Words: "bridge"})
			if err != nil || len(found.Messages) != want || found.Unread > 0 {
				return false
			}
		}
		return true
	})

	link := func(text string) string { return bobs.EventURI(f.eventOf(bobs, text), "mimir.test").MatrixToURL() }
	carolsLink := carols.EventURI(f.eventOf(carols, "Bobbing on the Old Bridge"), "mimir.test").MatrixToURL()
	f.say(f.alice, f.management, "search old bridge", "the old bridge is closed room "+link("the old bridge is closed @room"))
	f.said(f.alice, f.management, "Carol, ")
	f.said(f.alice, f.management, carolsLink)
	f.say(f.alice, f.management, "search Bob", "Contact Bob "+bobs.URI("mimir.test").MatrixToURL())
	f.say(f.alice, f.management, "search nothing of that kind", "Nothing was found.")
	f.say(f.alice, f.management, "search", "say what to look for")
	f.say(f.alice, f.management, `search "`, "That did not work")

	// In a room the conversation of that room is searched.
	f.say(f.alice, carols, "!mimir search bridge", carolsLink)
	for _, said := range append(f.texts(f.alice, carols, f.bot()), f.texts(f.alice, f.management, f.bot())...) {
		if contains(said, "somebody else") {
			t.Errorf("alice is told %q", said)
		}
	}
	for _, said := range f.texts(f.alice, carols, f.bot()) {
		if contains(said, "closed") {
			t.Errorf("the room of Carol is told %q", said)
		}
	}
}
