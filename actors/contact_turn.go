// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// How a contact waits for its turn at a node that gets one pair at a time, see
// pairTable.

// inTurn returns those of the nodes that the contact may be dialled at now. When it
// is none of them, wait is when to try again; the contact is told if its turn comes
// earlier.
func (x *contact) inTurn(c *kernel.Context, nodes []identity.NodeKey) (now []identity.NodeKey, wait time.Duration) {
	for _, node := range nodes {
		w := x.deps.Sessions.Table.Wait(node, x.Conversation, c.Self())
		switch {
		case w == 0:
			now = append(now, node)
		case wait == 0 || w < wait:
			wait = w
		}
	}
	return now, wait
}

// waitForTurn postpones the attempt, which has not failed.
func (x *contact) waitForTurn(c *kernel.Context, wait time.Duration) {
	x.showPresence(&turnError{Wait: wait})
	x.retryAfter(c, wait)
}

// onTurnCame: the node is free, or will be in a moment.
func (x *contact) onTurnCame(c *kernel.Context, msg turnCame) {
	if !x.live.IsZero() {
		return
	}
	x.stopRetry()
	if msg.Wait > 0 {
		x.retryAfter(c, msg.Wait)
		return
	}
	x.deliver(c)
}

// noteTurn looks at why a session has ended: whether the contact is to have another
// one soon although nothing may wait to be sent. What the contact has for us it sends
// again only then.
func (x *contact) noteTurn(reason error) {
	_, refused := errors.AsType[*turnError](reason)
	if refused || errors.Is(reason, errSharedNode) || x.deps.Sessions.Table.OwesFiles(x.Conversation) {
		x.wantTurn = x.allowed()
	}
}

func (x *contact) onUndeliverable(c *kernel.Context, msg undeliverable) {
	if c.Sender() != x.live || x.sending != msg.GUID {
		return
	}
	x.acking[msg.GUID] = store.FailMessage{
		Account: x.Account, Conversation: x.ID, GUID: int64(msg.GUID), Time: x.deps.nowMillis(), Reason: msg.Reason,
	}
	x.tellOutcome(c, msg.GUID)
}
