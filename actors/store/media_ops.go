// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// EnqueueFile puts a message with a file into the outbox, where it is held until
// the file has been uploaded. Source and errors are those of [EnqueueMessage]; so
// is the result, [Enqueued].
type EnqueueFile struct {
	Message EnqueueMessage
	Media   Media // Hash, Size and MIMEType; the file is in the media store
}

func (op EnqueueFile) size() int { return op.Message.size() + opOverhead }

func (op EnqueueFile) apply(t *txn) (any, error) {
	op.Message.held = true
	result, err := op.Message.apply(t)
	if err != nil {
		return nil, err
	}
	queued, ok := result.(Enqueued)
	if !ok || queued.Duplicate {
		return result, nil
	}
	m := op.Media
	m.State, m.Due = MediaUploading, queued.Message.Created
	return queued, t.insertMedia(&queued.Message, &m)
}

// ChangeMedia replaces what is known of the file of a message. It changes nothing
// unless the file is in the state From at that moment; a file without a
// row counts as offered. A change of the state is an event. The result is
// whether anything was written.
type ChangeMedia struct {
	From  MediaState
	Media Media
	// Payload replaces that of the message when it is not nil, and the message is
	// held no longer. Both only while it is undelivered.
	Payload []byte
	// Hold holds the message again.
	Hold bool
}

func (op ChangeMedia) size() int { return opOverhead + len(op.Payload) + len(op.Media.Reason) }

func (op ChangeMedia) apply(t *txn) (any, error) {
	m := op.Media
	if err := checkConversation(m.Account, m.Conversation); err != nil {
		return nil, err
	}
	if err := checkTexts(m.Reason, m.MIMEType); err != nil {
		return nil, err
	}
	if len(op.Payload) > MaxPayload {
		return nil, fmt.Errorf("payload of %d bytes: %w", len(op.Payload), ErrInvalid)
	}
	before := Media{Account: m.Account, Conversation: m.Conversation, Message: m.Message}
	raw, err := t.load(mediaKey(m.Account, m.Conversation, m.Message), &before)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if before.State != op.From {
		return false, nil
	}
	var ref messageRef
	if _, err := t.load(refKey(m.Account, m.Conversation, m.Message), &ref); err != nil {
		return nil, fmt.Errorf("message %s: %w", m.Message, err)
	}
	if op.Payload != nil || op.Hold {
		if err := t.rewrite(m, ref.Order, op.Payload); err != nil {
			return nil, err
		}
	}
	m.Added = orNow(before.Added, t.now)
	if m.State == before.State {
		m.Changed, m.Seq = before.Changed, before.Seq
	} else {
		m.Changed = t.now
		ev := Event{
			Account: m.Account, Conversation: m.Conversation, Kind: MediaChanged, Message: m.Message, Order: ref.Order, Reason: m.Reason,
		}
		if err := t.event(ev); err != nil {
			return nil, err
		}
		if m.Seq, err = t.lastSeq(m.Account); err != nil {
			return nil, err
		}
	}
	return true, t.putMedia(m, before, raw)
}

// rewrite gives an undelivered message its final content, or holds it again when
// payload is nil.
func (t *txn) rewrite(m Media, order uint64, payload []byte) error {
	msg, raw, err := t.message(m.Account, m.Conversation, order)
	if err != nil {
		return missingIsCorrupt(err)
	}
	if msg.State != StatePending {
		return nil
	}
	msg.Held = payload == nil
	if payload != nil {
		outbox, err := t.w.outbox(t, m.Account)
		if err != nil {
			return err
		}
		t.count(&outbox.bytes, outbox.bytes-uint64(len(msg.Payload))+uint64(len(payload)))
		msg.Payload = payload
		if err := t.put(outboxKey(m.Account, m.Conversation, order), uint64(len(payload))); err != nil {
			return err
		}
	}
	return t.updateMessage(msg, raw)
}

// insertMedia writes what is known of the file of a message that is new; nil for
// none.
func (t *txn) insertMedia(msg *Message, media *Media) error {
	if media == nil {
		return nil
	}
	m := *media
	m.Account, m.Conversation, m.Message = msg.Account, msg.Conversation, msg.ID
	m.Added, m.Changed = msg.Created, msg.Created
	var err error
	if m.Seq, err = t.lastSeq(msg.Account); err != nil {
		return err
	}
	return t.putMedia(m, Media{}, nil)
}

