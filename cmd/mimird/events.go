// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
)

// What events and messages are in words. A new kind of event gets its sentence in
// sentences, a new type of message in summaries; a test fails for one without.

// sentences says what has happened, in one line, for each kind of event.
var sentences = map[store.EventKind]func(e control.Event) string{
	store.AccountAdded:   func(control.Event) string { return "this account was created" },
	store.AccountChanged: func(control.Event) string { return "the settings or the profile of this account have changed" },
	store.ContactAdded:   func(e control.Event) string { return "contact added: " + nameOf(e) },
	store.ContactChanged: contactChanged,
	store.ContactRemoved: func(e control.Event) string { return "contact removed, with all messages: " + nameOf(e) },
	store.NodeKeyChanged: func(e control.Event) string {
		text := nameOf(e) + " is connected from a new device"
		if e.Reason != "" {
			text += ", which nothing but their key speaks for"
		}
		return text + ", node " + e.Node
	},
	store.MessageReceived:  func(e control.Event) string { return fromOf(e) + ": " + summaryOf(e) },
	store.MessageEdited:    func(e control.Event) string { return nameOf(e) + " has changed a message: " + summaryOf(e) },
	store.MessageQueued:    func(e control.Event) string { return "to " + nameOf(e) + ": " + summaryOf(e) },
	store.MessageDelivered: func(e control.Event) string { return nameOf(e) + " has: " + summaryOf(e) },
	store.MessageFailed: func(e control.Event) string {
		return "not delivered to " + nameOf(e) + " (" + printable(e.Reason) + "): " + summaryOf(e)
	},
	store.ForeignNodeAnnounced: func(e control.Event) string {
		return "trackers lead to node " + e.Node + ", with your signature; see: mimird status"
	},
	store.CallMissed:      func(e control.Event) string { return nameOf(e) + " has called" },
	store.ContactAnswered: contactAnswered,
	store.MediaChanged:    mediaChanged,
	store.HandshakeRelayed: func(e control.Event) string {
		return "node " + e.Node + " tries to be in the middle of a conversation; see: mimird status"
	},
	store.DeviceRefused: func(e control.Event) string {
		return "somebody connected as " + nameOf(e) + " from a device that nothing speaks for, and was turned away, node " + e.Node
	},
	store.RequestReceived: func(e control.Event) string {
		text := nameOf(e) + " asks to be your contact"
		if e.Request != "" {
			text += ": " + printable(e.Request)
		}
		return text + " (answer with: mimird contact accept " + keyStart(e.Contact) + ", or decline)"
	},
	store.GroupAdded:     func(e control.Event) string { return "group added: " + nameOf(e) },
	store.GroupChanged:   func(e control.Event) string { return "group changed: " + nameOf(e) },
	store.GroupRemoved:   func(e control.Event) string { return "group removed, with all messages: " + nameOf(e) },
	store.InviteReceived: inviteReceived,
	store.MembersChanged: membersChanged,
	store.MessageSynced:  func(e control.Event) string { return "to " + nameOf(e) + " from another device: " + summaryOf(e) },
	store.MessageDeleted: func(e control.Event) string { return "a message was deleted for everybody in " + nameOf(e) },
	store.GroupTaskDone: func(e control.Event) string {
		return nameOf(e) + ": the mediator has done what you asked for" + note(e)
	},
	store.GroupTaskFailed:  func(e control.Event) string { return nameOf(e) + ": not done" + note(e) },
	store.MessagesExpired:  func(e control.Event) string { return "older messages were removed here: " + nameOf(e) },
	store.ConversationRead: func(e control.Event) string { return "you have read the conversation with " + nameOf(e) },
}

// note is the reason of an event in brackets, "" for none.
func note(e control.Event) string {
	if e.Reason == "" {
		return ""
	}
	return " (" + printable(e.Reason) + ")"
}

