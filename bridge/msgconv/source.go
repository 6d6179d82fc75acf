// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"
)

// IsMatrixSource reports whether a message was written in a room. The source of such a
// message is the id of the Matrix event, so that handling the event again does not queue
// the message again.
func IsMatrixSource(source string) bool { return strings.HasPrefix(source, "$") }

// PartSource returns the source of the message that has a part of an event's text. The
// source of part 0 is the event id alone.
func PartSource(evt id.EventID, part int) string {
	if part == 0 {
		return string(evt)
	}
	return string(evt) + "#" + strconv.Itoa(part)
}

// SourceEvent returns the event that a message was written with, "" if it was not
// written in a room.
func SourceEvent(source string) id.EventID {
	if !IsMatrixSource(source) {
		return ""
	}
	if i := strings.LastIndexByte(source, '#'); i >= 0 {
		if part, err := strconv.Atoi(source[i+1:]); err == nil && part > 0 {
			source = source[:i]
		}
	}
	return id.EventID(source)
}
