// SPDX-License-Identifier: MPL-2.0

// Package notices tells rooms and users what does not arrive: the outbox of a conversation in
// its room ([WatchOutboxes]), and conversations whose messages do not reach their room in the room
// with the bot ([Troubles]). [Teller] is how the bot talks to a user.
//
// A notice is sent beside the deliveries and delays none of them; a room that does not answer
// delays no other notice. What was told is in the bridge's tables, and each notice has a name
// from which its transaction follows, so that it can be repeated after a crash. A notice
// that fails is retried with a back-off.
//
// The connector builds and runs them.
package notices

import (
	"fmt"

	"github.com/mimird/mimird/actors/store"
)

// MomentForm is the form of times in answers. They are UTC: the bridge does not know the
// zone of the user.
const MomentForm = "2006-01-02 15:04 UTC"

// Moment returns a time in that form.
func Moment(m store.Millis) string { return m.Time().UTC().Format(MomentForm) }

// CountText says how many messages wait.
func CountText(n int) string {
	if n == 1 {
		return "1 message waits"
	}
	return fmt.Sprintf("%d messages wait", n)
}