// describe says in one line what happened. The kind of a newer node, which has no
// sentence, is said by its name.
func describe(e control.Event) string {
	var kind store.EventKind
	_ = kind.UnmarshalText([]byte(e.Kind)) // 0 for one of a newer node
	if say := sentences[kind]; say != nil {
		return say(e)
	}
	what := printable(strings.ReplaceAll(e.Kind, "_", " "))
	if e.Name != "" {
		what += ": " + nameOf(e)
	}
	return what
}

// nameOf returns the name of the contact or group that an event is about. One that was
// removed has none.
func nameOf(e control.Event) string {
	return printable(cmp.Or(e.Name, keyStart(cmp.Or(e.Contact, e.Group))))
}

// summaryOf says what the message of an event is; it may be gone.
func summaryOf(e control.Event) string {
	if e.Message == nil {
		return "[a message that was removed]"
	}
	return summary(*e.Message)
}

// changes says what has changed of a contact, for the reasons of store.ContactChanged.
var changes = map[string]func(name string) string{
	store.ChangedNickname:  func(name string) string { return "the contact has changed their name: " + name },
	store.ChangedName:      func(name string) string { return "your name for a contact has changed: " + name },
	store.ChangedInfo:      func(name string) string { return name + " has changed their info text" },
	store.ChangedAvatar:    func(name string) string { return name + " has changed their picture" },
	store.ChangedMuted:     func(name string) string { return name + " is muted" },
	store.ChangedUnmuted:   func(name string) string { return name + " is not muted any more" },
	store.ChangedAsked:     func(name string) string { return "your request to " + name + " is waiting to be sent" },
	store.ChangedRequested: func(name string) string { return name + " has asked to be a contact" },
	store.ChangedAccepted:  func(name string) string { return name + " is a contact now" },
	store.ChangedDeclined:  func(name string) string { return "you have declined the request of " + name },
	store.ChangedBlocked:   func(name string) string { return name + " is blocked" },
	store.ChangedUnblocked: func(name string) string { return name + " is not blocked any more" },
}

func contactChanged(e control.Event) string {
	var parts []string
	for reason := range strings.SplitSeq(e.Reason, ",") {
		if say := changes[reason]; say != nil {
			parts = append(parts, say(nameOf(e)))
		}
	}
	if parts == nil { // an event of an older version, or of a newer one
		return "contact changed: " + nameOf(e)
	}
	return strings.Join(parts, "; ")
}

func contactAnswered(e control.Event) string {
	if e.Accepted != nil && *e.Accepted {
		return nameOf(e) + " has said yes to your request"
	}
	return nameOf(e) + " has declined your request"
}

func mediaChanged(e control.Event) string {
	if e.Message == nil || e.Message.File == nil {
		return "a file of a removed message has changed: " + nameOf(e)
	}
	file := *e.Message.File
	what := "the " + kindOfFile(file) + " from " + nameOf(e)
	if e.Message.Direction == "out" {
		what = "the " + kindOfFile(file) + " to " + nameOf(e)
	}
	get := "mimird file get " + conversationStart(cmp.Or(e.Contact, e.Group)) + " " + e.Message.ID
	switch file.State {
	case "offered":
		return what + " is still on the server (fetch it with: " + get + ")"
	case "downloading":
		return what + " is being fetched" + afterFailure(file)
	case "uploading":
		return what + " is being uploaded" + afterFailure(file)
	case "stored":
		if e.Message.Direction == "out" {
			return what + " is uploaded"
		}
		return what + " is here (save it with: " + get + ")"
	case "evicted":
		return what + " was evicted to make space (fetch it again with: " + get + ")"
	case "failed":
		return what + " was not transferred: " + printable(cmp.Or(file.Reason, e.Reason, "for an unknown reason"))
	}
	return what + " is " + printable(file.State)
}

// afterFailure says why a transfer did not end with its last attempt.
func afterFailure(file control.File) string {
	if file.Reason == "" {
		return ""
	}
	return " (the last attempt failed: " + printable(file.Reason) + ")"
}

