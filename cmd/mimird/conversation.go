// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
)

// A conversation is with a contact or in a group, and commands take both in the same place.

// conversationHelp says how a conversation is named.
const conversationHelp = "a contact, by name or key, or a group, by name or id; a name means a contact\nbefore it means a group."

// conversationOf is the id of the conversation of a message.
func conversationOf(m control.Message) string { return cmp.Or(m.Contact, m.Group) }

// conversationID is the id of a contact or group, the one that is not nil.
func conversationID(contact *control.Contact, group *control.Group) string {
	switch {
	case contact != nil:
		return contact.ID
	case group != nil:
		return group.ID
	}
	return ""
}

// conversationName is what a contact or group is called.
func conversationName(contact *control.Contact, group *control.Group) string {
	switch {
	case contact != nil:
		return printable(contact.Name)
	case group != nil:
		return printable(cmp.Or(group.Name, groupStart(group.ID)))
	}
	return ""
}

// conversationStart is the beginning of the id of a conversation, with which commands find it.
func conversationStart(id string) string {
	if strings.HasPrefix(id, "group-") {
		return groupStart(id)
	}
	return keyStart(id)
}

// authorOf is who has written a message: "you", the member of the group, or "" for the
// contact and for the mediator.
func authorOf(m control.Message) string {
	switch {
	case m.Direction == "out":
		return "you"
	case m.Group == "", m.TypeName == "system":
		return ""
	}
	return printable(cmp.Or(m.AuthorName, keyStart(m.Author)))
}

// completeConversation offers the names of contacts and groups when the shell asks for them.
func (f *flags) completeConversation(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	contacts, directive := f.completeContact(cmd, args, typed)
	groups, _ := f.completeGroup(cmd, args, typed)
	return append(contacts, groups...), directive
}
