// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// What things are in words.

// sentence is an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = "the node has not answered in time"
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".") + "."
}

// localError is about something on this side, such as a file that does not exist.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// refused reports whether the node has answered and said no, or was not asked at all, so
// that to ask again does not help.
func refused(err error) bool {
	_, answered := errors.AsType[*client.Error](err)
	_, local := errors.AsType[localError](err)
	return answered || local
}

// denied says why nothing can be written into a conversation, "" when something can.
func denied(c *control.Conversation) string {
	switch {
	case c == nil:
		return "This conversation was removed."
	case c.Group != nil && c.Group.NoKey:
		return "The key of this group is missing; ask a member to invite you again."
	case c.Group != nil:
		switch c.Group.State {
		case "member":
			return ""
		case "read_only":
			return "You may read in this group, and not write."
		case "invited":
			return "You are invited to this group. Press a to accept, d to decline."
		}
		return "You are not in this group (" + strings.ReplaceAll(c.Group.State, "_", " ") + ")."
	case c.Contact == nil:
		return ""
	case c.Contact.State == "requested":
		text := "Asks to be your contact. Press a to accept, d to decline."
		if c.Contact.Request != "" {
			text += " “" + c.Contact.Request + "”"
		}
		return text
	case c.Contact.State == "blocked":
		return "You have blocked this contact."
	case c.Contact.State == "stranger":
		return "Not a contact of yours; add them with mimird contact add to write to them."
	}
	return ""
}

// request reports whether a conversation waits for a yes or no.
func request(c *control.Conversation) bool {
	return c != nil && (c.Contact != nil && c.Contact.State == "requested" || c.Group != nil && c.Group.State == "invited")
}

// author is who has written a message.
func author(m control.Message, c *control.Conversation) string {
	switch {
	case m.Direction == "out":
		return "you"
	case m.Group != "":
		return cmp.Or(m.AuthorName, start(m.Author))
	case c != nil:
		return c.Name
	}
	return start(m.Contact)
}

// start is the beginning of a key.
func start(key string) string { return key[:min(len(key), 8)] }

// timeOf is the time that a message is shown with.
func timeOf(m control.Message) time.Time {
	if m.Sent.IsZero() {
		return m.Stored
	}
	return m.Sent
}

// mark says how far a message of ours is.
func mark(m control.Message) (string, Style) {
	if m.Direction != "out" || m.Deleted {
		return "", 0
	}
	switch {
	case m.State == "failed":
		return " ✗ not delivered: " + cmp.Or(m.Reason, "unknown reason"), Red
	case m.File != nil && m.File.State == "uploading" && m.State == "pending" && m.File.Reason != "":
		return " … not uploaded yet: " + m.File.Reason, Dim
	case m.File != nil && m.File.State == "uploading" && m.State == "pending":
		return " … uploading" + percent(*m.File), Dim
	case m.State == "pending":
		return " …", Dim
	case m.State == "delivered":
		return " ✓", Green
	}
	return "", 0
}

// percent is how much of a file was transferred.
func percent(f control.File) string {
	if f.Done <= 0 || f.Size <= 0 {
		return ""
	}
	return fmt.Sprintf(" %.0f %%", min(float64(f.Done)/float64(f.Size), 1)*100)
}

// fileState says what is with the file of a message, "" when it is here.
func fileState(m control.Message) string {
	if m.File == nil || m.Direction == "out" {
		return ""
	}
	switch m.File.State {
	case "offered":
		return "not fetched yet"
	case "downloading":
		return "being fetched" + percent(*m.File)
	case "evicted":
		return "removed to make space"
	case "failed":
		return "not fetched: " + cmp.Or(m.File.Reason, "unknown reason")
	}
	return ""
}

// presence says whether a contact is there.
func presence(c control.Conversation, now time.Time) string {
	switch {
	case c.Contact == nil:
		return ""
	case c.Contact.Online:
		return "online"
	case c.Contact.LastSeen.IsZero():
		return ""
	}
	return "seen " + when(c.Contact.LastSeen, now)
}

// when is a time in a few characters.
func when(t, now time.Time) string {
	t = t.In(now.Location())
	switch {
	case t.IsZero():
		return ""
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04")
	case t.Year() == now.Year():
		return t.Format("2 Jan")
	}
	return t.Format("2006")
}

// countText writes a number that is counted up to 1000.
func countText(n int) string {
	if n >= 1000 {
		return "999+"
	}
	return strconv.Itoa(n)
}

// plural writes a number with a noun that takes an s.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}
