// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestContactNodes_CountPairsOfANode(t *testing.T) {
	n := NewNodes()
	alice, bob := identity.PublicKey{1}, identity.PublicKey{2}
	carol, dave := identity.PublicKey{3}, identity.PublicKey{4}
	x, y := identity.NodeKey{10}, identity.NodeKey{11}
	n.add(store.ConversationWith(alice, carol), x)
	n.add(store.ConversationWith(alice, carol), x)
	n.add(store.ConversationWith(alice, dave), x)
	n.add(store.ConversationWith(bob, carol), x)
	n.add(store.ConversationWith(bob, carol), y)
	if got := n.Pairs(x); got != 3 {
		t.Errorf("%d pairs at the shared node, want 3", got)
	}
	n.set(store.ConversationWith(alice, dave), nil)
	if got := n.Pairs(x); got != 2 {
		t.Errorf("%d pairs after one was removed, want 2", got)
	}
	n.ForgetAccount(bob)
	if n.has(y) || n.Pairs(x) != 1 {
		t.Errorf("%d and %d pairs after an account was removed, want 1 and 0", n.Pairs(x), n.Pairs(y))
	}
	n.set(store.ConversationWith(alice, carol), []identity.NodeKey{y})
	if n.has(x) || !n.has(y) {
		t.Error("set did not replace the node keys")
	}
}

func TestContactNodes_ForgetTheOldestNodeOfAPair(t *testing.T) {
	n := NewNodes()
	p := store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{2})
	for i := range store.MaxNodeKeys {
		n.add(p, identity.NodeKey{1, byte(i)})
	}
	n.add(p, identity.NodeKey{1, 0}) // authenticates again
	n.add(p, identity.NodeKey{2})
	if !n.has(identity.NodeKey{1, 0}) || !n.has(identity.NodeKey{2}) || n.has(identity.NodeKey{1, 1}) {
		t.Error("not the node that authenticated first was forgotten")
	}
	if len(n.byNode) != store.MaxNodeKeys || len(n.byPair[p]) != store.MaxNodeKeys {
		t.Errorf("%d nodes, want %d", len(n.byNode), store.MaxNodeKeys)
	}
}
