// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// maxCallLook is how many events of a conversation [Store.MissedCalls] looks at.
const maxCallLook = 10_000

// Call is a missed call of a contact.
type Call struct {
	Seq  uint64 // of its event
	Time Millis
	// After is the order of the last message that was stored before it, 0 for none.
	After uint64
}

// MissedCalls returns up to limit missed calls of a contact, newest first, of the last
// events of the conversation, and not from before the contact was removed.
func (s *Store) MissedCalls(account, contact identity.PublicKey, limit int) ([]Call, error) {
	var found []Call
	err := s.read(func(r rows) error {
		prefix := conversationPrefix(account, tableConvLog, ContactConversation(contact))
		looked, open := 0, 0 // open calls at the end of found have no message before them yet
		for row, err := range scanBack(r, prefix, prefixEnd(prefix)) {
			if err != nil {
				return err
			}
			if looked++; looked > maxCallLook {
				return nil
			}
			var ev Event
			if err := loadRow(r, eventKey(account, row.number()), &ev); err != nil {
				return missingIsCorrupt(err)
			}
			switch ev.Kind {
			case CallMissed:
				if len(found) < limit {
					found = append(found, Call{Seq: row.number(), Time: ev.Time})
					open++
				}
			case ContactRemoved:
				return nil
			case MessageReceived, MessageQueued:
				for ; open > 0; open-- {
					found[len(found)-open].After = ev.Order
				}
				if len(found) == limit {
					return nil
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("missed calls of %s: %w", contact.Short(), err)
	}
	return found, nil
}
