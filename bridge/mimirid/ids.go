// SPDX-License-Identifier: MPL-2.0

package mimirid

import (
	"fmt"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// maxPart bounds the part numbers that are read. A text that was cut into more
// would be larger than the protocol allows.
const maxPart = 9999

// Login names the login of an account.
func Login(account identity.PublicKey) networkid.UserLoginID {
	return networkid.UserLoginID(account.String())
}

// ParseLogin reads what Login writes.
func ParseLogin(id networkid.UserLoginID) (identity.PublicKey, error) {
	key, err := parseKey(string(id))
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("login id: %w", err)
	}
	return key, nil
}

// User names an identity as a Matrix ghost.
func User(key identity.PublicKey) networkid.UserID { return networkid.UserID(key.String()) }

// ParseUser reads what User writes.
func ParseUser(id networkid.UserID) (identity.PublicKey, error) {
	key, err := parseKey(string(id))
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("user id: %w", err)
	}
	return key, nil
}

// Portal names the conversation of an account with a contact.
func Portal(account identity.PublicKey, conversation store.ConversationID) networkid.PortalKey {
	return networkid.PortalKey{ID: networkid.PortalID(conversation.String()), Receiver: Login(account)}
}

// ParsePortal reads what Portal writes.
func ParsePortal(key networkid.PortalKey) (account identity.PublicKey, conversation store.ConversationID, err error) {
	if account, err = ParseLogin(key.Receiver); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	if conversation, err = parseConversation(string(key.ID)); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	return account, conversation, nil
}

// Message names a part of a message. Parts count from 0; most messages have no
// other.
func Message(conversation store.ConversationID, id store.MessageID, part int) networkid.MessageID {
	text := conversation.String() + "/" + id.String()
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseMessage reads what Message writes, and nothing else.
func ParseMessage(id networkid.MessageID) (conversation store.ConversationID, message store.MessageID, part int, err error) {
	fail := func(err error) (store.ConversationID, store.MessageID, int, error) {
		return store.ConversationID{}, store.MessageID{}, 0, fmt.Errorf("message id: %w", err)
	}
	key, rest, _ := strings.Cut(string(id), "/")
	text, number, hasPart := strings.Cut(rest, "/")
	if conversation, err = parseConversation(key); err != nil {
		return fail(err)
	}
	if message, err = store.ParseMessageID(text); err != nil {
		return fail(err)
	}
	if hasPart {
		if part, err = strconv.Atoi(number); err != nil || part < 1 || part > maxPart || strconv.Itoa(part) != number {
			return fail(fmt.Errorf("part %.16q", number))
		}
	}
	return conversation, message, part, nil
}

// Notice names something that is said in a conversation because of an event of the
// account's log, and is not a message of the conversation. Parts count from 0.
func Notice(conversation store.ConversationID, event uint64, part int) networkid.MessageID {
	text := conversation.String() + "/n" + strconv.FormatUint(event, 10)
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseNotice returns the event of what Notice writes.
func ParseNotice(id networkid.MessageID) (event uint64, err error) {
	_, rest, _ := strings.Cut(string(id), "/n")
	number, _, _ := strings.Cut(rest, "/")
	if event, err = strconv.ParseUint(number, 10, 64); err != nil {
		return 0, fmt.Errorf("notice id: %.64q", rest)
	}
	return event, nil
}

// parseKey accepts the one form that is written: an id is a name, and a name has
// one spelling.
// parseConversation reads what ConversationID.String writes, of a contact or a group.
func parseConversation(text string) (store.ConversationID, error) {
	id, err := store.ParseConversationID(text)
	if err == nil && id.Kind() == store.KindContact {
		_, err = parseKey(text)
	}
	return id, err
}

func parseKey(text string) (identity.PublicKey, error) {
	key, err := identity.ParsePublicKey(text)
	if err == nil && key.String() != text {
		err = fmt.Errorf("not in lower case")
	}
	return key, err
}
