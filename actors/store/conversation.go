// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mimird/mimird/proto/identity"
)

// ConversationKind says what a conversation is.
type ConversationKind uint8

const (
	// KindContact is the conversation with a contact, named by the contact's key. The
	// zero key names what is about the account itself.
	KindContact ConversationKind = iota
	// KindGroup is a group chat, named by a hash of its mediator and chat id.
	KindGroup
)

// ConversationID names a conversation within an account. It is comparable. The zero
// value names what is about the account itself and has the kind of contacts.
//
// Conversations of two kinds never share a row, whatever their 32 bytes are: the kind
// is part of every key and every record (see schema.go).
type ConversationID struct {
	kind ConversationKind
	id   [conversationSize]byte
}

// conversationSize is how many bytes name a conversation of one kind.
const conversationSize = 32

// ContactConversation names the conversation with a contact. The zero key gives the
// zero id.
func ContactConversation(contact identity.PublicKey) ConversationID {
	return ConversationID{kind: KindContact, id: contact}
}

// groupDomain separates the hash that names a group chat from other uses of SHA-256.
// The zero byte ends it, so no other domain begins with it.
const groupDomain = "mimird group conversation\x00"

// GroupConversation names the group chat that a mediator knows under a chat id. Two
// mediators may give the same chat id to different chats. The pair does not follow
// from the name; the row of the group has it, see [Group].
func GroupConversation(mediator identity.NodeKey, chat uint64) ConversationID {
	h := sha256.New()
	h.Write([]byte(groupDomain))
	h.Write(mediator[:])
	h.Write(binary.BigEndian.AppendUint64(nil, chat))
	return ConversationID{kind: KindGroup, id: [conversationSize]byte(h.Sum(nil))}
}

// Kind returns what the conversation is.
func (c ConversationID) Kind() ConversationKind { return c.kind }

// IsZero reports whether the id names no conversation but the account itself.
func (c ConversationID) IsZero() bool { return c == ConversationID{} }

// Contact returns the key of the contact, zero for a group chat and for the account
// itself.
func (c ConversationID) Contact() identity.PublicKey {
	if c.kind != KindContact {
		return identity.PublicKey{}
	}
	return c.id
}

// groupText begins the text form of a group chat's name.
const groupText = "group-"

// String returns the text form: of a contact its key, of a group chat "group-" and
// 64 hex digits. It is stable.
func (c ConversationID) String() string { return c.prefix() + hex.EncodeToString(c.id[:]) }

// Short returns the first bytes, for logs.
func (c ConversationID) Short() string { return c.prefix() + hex.EncodeToString(c.id[:4]) }

func (c ConversationID) prefix() string {
	if c.kind == KindGroup {
		return groupText
	}
	return ""
}

// ParseConversationID reads the text form. It accepts exactly what
// [ConversationID.String] writes.
func ParseConversationID(s string) (ConversationID, error) {
	var c ConversationID
	digits, group := strings.CutPrefix(s, groupText)
	if group {
		c.kind = KindGroup
	}
	id, err := hex.DecodeString(digits)
	if err != nil || len(id) != conversationSize {
		return ConversationID{}, fmt.Errorf("parse conversation id %.64q: %w", s, ErrInvalid)
	}
	c.id = [conversationSize]byte(id)
	if c.String() != s {
		return ConversationID{}, fmt.Errorf("parse conversation id %.64q: %w", s, ErrInvalid)
	}
	return c, nil
}

// MarshalText writes the text form.
func (c ConversationID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the text form.
func (c *ConversationID) UnmarshalText(text []byte) (err error) {
	*c, err = ParseConversationID(string(text))
	return err
}

// Conversation names a conversation of this node: one of an account. With a zero ID it
// means what is about the account itself.
type Conversation struct {
	Account identity.PublicKey
	ID      ConversationID
}

// ConversationWith names the conversation of an account with a contact.
func ConversationWith(account, contact identity.PublicKey) Conversation {
	return Conversation{Account: account, ID: ContactConversation(contact)}
}

// Contact returns the key of the contact, zero for a group chat and for the account
// itself.
func (c Conversation) Contact() identity.PublicKey { return c.ID.Contact() }