// putMedia writes the row and its places in the indexes, in which before was.
func (t *txn) putMedia(m, before Media, old []byte) error {
	places, left := m.places(), before.places()
	t.queued = t.queued || m.waits() || before.waits()
	for _, key := range left {
		if !slices.ContainsFunc(places, func(p []byte) bool { return bytes.Equal(p, key) }) {
			t.delete(key)
		}
	}
	for _, key := range places {
		if !slices.ContainsFunc(left, func(p []byte) bool { return bytes.Equal(p, key) }) {
			t.putRaw(key, nil)
		}
	}
	return t.update(mediaKey(m.Account, m.Conversation, m.Message), old, m)
}

// places are the keys of the rows that lead to this one: its place in the queue of
// transfers, among the stored files by age, and among the messages with the same file.
// A file that waits to be uploaded is in the media store too, but cannot be
// evicted.
func (m Media) places() (keys [][]byte) {
	if m.waits() {
		keys = append(keys, transferKey(m.Account, m.due(), m.Conversation, m.Message))
	}
	if m.State == MediaStored {
		keys = append(keys, storedKey(m.Account, uint64(max(m.Changed, 0)), m.Conversation, m.Message))
	}
	if m.isHere() {
		keys = append(keys, fileKey(m.Account, m.Hash, m.Conversation, m.Message))
	}
	return keys
}

// lastSeq is the number of the event that was appended last.
func (t *txn) lastSeq(account identity.PublicKey) (uint64, error) {
	a, err := t.w.account(t, account)
	if err != nil {
		return 0, err
	}
	return a.lastSeq, nil
}

// forgetMedia removes the files of a conversation from the indexes.
func (t *txn) forgetMedia(account identity.PublicKey, conversation ConversationID) error {
	return t.scan(conversationPrefix(account, tableMedia, conversation), func(key, value []byte) error {
		k, err := parseKey(key)
		if err != nil {
			return err
		}
		m := Media{Account: account, Conversation: conversation, Message: k.message}
		if err := decode(value, &m); err != nil {
			return err
		}
		for _, place := range m.places() {
			t.delete(place)
		}
		return nil
	})
}

// waits reports whether the file is in the queue of transfers.
func (m Media) waits() bool { return m.State == MediaDownloading || m.State == MediaUploading }

// isHere reports whether the file is in the media store.
func (m Media) isHere() bool { return m.State == MediaStored || m.State == MediaUploading }

func (m Media) due() uint64 { return uint64(max(m.Due, 0)) }

// HostedFile is an upload on our file server. The file itself
// is beside the database, under its hash.
type HostedFile struct {
	Hash  files.Hash         `cbor:"-"`
	Owner identity.PublicKey `cbor:"1,keyasint"`
	GUID  int64              `cbor:"2,keyasint,omitempty"`
	Size  int64              `cbor:"3,keyasint,omitempty"`
	Added Millis             `cbor:"4,keyasint,omitempty"`
}

// PutHosted notes a file of the file server. The result is true.
type PutHosted struct{ File HostedFile }

// RemoveHosted forgets a file of the file server. The result is whether it was
// known.
type RemoveHosted struct{ Hash files.Hash }

func (op PutHosted) size() int { return opOverhead }

func (op PutHosted) apply(t *txn) (any, error) {
	if op.File.Hash.IsZero() || op.File.Size <= 0 {
		return nil, fmt.Errorf("hosted file of %d bytes: %w", op.File.Size, ErrInvalid)
	}
	if err := t.needSpace(); err != nil {
		return nil, err
	}
	op.File.Added = orNow(op.File.Added, t.now)
	return true, t.put(hostedKey(op.File.Hash), op.File)
}

func (op RemoveHosted) size() int { return opOverhead }

func (op RemoveHosted) apply(t *txn) (any, error) {
	key := hostedKey(op.Hash)
	known, err := t.has(key)
	if known {
		t.delete(key)
	}
	return known, err
}
