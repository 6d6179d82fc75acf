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

// maxPart bounds the parts of a message. A text of more parts would be larger than the
// protocol allows.
const maxPart = 9999

// Login returns the id of an account's login.
func Login(account identity.PublicKey) networkid.UserLoginID {
	return networkid.UserLoginID(account.String())
}

// ParseLogin parses the result of [Login].
func ParseLogin(id networkid.UserLoginID) (identity.PublicKey, error) {
	key, err := parseKey(string(id))
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("login id: %w", err)
	}
	return key, nil
}

// User returns the id of an identity's ghost.
func User(key identity.PublicKey) networkid.UserID { return networkid.UserID(key.String()) }

// ParseUser parses the result of [User].
func ParseUser(id networkid.UserID) (identity.PublicKey, error) {
	key, err := parseKey(string(id))
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("user id: %w", err)
	}
	return key, nil
}

// Portal returns the key of a conversation of an account.
func Portal(account identity.PublicKey, conversation store.ConversationID) networkid.PortalKey {
	return networkid.PortalKey{ID: networkid.PortalID(conversation.String()), Receiver: Login(account)}
}

// ParsePortal parses the result of [Portal].
func ParsePortal(key networkid.PortalKey) (account identity.PublicKey, conversation store.ConversationID, err error) {
	if account, err = ParseLogin(key.Receiver); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	if conversation, err = parseConversation(string(key.ID)); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	return account, conversation, nil
}

// Message returns the id of a part of a message. Parts count from 0.
func Message(conversation store.ConversationID, id store.MessageID, part int) networkid.MessageID {
	text := conversation.String() + "/" + id.String()
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseMessage parses the result of [Message]. It rejects any other form.
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

// Notice returns the id of a notice in a conversation about an event of the event log.
// Parts count from 0.
func Notice(conversation store.ConversationID, event uint64, part int) networkid.MessageID {
	text := conversation.String() + "/n" + strconv.FormatUint(event, 10)
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseNotice returns the sequence number of the event in the result of [Notice].
func ParseNotice(id networkid.MessageID) (event uint64, err error) {
	_, rest, _ := strings.Cut(string(id), "/n")
	number, _, _ := strings.Cut(rest, "/")
	if event, err = strconv.ParseUint(number, 10, 64); err != nil {
		return 0, fmt.Errorf("notice id: %.64q", rest)
	}
	return event, nil
}

// parseConversation parses the result of ConversationID.String.
func parseConversation(text string) (store.ConversationID, error) {
	id, err := store.ParseConversationID(text)
	if err == nil && id.Kind() == store.KindContact {
		_, err = parseKey(text)
	}
	return id, err
}

// parseKey parses a key in lower case: an id has one spelling.
func parseKey(text string) (identity.PublicKey, error) {
	key, err := identity.ParsePublicKey(text)
	if err == nil && key.String() != text {
		err = fmt.Errorf("not in lower case")
	}
	return key, err
}
