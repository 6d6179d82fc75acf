// SPDX-License-Identifier: MPL-2.0

package groupchat

import (
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
)

// Name returns what a group is called in Matrix.
func Name(g store.Group) string {
	if name := msgconv.CleanName(g.Name); name != "" {
		return name
	}
	return "Mimir group " + g.ID.Short()
}

// SystemText returns what a message of a mediator reports, for people. It returns "" for
// what the room shows in another way: a deletion is a redaction. name returns what
// somebody is called.
func SystemText(payload []byte, name func(identity.PublicKey) string) string {
	return eventlog.SystemText(payload, name, msgconv.CleanName)
}

// StateText returns what the room of a group is told when the group gets into its state,
// "" for nothing. known says that the room was told of the group before.
func StateText(g store.Group, known bool) string {
	switch g.State {
	case store.GroupMember:
		if known {
			return "You are a member of this group."
		}
		return ""
	case store.GroupJoining:
		return "You have accepted the invite. You are a member as soon as the mediator of the group confirms it."
	case store.GroupDeclined:
		return "You have declined the invite."
	case store.GroupFailed:
		return "The invite was not accepted by the mediator of the group" + because(g) + "."
	case store.GroupReadOnly:
		return "You may only read in this group."
	case store.GroupBanned:
		return "You were banned from this group: nothing new comes, and what you write is not sent."
	case store.GroupLeft:
		return "You have left this group: nothing new comes, and what you write is not sent."
	case store.GroupLost:
		return "You are not a member of this group any more, and its mediator does not say why: nothing new comes, and what you write is not sent."
	case store.GroupDeleted:
		return "This group was deleted for everybody: nothing new comes, and what you write is not sent."
	case store.GroupMediatorGone:
		return "The mediator of this group has not been reachable for a long time" + because(g) + ". What you write is sent when it is back."
	default:
		return ""
	}
}

// WhyUndelivered says why a message to a group is undelivered, as far as the store knows.
func WhyUndelivered(g store.Group, m store.Message) string {
	switch {
	case !g.State.IsActive():
		return "you are not a member of the group"
	case m.Held:
		return "a file is being uploaded"
	case g.State == store.GroupReadOnly:
		return "you may only read in the group"
	case g.State == store.GroupMediatorGone:
		return "the mediator of the group has not been reachable for a long time"
	default:
		return "the mediator of the group has not confirmed it"
	}
}

func because(g store.Group) string {
	if reason := msgconv.CleanName(g.Reason); reason != "" {
		return " (" + reason + ")"
	}
	return ""
}

// Unreadable is what the room shows in place of a message that could not be decrypted or
// read.
const Unreadable = "A message is here that could not be decrypted or read. Its sender may use another key of the group, or a newer app."

// Deleted is what the room shows in place of a message that was deleted for everybody
// before the room had it.
const Deleted = "A message was here that was deleted for everybody."
