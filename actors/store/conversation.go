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
	// zero key names the account itself.
	KindContact ConversationKind = iota
	// KindGroup is a group chat, named by a hash of its mediator and chat id.
	KindGroup
)

var conversationKinds = [...]ConversationKind{KindContact, KindGroup}

// ConversationID names a conversation within an account. It is comparable. The zero
// value names what is about the account itself and has the kind of contacts.
//
// Conversations of two kinds never share a row, whatever their 32 bytes are: the kind
// is part of every key and every record (see schema.go).
type ConversationID [1 + conversationSize]byte // the kind and the name

// conversationSize is how many bytes name a conversation among those of its kind.
const conversationSize = 32

func newConversationID(kind ConversationKind, name [conversationSize]byte) (c ConversationID) {
	c[0] = byte(kind)
	copy(c[1:], name[:])
	return c
}

// ContactConversation names the conversation with a contact. The zero key gives the
// zero id.
func ContactConversation(contact identity.PublicKey) ConversationID {
	return newConversationID(KindContact, contact)
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
	return newConversationID(KindGroup, [conversationSize]byte(h.Sum(nil)))
}

// Kind returns what the conversation is.
func (c ConversationID) Kind() ConversationKind { return ConversationKind(c[0]) }

// name returns the 32 bytes.
func (c ConversationID) name() []byte { return c[1:] }

// IsZero reports whether the id names no conversation but the account itself.
func (c ConversationID) IsZero() bool { return c == ConversationID{} }

// Contact returns the key of the contact, zero for a group chat and for the account
// itself.
func (c ConversationID) Contact() identity.PublicKey {
	if c.Kind() != KindContact {
		return identity.PublicKey{}
	}
	return identity.PublicKey(c.name())
}

// groupText begins the text form of a group chat's name.
const groupText = "group-"

// String returns the text form: of a contact its key, of a group chat "group-" and
// 64 hex digits. It is stable.
func (c ConversationID) String() string { return c.prefix() + hex.EncodeToString(c.name()) }

// Short returns the first bytes, for logs.
func (c ConversationID) Short() string { return c.prefix() + hex.EncodeToString(c.name()[:4]) }

func (c ConversationID) prefix() string {
	if c.Kind() == KindGroup {
		return groupText
	}
	return ""
}

// ParseConversationID reads the text form. It accepts exactly what
// [ConversationID.String] writes.
func ParseConversationID(s string) (ConversationID, error) {
	kind := KindContact
	digits, group := strings.CutPrefix(s, groupText)
	if group {
		kind = KindGroup
	}
	name, err := hex.DecodeString(digits)
	if err == nil && len(name) == conversationSize {
		if c := newConversationID(kind, [conversationSize]byte(name)); c.String() == s {
			return c, nil
		}
	}
	return ConversationID{}, fmt.Errorf("parse conversation id %.64q: %w", s, ErrInvalid)
}

// MarshalText writes the text form.
func (c ConversationID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the text form.
func (c *ConversationID) UnmarshalText(text []byte) (err error) {
	*c, err = ParseConversationID(string(text))
	return err
}

// binary is the form inside of records: of a contact its key, of a group chat its kind
// and 32 bytes, of the account itself nothing. So the records of contacts are those of
// the time before there were other conversations.
func (c ConversationID) binary() []byte {
	switch {
	case c.IsZero():
		return nil
	case c.Kind() == KindContact:
		return c.name()
	default:
		return c[:]
	}
}

// MarshalBinary writes the form inside of records.
func (c ConversationID) MarshalBinary() ([]byte, error) { return c.binary(), nil }

// UnmarshalBinary reads it.
func (c *ConversationID) UnmarshalBinary(b []byte) error {
	switch {
	case len(b) == 0:
		*c = ConversationID{}
	case len(b) == conversationSize:
		*c = newConversationID(KindContact, [conversationSize]byte(b))
	case len(b) == len(c) && ConversationKind(b[0]) == KindGroup:
		*c = ConversationID(b)
	default:
		return fmt.Errorf("conversation id of %d bytes: %w", len(b), ErrCorrupt)
	}
	return nil
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
