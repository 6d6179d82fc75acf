// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// OutgoingReaction is a reaction to be sent.
type OutgoingReaction struct {
	Account, Contact identity.PublicKey
	// Source makes it safe to repeat, as in [Outgoing].
	Source string
	// Target is the message reacted to, of either side.
	Target peer.GUID
	// Emoji is any text of at most 128 bytes; "" takes the reaction back.
	Emoji string
	// SendTime is when the person reacted; zero means now. It decides which of
	// several reactions counts.
	SendTime time.Time
}

// React queues a reaction, as a message of type peer.TypeReaction, which replaces
// our earlier one to the same message. Its errors are those of [Node.Send].
func (n *Node) React(ctx context.Context, r OutgoingReaction) (store.Message, error) {
	if r.Target == 0 || len(r.Emoji) > wire.MaxEmoji {
		return store.Message{}, fmt.Errorf("react: no message, or more than %d bytes: %w", wire.MaxEmoji, store.ErrInvalid)
	}
	return n.Send(ctx, Outgoing{
		Account: r.Account, Contact: r.Contact, Source: r.Source, Type: peer.TypeReaction, ReplyTo: r.Target,
		Payload: peer.Reaction{Emoji: r.Emoji, Target: r.Target}.AppendTo(nil), SendTime: r.SendTime,
	})
}

// Reactions returns the reactions to a message that count: at most one of the
// contact (store.In) and one of ours (store.Out), none that was taken back. It
// returns none for a message that is not in the conversation.
//
// Consumers meet a reaction as an event about a message of type
// peer.TypeReaction. What they show is what this returns for its target: then it
// does not matter that apps send some reactions twice, nor in which order events
// are dealt with. When a message comes after the reaction to it, this returns the
// reaction at once.
func (n *Node) Reactions(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error) {
	return n.store.Reactions(account, store.ContactConversation(contact), int64(target))
}
