// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// ReadConsumer is the consumer of the event log whose cursors are the read marks: what our
// user has read of a conversation, with whatever they read it.
const ReadConsumer = "read"

// MarkRead moves the read mark of a conversation forward, to the event Seq of a message
// with the position Order, and adds the event [ConversationRead]. The result is whether it
// has moved: a mark never goes back.
type MarkRead struct {
	Account      identity.PublicKey
	Conversation ConversationID
	Seq, Order   uint64
}

func (op MarkRead) size() int { return 2 * opOverhead }

func (op MarkRead) apply(t *txn) (any, error) {
	if op.Conversation.IsZero() || op.Order == 0 {
		return nil, fmt.Errorf("read mark without a message: %w", ErrInvalid)
	}
	moved, err := MoveCursor{Consumer: ReadConsumer, Account: op.Account, Conversation: op.Conversation, Seq: op.Seq}.apply(t)
	if err != nil || moved != true {
		return false, err
	}
	return true, t.event(Event{Account: op.Account, Conversation: op.Conversation, Kind: ConversationRead, Order: op.Order})
}
