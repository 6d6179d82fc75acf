// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Unread is what our user has not read of a conversation.
type Unread struct {
	// Count counts messages of others, without reactions.
	Count int
	// First is the position of the first of them, 0 for none.
	First uint64
}

// Unread counts the messages that came after the read mark of a contact's or a group's
// conversation, up to limit.
func (n *Node) Unread(account identity.PublicKey, conversation store.ConversationID, limit int) (Unread, error) {
	var out Unread
	err := n.eachUnread(account, conversation, func(e store.Event) bool {
		if m, err := n.ConversationMessage(account, conversation, e.Message); err == nil && !eventlog.IsReaction(m) {
			if out.First == 0 {
				out.First = e.Order
			}
			out.Count++
		}
		return out.Count < limit
	})
	return out, err
}

// MarkRead notes that our user has read a conversation up to the message with that
// position, with whatever they read it. Everybody who shows conversations calls it, and
// hears of it by the event store.ConversationRead. A mark never goes back.
func (n *Node) MarkRead(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, order uint64) error {
	var last store.Event
	err := n.eachUnread(account, conversation, func(e store.Event) bool {
		if e.Order > order {
			return false
		}
		last = e
		return true
	})
	if err != nil || last.Seq == 0 {
		return err
	}
	_, err = do[bool](ctx, n, store.MarkRead{Account: account, Conversation: conversation, Seq: last.Seq, Order: last.Order})
	if err != nil {
		return fmt.Errorf("mark as read: %w", err)
	}
	return nil
}

// eachUnread calls visit for the messages of others that came after the read mark, until it
// returns false.
func (n *Node) eachUnread(account identity.PublicKey, conversation store.ConversationID, visit func(store.Event) bool) error {
	after, err := n.Cursor(store.ReadConsumer, account, conversation)
	if err != nil {
		return err
	}
	for {
		events, err := n.ConversationEvents(account, conversation, after, store.MaxPage)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			after = e.Seq
			if e.Kind == store.MessageReceived && !visit(e) {
				return nil
			}
		}
	}
}