// summaries says what a message is, in a few words, for each type of message; text is
// said by itself.
var summaries = map[string]func(m control.Message) string{
	"text": func(m control.Message) string {
		if m.Text == "" {
			return fmt.Sprintf("[text that cannot be shown, %d bytes]", len(m.Payload))
		}
		return printable(m.Text) + reference(" (reply to ", m.RefersTo, m.ReplyTo, ")")
	},
	"image": fileSummary,
	"file":  fileSummary,
	"call":  func(control.Message) string { return "[the record of a call]" },
	"reaction": func(m control.Message) string {
		switch {
		case m.Reaction == nil:
			return "[a reaction that cannot be read]"
		case m.Reaction.Emoji == "":
			return "[took a reaction back" + reference(" from ", m.RefersTo, m.Reaction.Target, "") + "]"
		}
		return "[reacted with " + printable(m.Reaction.Emoji) + reference(" to ", m.RefersTo, m.Reaction.Target, "") + "]"
	},
	"system": func(m control.Message) string {
		if m.Text != "" {
			return printable(m.Text)
		}
		return fmt.Sprintf("[system message, %d bytes]", len(m.Payload))
	},
	eventlog.Unknown: func(m control.Message) string {
		return fmt.Sprintf("[a message of an unknown type, %d, %d bytes]", m.Type, len(m.Payload))
	},
}

// summary says in one line what a message is.
func summary(m control.Message) string {
	switch {
	case m.Deleted:
		return "[a message that was deleted for everybody]"
	case m.Unreadable:
		return fmt.Sprintf("[a message that cannot be decrypted, %d bytes]", len(m.Payload))
	}
	if say := summaries[m.TypeName]; say != nil {
		return say(m)
	}
	return summaries[eventlog.Unknown](m)
}

func fileSummary(m control.Message) string {
	if m.File == nil {
		return fmt.Sprintf("[%s that cannot be read, %d bytes]", m.TypeName, len(m.Payload))
	}
	text := "[" + kindOfFile(*m.File)
	if m.File.Size > 0 {
		text += ", " + sizeText(m.File.Size)
	}
	text += "]"
	if m.File.Caption != "" {
		text += " " + printable(m.File.Caption)
	}
	return text + reference(" (reply to ", m.RefersTo, m.ReplyTo, ")")
}

// kindOfFile names a file and says what it is.
func kindOfFile(f control.File) string {
	kind := "file"
	switch {
	case f.Voice:
		return "voice message" // its name is the work of a program
	case f.Picture:
		kind = "picture"
	}
	if f.Name != "" {
		kind += " " + printable(f.Name)
	}
	return kind
}

// reference names the message that another one refers to, by its text when it is there,
// else by its guid. Without either there is nothing to name.
func reference(before string, q *control.Quoted, guid, after string) string {
	switch {
	case q != nil:
		whose := "their"
		if q.Direction == "out" {
			whose = "your"
		}
		if q.Text == "" {
			return before + whose + " " + q.TypeName + " " + q.ID + after
		}
		return before + whose + " " + fmt.Sprintf("“%s”", printable(q.Text)) + after
	case guid != "":
		return before + "message " + printable(guid) + ", which is not here" + after
	}
	return ""
}

// keyStart is the beginning of a contact's key, with which commands find the contact.
func keyStart(key string) string {
	const digits = 16
	return key[:min(len(key), digits)]
}

// idWidth is how wide the ids of messages are, with which lines begin.
const idWidth = 17

// eventLine is an event as a line: when, the id of the message that it is about, and
// what has happened.
func eventLine(e control.Event) string {
	id := ""
	if e.Message != nil {
		id = e.Message.ID
	}
	return fmt.Sprintf("%s  %-*s  %s", e.Time.Local().Format(time.DateTime), idWidth, id, describe(e))
}

// printable keeps text of others from controlling the terminal: control characters and
// marks that turn the text around become spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}
