// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// ClearConversation removes the messages of a contact or group that were stored before a
// time, here and nowhere else. Undelivered ones stay, and those that a consumer of the
// event log has before it; what was removed is not stored again when it comes once more. It
// blocks until it is done; when ctx ends earlier, what was removed stays removed.
//
// Errors: [ErrUnknownAccount], [ErrUnknownContact] and [ErrUnknownGroup], [ErrNotRunning].
func (n *Node) ClearConversation(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, before store.Millis) (retention.Cleared, error) {
	if n.writer.Load() == nil {
		return retention.Cleared{}, ErrNotRunning
	}
	var err error
	if conversation.Kind() == store.KindGroup {
		_, err = n.Group(account, conversation)
	} else {
		_, err = n.Contact(account, conversation.Contact())
	}
	if err != nil {
		return retention.Cleared{}, err
	}
	done, err := n.retention.Clear(ctx, account, conversation, before)
	if err != nil {
		return done, fmt.Errorf("clear conversation: %w", err)
	}
	return done, nil
}

// Retention returns what the passes of retention have done since the start, nil before the
// first.
func (n *Node) Retention() *retention.Report {
	if s := n.retention.Report(); !s.Last.IsZero() {
		return &s
	}
	return nil
}
