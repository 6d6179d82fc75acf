// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

func (op AcceptMessage) size() int { return opOverhead + len(op.Payload) }

// apply deduplicates. Two messages are the same when guid and content are;
// the sender's clock is not part of the content, because a repeat may carry
// another time.
func (op AcceptMessage) apply(t *txn) (any, error) {
	if err := checkMessage(op.Account, op.Conversation, op.GUID, op.Payload); err != nil {
		return nil, err
	}
	if err := t.needConversation(op.Account, op.Conversation); err != nil {
		return nil, err
	}
	known, err := t.variants(op.Account, op.Conversation, MessageID{Dir: In, GUID: op.GUID})
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return op.insert(t, 0)
	}
	for _, v := range known {
		if op.sameContent(v.msg) {
			return v.duplicate(), nil
		}
	}
	first := known[0]
	if op.EditTime > first.msg.EditTime && first.msg.IsExpired() {
		return first.duplicate(), nil // an edit of what is not wanted any more
	}
	if op.EditTime > first.msg.EditTime {
		return op.edit(t, first)
	}
	if op.EditTime != 0 {
		return first.duplicate(), nil // an edit that a newer one has overtaken
	}
	hash := contentHash(op.Type, op.ReplyTo, op.Payload)
	for _, v := range known {
		if bytes.Equal(v.ref.First, hash) {
			return v.duplicate(), nil // a repeat from before the edit
		}
	}
	if len(known) == MaxVariants {
		return Accepted{Crowded: true}, nil
	}
	return op.insert(t, uint16(len(known)))
}

func (op AcceptMessage) insert(t *txn, variant uint16) (any, error) {
	if err := errors.Join(t.needSpace(), t.needShare(op.Account, op.Conversation, op.size())); err != nil {
		return nil, err
	}
	msg := Message{
		Account: op.Account, Conversation: op.Conversation,
		ID:       MessageID{Dir: In, GUID: op.GUID, Variant: variant},
		Type:     op.Type,
		ReplyTo:  op.ReplyTo,
		EditTime: op.EditTime,
		Created:  orNow(op.Received, t.now),
		Payload:  op.Payload,
		State:    StateReceived,
	}
	msg.SendTime = PlausibleTime(op.SendTime, msg.Created)
	msg.StateTime = msg.Created
	if err := t.insertMessage(&msg, op.Reaction); err != nil {
		return nil, err
	}
	if err := t.messageEvent(&msg, MessageReceived); err != nil {
		return nil, err
	}
	stray, err := t.isStray(&msg, op.Reaction)
	if err != nil {
		return nil, err
	}
	return Accepted{ID: msg.ID, Order: msg.Order, Stray: stray}, t.insertMedia(&msg, op.Media)
}

func (op AcceptMessage) edit(t *txn, v variant) (any, error) {
	if err := errors.Join(t.needSpace(), t.needShare(op.Account, op.Conversation, op.size())); err != nil {
		return nil, err
	}
	if v.ref.First == nil {
		v.ref.First = contentHash(v.msg.Type, v.msg.ReplyTo, v.msg.Payload)
		if err := t.update(refKey(op.Account, op.Conversation, v.msg.ID), v.rawRef, v.ref); err != nil {
			return nil, err
		}
	}
	v.msg.Type, v.msg.ReplyTo, v.msg.Payload, v.msg.EditTime = op.Type, op.ReplyTo, op.Payload, op.EditTime
	if err := t.updateMessage(v.msg, v.rawMsg); err != nil {
		return nil, err
	}
	if err := t.react(&v.msg, op.Reaction); err != nil {
		return nil, err
	}
	return Accepted{ID: v.msg.ID, Order: v.msg.Order, Edited: true}, t.messageEvent(&v.msg, MessageEdited)
}

func (op AcceptMessage) sameContent(msg Message) bool {
	if msg.IsExpired() {
		return bytes.Equal(msg.Digest, contentHash(op.Type, op.ReplyTo, op.Payload))
	}
	return msg.Type == op.Type && msg.ReplyTo == op.ReplyTo && bytes.Equal(msg.Payload, op.Payload)
}

func contentHash(kind int32, replyTo int64, payload []byte) []byte {
	h := sha256.New()
	var head [12]byte
	binary.BigEndian.PutUint32(head[:], uint32(kind))
	binary.BigEndian.PutUint64(head[4:], uint64(replyTo))
	h.Write(head[:])
	h.Write(payload)
	return h.Sum(nil)
}

func (op EnqueueMessage) size() int { return opOverhead + len(op.Payload) + 2*len(op.Source) }

