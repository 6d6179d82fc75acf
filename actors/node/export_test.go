// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// RefusesToSignForTest asks the guard that every handshake of the node uses.
func (n *Node) RefusesToSignForTest(value [32]byte) bool { return n.keys.Refuses(value) }

// RefusesChallengeForTest asks what a handshake with some node asks.
func (n *Node) RefusesChallengeForTest(value [32]byte) bool {
	return n.keys.Security(identity.NodeKey{}).Guard.Refuses(value)
}

// MediaRowForTest returns what the store has of the file of a message.
func (n *Node) MediaRowForTest(account, contact identity.PublicKey, id store.MessageID) (store.Media, error) {
	return n.store.Media(account, store.ContactConversation(contact), id)
}

// PairsAtForTest is the number of accepted pairs that have met at a node key.
func (n *Node) PairsAtForTest(node identity.NodeKey) int { return n.contactNodes.Pairs(node) }

// StrangerSessionsForTest is the number of sessions with strangers.
func (n *Node) StrangerSessionsForTest() int { return n.sessions.Strangers() }

// MailboxDepthForTest is the number of messages that wait in mailboxes of a kind of
// actor.
func (n *Node) MailboxDepthForTest(kind string) int {
	for _, s := range n.system.Stats() {
		if s.Kind == kind {
			return s.Depth
		}
	}
	return 0
}

// KnownNodesForTest are the numbers of node keys that are remembered for good, and of
// strangers' ones.
func (n *Node) KnownNodesForTest() (named, seen int) {
	return n.keys.KnownForTest()
}

// EnqueueForTest is Send without its limit on the payload, as in older versions.
func (n *Node) EnqueueForTest(ctx context.Context, m Outgoing) (store.Message, error) {
	queued, err := do[store.Enqueued](ctx, n, n.enqueueOf(m))
	return queued.Message, err
}
