// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"

	"github.com/mimird/mimird/actors/control"
)

// What events of groups are in words; see events.go.

// fromOf names who has sent the message of an event, and where: the contact, or the member
// and the group. The mediator has no name.
func fromOf(e control.Event) string {
	if e.Group == "" || e.Message == nil || e.Message.Author == "" {
		return nameOf(e)
	}
	if e.Message.AuthorName == "" && e.Message.TypeName == "system" {
		return nameOf(e)
	}
	return nameOf(e) + ", " + printable(cmp.Or(e.Message.AuthorName, keyStart(e.Message.Author)))
}

func inviteReceived(e control.Event) string {
	return "you are invited to the group " + nameOf(e) + " (answer with: mimird group accept " + groupStart(e.Group) + ", or decline)"
}

func membersChanged(e control.Event) string {
	if e.Member == "" {
		return "the members of " + nameOf(e) + " have changed"
	}
	return nameOf(e) + ": " + printable(cmp.Or(e.MemberName, keyStart(e.Member))) + " has come, left or changed"
}