func (op EnqueueMessage) apply(t *txn) (any, error) {
	if err := checkMessage(op.Account, op.Conversation, op.GUID, op.Payload); err != nil {
		return nil, err
	}
	if len(op.Source) > MaxSource {
		return nil, fmt.Errorf("source of %d bytes: %w", len(op.Source), ErrInvalid)
	}
	if op.Source != "" {
		msg, found, err := t.bySource(op.Account, op.Source)
		if err != nil {
			return nil, err
		}
		if found {
			return Enqueued{Message: msg, Duplicate: true}, nil
		}
	}
	if err := t.needConversation(op.Account, op.Conversation); err != nil {
		return nil, err
	}
	id := MessageID{Dir: Out, GUID: op.GUID}
	taken, err := t.isTaken(op.Account, op.Conversation, id)
	if err != nil {
		return nil, err
	}
	if taken {
		return nil, fmt.Errorf("queue %s: %w", id, ErrGUIDTaken)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	outbox, err := t.w.outbox(t, op.Account)
	if err != nil {
		return nil, err
	}
	size := uint64(len(op.Payload))
	if limits := t.w.store.opts; outbox.rows+1 > limits.OutboxRows || outbox.bytes+size > limits.OutboxBytes {
		return nil, fmt.Errorf("account %s has %d undelivered messages of %d bytes: %w",
			op.Account.Short(), outbox.rows, outbox.bytes, ErrOutboxFull)
	}
	msg := Message{
		Account: op.Account, Conversation: op.Conversation,
		ID:      id,
		Type:    op.Type,
		ReplyTo: op.ReplyTo,
		Created: orNow(op.Created, t.now),
		Payload: op.Payload,
		State:   StatePending,
		Source:  op.Source,
		Held:    op.held,
	}
	msg.SendTime, msg.StateTime = PlausibleTime(op.SendTime, msg.Created), msg.Created
	if err := t.insertMessage(&msg, op.Reaction); err != nil {
		return nil, err
	}
	t.count(&outbox.rows, outbox.rows+1)
	t.count(&outbox.bytes, outbox.bytes+size)
	if err := t.put(outboxKey(op.Account, op.Conversation, msg.Order), size); err != nil {
		return nil, err
	}
	if op.Source != "" {
		if err := t.put(sourceKey(op.Account, op.Source), sourceRow{Conversation: op.Conversation, Order: msg.Order}); err != nil {
			return nil, err
		}
	}
	return Enqueued{Message: msg}, t.messageEvent(&msg, MessageQueued)
}

// bySource finds the message that was queued for a source. A row whose message is
// gone with its contact, or whose place another message has taken, is stale.
func (t *txn) bySource(account identity.PublicKey, source string) (Message, bool, error) {
	var row sourceRow
	_, err := t.load(sourceKey(account, source), &row)
	if errors.Is(err, ErrNotFound) {
		return Message{}, false, nil
	}
	if err != nil {
		return Message{}, false, err
	}
	msg, _, err := t.message(account, row.Conversation, row.Order)
	if errors.Is(err, ErrNotFound) {
		return Message{}, false, nil
	}
	return msg, err == nil && msg.ID.Dir == Out && msg.Source == source, err
}

func (op MarkDelivered) size() int { return opOverhead }

func (op MarkDelivered) apply(t *txn) (any, error) {
	return t.settle(op.Account, op.Conversation, op.GUID, func(msg *Message) (EventKind, bool) {
		if msg.State != StatePending && msg.State != StateFailed {
			return 0, false
		}
		msg.State, msg.StateTime, msg.Reason = StateDelivered, orNow(op.Time, t.now), ""
		return MessageDelivered, true
	})
}

func (op FailMessage) size() int { return opOverhead + len(op.Reason) }

func (op FailMessage) apply(t *txn) (any, error) {
	if err := checkTexts(op.Reason); err != nil {
		return nil, err
	}
	return t.settle(op.Account, op.Conversation, op.GUID, func(msg *Message) (EventKind, bool) {
		if msg.State != StatePending {
			return 0, false
		}
		msg.State, msg.StateTime, msg.Reason = StateFailed, orNow(op.Time, t.now), op.Reason
		return MessageFailed, true
	})
}

// settle changes the state of an outgoing message and takes it out of the outbox.
func (t *txn) settle(
	account identity.PublicKey, conversation ConversationID, guid int64, change func(*Message) (EventKind, bool),
) (any, error) {
	var ref messageRef
	_, err := t.load(refKey(account, conversation, MessageID{Dir: Out, GUID: guid}), &ref)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return nil, err
	}
	msg, raw, err := t.message(account, conversation, ref.Order)
	if err != nil {
		return nil, missingIsCorrupt(err)
	}
	pending := msg.State == StatePending
	kind, changed := change(&msg)
	if !changed {
		return false, nil
	}
	if pending {
		outbox, err := t.w.outbox(t, account)
		if err != nil {
			return nil, err
		}
		t.count(&outbox.rows, outbox.rows-1)
		t.count(&outbox.bytes, outbox.bytes-uint64(len(msg.Payload)))
		t.delete(outboxKey(account, conversation, msg.Order))
	}
	if err := t.updateMessage(msg, raw); err != nil {
		return nil, err
	}
	return true, t.messageEvent(&msg, kind)
}

