// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Outgoing is a message to be sent.
type Outgoing struct {
	Account, Contact identity.PublicKey
	// Group is the group that gets the message, in place of Contact.
	Group store.ConversationID
	// Source makes sending idempotent: the same source of the same account again
	// returns the message that was queued the first time. A caller that may have to
	// repeat the call gives one, such as the id of a Matrix event. "" means a new
	// message. In another conversation the source is refused with
	// [ErrSourceUsed].
	Source  string
	Type    peer.MessageType
	ReplyTo peer.GUID
	Payload []byte
	// SendTime is when the person sent it; zero means now.
	SendTime time.Time
}

// Send puts a message into the outbox. When it returns without an error the
// message cannot be lost: it is sent as soon as the contact can be reached, in
// order, and its further life is in the event log.
//
// Errors: [ErrUnknownAccount], [ErrUnknownContact], [ErrBlocked], [ErrUnknownGroup],
// [ErrNotInGroup], [ErrGroupReadOnly], [ErrGroupKey], [ErrSourceUsed],
// store.ErrOutboxFull, store.ErrDiskFull, store.ErrInvalid.
func (n *Node) Send(ctx context.Context, m Outgoing) (store.Message, error) {
	if err := n.maySend(m.Account, conversationOf(m.Contact, m.Group)); err != nil {
		return store.Message{}, err
	}
	if len(m.Payload) > wire.MaxControlPayload {
		return store.Message{}, fmt.Errorf("send message: %d bytes, at most %d: %w", len(m.Payload), wire.MaxControlPayload, store.ErrInvalid)
	}
	queued, err := do[store.Enqueued](ctx, n, n.enqueueOf(m))
	if err != nil {
		return store.Message{}, fmt.Errorf("send message: %w", err)
	}
	return inConversation(queued.Message, conversationOf(m.Contact, m.Group))
}

// inConversation fails when the message that a source has is not in the conversation that it
// was given for.
func inConversation(queued store.Message, conversation store.ConversationID) (store.Message, error) {
	if queued.Conversation != conversation {
		return store.Message{}, ErrSourceUsed
	}
	return queued, nil
}

// conversationOf is the group, and that with the contact without one.
func conversationOf(contact identity.PublicKey, group store.ConversationID) store.ConversationID {
	if !group.IsZero() {
		return group
	}
	return store.ContactConversation(contact)
}

// maySend fails unless messages can be queued for the contact or group.
func (n *Node) maySend(account identity.PublicKey, conversation store.ConversationID) error {
	if _, err := n.Account(account); err != nil {
		return err
	}
	if conversation.Kind() == store.KindGroup {
		return n.mayWrite(account, conversation)
	}
	contact := conversation.Contact()
	c, err := n.Contact(account, contact)
	if err == nil && c.State == store.ContactBlocked {
		err = ErrBlocked
	}
	return err
}

// enqueueOf makes the store's operation of a message.
func (n *Node) enqueueOf(m Outgoing) store.EnqueueMessage {
	source := m.Source
	if source == "" {
		source = "local:" + randomID()
	}
	now := n.opts.Now()
	if m.SendTime.IsZero() {
		m.SendTime = now
	}
	// The guid is derived from the source, so that a repetition can be recognised.
	guid := peer.DeriveGUID(m.Account[:], m.Contact[:], []byte(source))
	if !m.Group.IsZero() {
		guid = peer.DeriveGUID(m.Account[:], m.Group[:], []byte(source))
	}
	return store.EnqueueMessage{
		Account: m.Account, Conversation: conversationOf(m.Contact, m.Group), Source: source,
		GUID: int64(guid),
		Type: int32(m.Type), ReplyTo: int64(m.ReplyTo),
		SendTime: store.MillisOf(m.SendTime), Created: store.MillisOf(now), Payload: m.Payload, Reaction: session.ParseReaction(m.Type, m.Payload),
	}
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Message returns one message, or store.ErrNotFound.
func (n *Node) Message(account, contact identity.PublicKey, id store.MessageID) (store.Message, error) {
	return n.store.Message(account, store.ContactConversation(contact), id)
}

// Messages returns up to limit messages of a conversation, newest first, before
// the given order; 0 means the newest.
func (n *Node) Messages(account, contact identity.PublicKey, before uint64, limit int) ([]store.Message, error) {
	return n.store.Messages(account, store.ContactConversation(contact), before, limit)
}

// MissedCalls returns up to limit missed calls of a contact, newest first, of the last
// 10,000 events of the conversation.
func (n *Node) MissedCalls(account, contact identity.PublicKey, limit int) ([]store.Call, error) {
	return n.store.MissedCalls(account, contact, limit)
}

// Outbox returns up to limit undelivered messages to a contact, oldest first; the
// limit is at most store.MaxPage. Undelivered has all of them.
func (n *Node) Outbox(account, contact identity.PublicKey, limit int) ([]store.Message, error) {
	return n.store.Outbox(account, store.ContactConversation(contact), 0, limit)
}

// Undelivered iterates over all undelivered messages to a contact, oldest first.
func (n *Node) Undelivered(account, contact identity.PublicKey) iter.Seq2[store.Message, error] {
	return n.store.Undelivered(account, store.ContactConversation(contact))
}

// OutboxContacts returns the contacts of an account for whom something is
// undelivered.
func (n *Node) OutboxContacts(account identity.PublicKey) ([]identity.PublicKey, error) {
	conversations, err := n.store.OutboxConversations(account)
	var found []identity.PublicKey
	for _, c := range conversations {
		if c.Kind() == store.KindContact {
			found = append(found, c.Contact())
		}
	}
	return found, err
}

// OutboxSize counts the undelivered messages to a contact, or those of the whole
// account when contact is zero.
func (n *Node) OutboxSize(account, contact identity.PublicKey) (store.OutboxSize, error) {
	return n.store.OutboxSize(account, store.ContactConversation(contact))
}

// CountConversationEvents counts the events of one conversation after a sequence
// number.
func (n *Node) CountConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64) (int, error) {
	return n.store.CountConversationEvents(account, conversation, after)
}

