// SPDX-License-Identifier: MPL-2.0

// Package eventlog names what is in the log of an account: the kinds of events, the
// types of messages, and what each of them means. The API, the commands, the bridge and
// docs/events.md have these names from here. The package is pure: it reads values that
// its callers have read from the store, and may import actors/store and proto alone.
package eventlog

import (
	"fmt"
	"unicode/utf8"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// Kind is a kind of event. Its name is store.EventKind.String.
type Kind struct {
	Kind    store.EventKind
	Meaning string
	// Fields are those that an event of the kind has in the API, besides "seq", "kind" and
	// "time".
	Fields []string
}

// Fields of the API that events share.
var (
	ofContact = []string{"contact", "name"}
	ofMessage = []string{"contact", "name", "message"}
	ofGroup   = []string{"group", "name"}
)

func and(fields []string, more ...string) []string {
	return append(fields[:len(fields):len(fields)], more...)
}

// Kinds returns all kinds of events, in the order of their numbers.
func Kinds() []Kind {
	return []Kind{
		{store.AccountAdded, "the account was created or imported", nil},
		{store.AccountChanged, "name, info, avatar, role or another setting of the account has changed", nil},
		{store.ContactAdded, "the contact is in the list of contacts now, as one who is accepted, has asked to be, or has only connected", ofContact},
		{store.ContactChanged, "the contact has changed, in what `reason` lists: `nickname`, `name` (ours for them), `info`, `avatar`, `muted`, `unmuted`, `asked`, `requested`, `accepted`, `declined`, `blocked`, `unblocked`", and(ofContact, "reason")},
		{store.ContactRemoved, "the contact was removed with all messages", ofContact},
		{store.NodeKeyChanged, "the contact is connected from a new device; reason `unconfirmed`: only their key speaks for it", and(ofContact, "node", "reason")},
		{store.MessageReceived, "a message of the contact was stored", ofMessage},
		{store.MessageEdited, "the contact has replaced the content of a message", ofMessage},
		{store.MessageQueued, "a message was put into the outbox", ofMessage},
		{store.MessageDelivered, "a device of the contact has acknowledged a message", ofMessage},
		{store.MessageFailed, "a message was given up", and(ofMessage, "reason")},
		{store.ForeignNodeAnnounced, "trackers lead to a node that is none of the account's devices, with its signature", []string{"node"}},
		{store.CallMissed, "the contact has called and nobody answered", ofContact},
		{store.ContactAnswered, "the contact has answered our request", and(ofContact, "accepted")},
		{store.MediaChanged, "the file of a message is in another state, see its `state`", and(ofMessage, "reason")},
		{store.HandshakeRelayed, "a node has relayed a handshake: somebody is in between; `reason` is the identity on the other side", []string{"node", "reason"}},
		{store.DeviceRefused, "somebody connected as the contact from a device that nothing speaks for, and was turned away", and(ofContact, "node")},
		{store.RequestReceived, "the contact asks to be one, and waits for an answer", and(ofContact, "request")},
		{store.GroupAdded, "the group is in the list of groups now, as one that the account is in, is invited to or creates", ofGroup},
		{store.GroupChanged, "state, name, description, picture, own permissions or a setting of the group has changed", ofGroup},
		{store.GroupRemoved, "the group was removed with all messages", ofGroup},
		{store.InviteReceived, "somebody invites the account to the group, and waits for an answer", ofGroup},
		{store.MembersChanged, "members have come or left, or have other permissions or profiles; without `member` several", and(ofGroup, "member", "member_name")},
		{store.MessageSynced, "another device of the account has sent a message to the group", and(ofGroup, "message")},
		{store.MessageDeleted, "a message was deleted for everybody in the group", and(ofGroup, "message")},
		{store.GroupTaskDone, "the mediator of the group has done what the account asked for", and(ofGroup, "task", "member", "member_name", "message", "reason")},
		{store.GroupTaskFailed, "what the account asked of the mediator of the group was given up", and(ofGroup, "task", "member", "member_name", "message", "reason")},
		{store.ConversationRead, "our user has read the conversation up to the message at position `order`; of a group it has `group` in place of `contact`", and(ofContact, "order")},
		{store.MessagesExpired, "messages of the conversation were removed here, by retention or because somebody cleared it; a group has `group` in place of `contact`", ofContact},
	}
}

// Type is a type of message.
type Type struct {
	Type    peer.MessageType
	Name    string
	Meaning string
	// Fields are those that a message of the type has in the API, besides those of all
	// messages.
	Fields []string
}

// Unknown is the name of a type that this program does not know. Apps show such a message
// as text.
const Unknown = "unknown"

// Types returns all types of messages that conversations have, in the order of their
// numbers.
func Types() []Type {
	return []Type{
		{peer.TypeText, "text", "plain text", []string{"text"}},
		{peer.TypeImage, "image", "a picture", []string{"file"}},
		{peer.TypeCall, "call", "the record of a call; current apps keep it to themselves", nil},
		{peer.TypeFile, "file", "any other file, also a voice message", []string{"file"}},
		{peer.TypeReaction, "reaction", "a reaction to a message; the latest one of each side counts", []string{"reaction"}},
		{peer.TypeSystem, "system", "what a mediator says in a group chat", nil},
	}
}

// TypeName returns the name of a message's type, or [Unknown].
func TypeName(m store.Message) string {
	for _, t := range Types() {
		if int32(t.Type) == m.Type {
			return t.Name
		}
	}
	return Unknown
}

// HasFile reports whether messages of a type come with a file.
func HasFile(m store.Message) bool {
	t := peer.MessageType(m.Type)
	return t == peer.TypeImage || t == peer.TypeFile
}

// Text returns the text of a message of that type; false for other types, and for bytes
// that are not text.
func Text(m store.Message) (string, bool) {
	if peer.MessageType(m.Type) != peer.TypeText || !utf8.Valid(m.Payload) {
		return "", false
	}
	return string(m.Payload), true
}

// SystemText returns what a message of a mediator reports, for people. It returns "" for
// a deletion, which the deleted message shows. name returns what somebody is called, clean
// makes text of others fit to be shown.
func SystemText(payload []byte, name func(identity.PublicKey) string, clean func(string) string) string {
	s, err := mediator.ParseSystem(payload)
	if err != nil {
		return "The mediator reports something that this program does not know."
	}
	switch s.Event {
	case mediator.EventUserAdded:
		if s.Actor == s.User || s.Actor.IsZero() {
			return name(s.User) + " has joined the group."
		}
		return fmt.Sprintf("%s has joined the group, invited by %s.", name(s.User), name(s.Actor))
	case mediator.EventUserLeft:
		return name(s.User) + " has left the group."
	case mediator.EventUserBanned:
		return fmt.Sprintf("%s has banned %s from the group.", name(s.Actor), name(s.User))
	case mediator.EventPermissions:
		return fmt.Sprintf("%s has changed the role of %s to %s.", name(s.Actor), name(s.User), s.Permissions)
	case mediator.EventInfoChanged:
		return infoText(s, name(s.Actor), clean)
	default: // deletions, and what is never stored
		return ""
	}
}

func infoText(s mediator.System, actor string, clean func(string) string) string {
	switch {
	case s.Name != nil:
		return fmt.Sprintf("%s has changed the name of the group to %s.", actor, clean(*s.Name))
	case s.Description != nil:
		return actor + " has changed the description of the group."
	case s.Avatar != nil:
		return actor + " has changed the picture of the group."
	default:
		return actor + " has changed the group."
	}
}

// IsReaction reports whether a message is a reaction to another one.
func IsReaction(m store.Message) bool { return peer.MessageType(m.Type) == peer.TypeReaction }

// Reaction returns what a reaction says; false for other types, and for one that cannot
// be read.
func Reaction(m store.Message) (peer.Reaction, bool) {
	if !IsReaction(m) {
		return peer.Reaction{}, false
	}
	r, err := peer.ParseReaction(m.Payload)
	return r, err == nil
}