// variant is one stored message of a guid.
type variant struct {
	ref    messageRef
	rawRef []byte
	msg    Message
	rawMsg []byte
}

func (v variant) duplicate() Accepted {
	return Accepted{ID: v.msg.ID, Order: v.msg.Order, Duplicate: true}
}

// variants reads what is stored for a guid, in order.
func (t *txn) variants(account identity.PublicKey, conversation ConversationID, id MessageID) ([]variant, error) {
	if isNew, err := t.isNew(account, conversation, id.GUID); isNew || err != nil {
		return nil, err
	}
	var found []variant
	for ; id.Variant < MaxVariants; id.Variant++ {
		var v variant
		var err error
		v.rawRef, err = t.load(refKey(account, conversation, id), &v.ref)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		if v.msg, v.rawMsg, err = t.message(account, conversation, v.ref.Order); err != nil {
			return nil, missingIsCorrupt(err)
		}
		found = append(found, v)
	}
	return found, nil
}

// isTaken reports whether there is a message with the id.
func (t *txn) isTaken(account identity.PublicKey, conversation ConversationID, id MessageID) (bool, error) {
	if isNew, err := t.isNew(account, conversation, id.GUID); isNew || err != nil {
		return false, err
	}
	return t.has(refKey(account, conversation, id))
}

func (t *txn) message(account identity.PublicKey, conversation ConversationID, order uint64) (Message, []byte, error) {
	msg := Message{Account: account, Conversation: conversation, Order: order}
	raw, err := t.load(messageKey(account, conversation, order), &msg)
	return msg, raw, err
}

// insertMessage gives the message the next position of its conversation and
// writes it with its reference.
func (t *txn) insertMessage(msg *Message, reaction *ReactionTo) error {
	c, err := t.w.conversation(t, msg.Account, msg.Conversation)
	if err != nil {
		return err
	}
	t.count(&c.lastOrder, c.lastOrder+1)
	msg.Order = c.lastOrder
	t.w.know(c, msg.ID.GUID)
	if err := t.put(messageKey(msg.Account, msg.Conversation, msg.Order), msg); err != nil {
		return err
	}
	if err := t.put(refKey(msg.Account, msg.Conversation, msg.ID), messageRef{Order: msg.Order}); err != nil {
		return err
	}
	return t.react(msg, reaction)
}

func (t *txn) updateMessage(msg Message, old []byte) error {
	return t.update(messageKey(msg.Account, msg.Conversation, msg.Order), old, msg)
}

func (t *txn) messageEvent(msg *Message, kind EventKind) error {
	ev := Event{Account: msg.Account, Conversation: msg.Conversation, Kind: kind, Message: msg.ID, Order: msg.Order}
	if kind == MessageFailed {
		ev.Reason = msg.Reason
	}
	return t.event(ev)
}

// sumOutbox counts undelivered messages and their bytes.
func (t *txn) sumOutbox(prefixes ...[]byte) (rows, bytes uint64, err error) {
	for _, prefix := range prefixes {
		err = errors.Join(err, t.scan(prefix, func(_, value []byte) error {
			var size uint64
			if err := decode(value, &size); err != nil {
				return err
			}
			rows++
			bytes += size
			return nil
		}))
	}
	return rows, bytes, err
}

func checkMessage(account identity.PublicKey, conversation ConversationID, guid int64, payload []byte) error {
	if err := checkConversation(account, conversation); err != nil {
		return err
	}
	if guid == 0 {
		return fmt.Errorf("message id is 0: %w", ErrInvalid)
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("payload of %d bytes: %w", len(payload), ErrInvalid)
	}
	return nil
}

func orNow(given, now Millis) Millis {
	if given == 0 {
		return now
	}
	return given
}