// CountJournal counts the unfinished entries of a queue.
func (n *Node) CountJournal(queue string) (int, error) { return n.store.CountJournal(queue) }

// Events returns up to limit events of an account's log after a sequence number.
func (n *Node) Events(account identity.PublicKey, after uint64, limit int) ([]store.Event, error) {
	return n.store.Events(account, after, limit)
}

// LastEvent returns the sequence number of the last event of an account's log, 0
// for none.
func (n *Node) LastEvent(account identity.PublicKey) (uint64, error) {
	return n.store.LastEvent(account)
}

// ConversationEvents returns up to limit events of one conversation after a
// sequence number.
func (n *Node) ConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64, limit int) ([]store.Event, error) {
	return n.store.ConversationEvents(account, conversation, after, limit)
}

// Pending returns the conversations with events that a consumer has not dealt
// with.
func (n *Node) Pending(consumer string, account identity.PublicKey) ([]store.PendingConversation, error) {
	return n.store.Pending(consumer, account)
}

// Cursor returns the last event of a conversation that a consumer has dealt with,
// 0 for none.
func (n *Node) Cursor(consumer string, account identity.PublicKey, conversation store.ConversationID) (uint64, error) {
	return n.store.Cursor(consumer, account, conversation)
}

// MoveCursor notes, synced, that a consumer has dealt with a conversation up to a
// sequence number.
func (n *Node) MoveCursor(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID, seq uint64) error {
	_, err := do[bool](ctx, n, store.MoveCursor{Consumer: consumer, Account: account, Conversation: conversation, Seq: seq})
	return err
}

// WatchEvents wakes a consumer when there are new events. The caller closes it.
func (n *Node) WatchEvents() *store.Watch { return n.store.Watch(identity.PublicKey{}) }

// AppendJournal adds an entry to a named durable queue; it is on the disk when
// this returns. A known id is a duplicate and changes nothing.
func (n *Node) AppendJournal(ctx context.Context, queue string, entry store.NewEntry) (duplicate bool, err error) {
	j, err := do[store.Journaled](ctx, n, store.AppendJournal{
		Queue: queue, ID: entry.ID, Body: entry.Body, Budget: entry.Budget, Time: n.nowMillis(),
	})
	return j.Duplicate, err
}

// Journal returns up to limit unfinished entries of a queue, in order, after a
// sequence number.
func (n *Node) Journal(queue string, after uint64, limit int) ([]store.JournalEntry, error) {
	return n.store.Journal(queue, after, limit)
}

// AppendJournalBatch adds entries to a named durable queue, in their order; they
// are on the disk when this returns. Entries with a known id are passed over, and those
// whose budget is used are left out: see [store.AppendJournalBatch]. At most
// [store.MaxJournalBatch] entries are added or none.
func (n *Node) AppendJournalBatch(ctx context.Context, queue string, entries []store.NewEntry) (leftOut int, err error) {
	sum, err := do[store.Appended](ctx, n, store.AppendJournalBatch{Queue: queue, Time: n.nowMillis(), Entries: entries})
	return sum.LeftOut, err
}

// FinishJournalBatch removes at most [store.MaxJournalBatch] entries from their
// queue; their ids stay known.
func (n *Node) FinishJournalBatch(ctx context.Context, queue string, seqs []uint64) error {
	_, err := do[int](ctx, n, store.FinishJournalBatch{Queue: queue, Seqs: seqs})
	return err
}

// MaxFile returns the largest file that this node sends or receives, in bytes.
func (n *Node) MaxFile() int64 { return n.opts.Media.MaxFile }

// known replaces store.ErrNotFound by what was not found.
func known(err, unknown error) error {
	if errors.Is(err, store.ErrNotFound) {
		return unknown
	}
	return err
}

// CancelMessage gives up a message that the contact does not have yet, for a
// reason that people are told. It returns false when there is nothing to give up:
// the message is delivered, has failed, or is not in the outbox of that contact.
// A message that is on its way just now may arrive all the same, and is delivered
// then.
func (n *Node) CancelMessage(ctx context.Context, account, contact identity.PublicKey, id store.MessageID, reason string) (bool, error) {
	return n.cancel(ctx, account, store.ContactConversation(contact), id, reason)
}

func (n *Node) cancel(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID, reason string) (bool, error) {
	if id.Dir != store.Out {
		return false, nil
	}
	given, err := do[bool](ctx, n, store.FailMessage{
		Account: account, Conversation: conversation, GUID: id.GUID, Time: n.nowMillis(), Reason: reason,
	})
	if err != nil {
		return false, fmt.Errorf("cancel message: %w", err)
	}
	return given, nil
}

// OutgoingReaction is a reaction to be sent.
type OutgoingReaction struct {
	Account, Contact identity.PublicKey
	// Group is the group of the message, in place of Contact.
	Group store.ConversationID
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
		Account: r.Account, Contact: r.Contact, Group: r.Group, Source: r.Source, Type: peer.TypeReaction, ReplyTo: r.Target,
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
