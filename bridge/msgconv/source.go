// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"
)

// The source of a message that was written in a room is the id of the event, so
// that handling the event again queues nothing anew.

// IsMatrixSource tells messages that were written in a room.
func IsMatrixSource(source string) bool { return strings.HasPrefix(source, "$") }

// PartSource is the source of a part of what an event says. The first part has
// the event's id alone.
func PartSource(evt id.EventID, part int) string {
	if part == 0 {
		return string(evt)
	}
	return string(evt) + "#" + strconv.Itoa(part)
}

// SourceEvent returns the event that a message comes from, "" when it was not
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
