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

// Portal returns the key of a conversation of an account. A group has one portal for all
// accounts that are in it: its key does not depend on the account.
func Portal(account identity.PublicKey, conversation store.ConversationID) networkid.PortalKey {
	key := networkid.PortalKey{ID: networkid.PortalID(conversation.String())}
	if conversation.Kind() == store.KindContact {
		key.Receiver = Login(account)
	}
	return key
}

// ParsePortal parses the result of [Portal]. The account is zero for a group.
func ParsePortal(key networkid.PortalKey) (account identity.PublicKey, conversation store.ConversationID, err error) {
	if conversation, err = parseConversation(string(key.ID)); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	if conversation.Kind() == store.KindGroup {
		if key.Receiver != "" {
			err = fmt.Errorf("portal id: a group with the receiver %.64q", key.Receiver)
		}
		return account, conversation, err
	}
	if account, err = ParseLogin(key.Receiver); err != nil {
		return account, conversation, fmt.Errorf("portal id: %w", err)
	}
	return account, conversation, nil
}

// Message returns the id of a part of a message. Parts count from 0. The id of a message in
// a group does not depend on who reads it: it has no direction, see [ParseMessage].
func Message(conversation store.ConversationID, id store.MessageID, part int) networkid.MessageID {
	if conversation.Kind() == store.KindGroup {
		id.Dir = store.In
	}
	text := conversation.String() + "/" + id.String()
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseMessage parses the result of [Message]. It rejects any other form. The direction of a
// message in a group is [store.In], also for its author.
func ParseMessage(id networkid.MessageID) (conversation store.ConversationID, message store.MessageID, part int, err error) {
	defer func() {
		if err != nil {
			conversation, message, part = store.ConversationID{}, store.MessageID{}, 0
			err = fmt.Errorf("message id: %w", err)
		}
	}()
	key, rest, _ := strings.Cut(string(id), "/")
	text, number, hasPart := strings.Cut(rest, "/")
	if conversation, err = parseConversation(key); err != nil {
		return conversation, message, part, err
	}
	if message, err = store.ParseMessageID(text); err != nil {
		return conversation, message, part, err
	}
	if conversation.Kind() == store.KindGroup && message.Dir != store.In {
		return conversation, message, part, fmt.Errorf("direction of %.64q", text)
	}
	if hasPart {
		if part, err = strconv.Atoi(number); err != nil || part < 1 || part > maxPart || strconv.Itoa(part) != number {
			return conversation, message, part, fmt.Errorf("part %.16q", number)
		}
	}
	return conversation, message, part, nil
}

// Notice returns the id of a notice in a conversation about an event of the event log of an
// account. Parts count from 0.
func Notice(account identity.PublicKey, conversation store.ConversationID, event uint64, part int) networkid.MessageID {
	text := conversation.String() + "/n"
	if conversation.Kind() == store.KindGroup { // the logs of several accounts are shown in its room
		text += account.String() + "."
	}
	text += strconv.FormatUint(event, 10)
	if part > 0 {
		text += "/" + strconv.Itoa(part)
	}
	return networkid.MessageID(text)
}

// ParseNotice returns the account and the sequence number of the event in the result of
// [Notice]. The account is zero outside of groups.
func ParseNotice(id networkid.MessageID) (account identity.PublicKey, event uint64, err error) {
	_, rest, _ := strings.Cut(string(id), "/n")
	number, _, _ := strings.Cut(rest, "/")
	if name, of, found := strings.Cut(number, "."); found {
		if account, err = parseKey(name); err != nil {
			return account, 0, fmt.Errorf("notice id: %w", err)
		}
		number = of
	}
	if event, err = strconv.ParseUint(number, 10, 64); err != nil {
		return account, 0, fmt.Errorf("notice id: %.64q", rest)
	}
	return account, event, nil
}

// FileNotice returns the id of a notice in a group that the file of a message does not come.
// All accounts that are in the group have one such notice, as they have one message.
func FileNotice(group store.ConversationID, id store.MessageID) networkid.MessageID {
	id.Dir = store.In
	return networkid.MessageID(group.String() + "/f" + id.String())
}

// ParseFileNotice parses the result of [FileNotice].
func ParseFileNotice(id networkid.MessageID) (message store.MessageID, err error) {
	_, rest, found := strings.Cut(string(id), "/f")
	if !found {
		return message, fmt.Errorf("file notice id: %.64q", id)
	}
	return store.ParseMessageID(rest)
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
