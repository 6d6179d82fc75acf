// SPDX-License-Identifier: MPL-2.0

package store

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// toVersion2 derives the rows of the reactions that count from the messages, gives
// blocked contacts the state that unblocking restores, and gives accounts the priority
// of their role, which is primary: above that of a phone. Everything else that is new
// in version 2 begins empty.
func toVersion2(db *pebble.DB, b *pebble.Batch) error {
	latest := make(map[string]Millis) // of each row that was written
	for row, err := range scanPrefix(db, []byte{spaceAccount}) {
		if err != nil {
			return err
		}
		key, err := parseKey(row.key)
		if err != nil {
			return err
		}
		switch key.table {
		case tableAccount:
			err = migratePriority(b, key, row)
		case tableContact:
			err = migrateBlocked(b, key, row)
		case tableMessage:
			err = migrateReaction(b, key, row, latest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// migratePriority: version 1 announced every account like a phone.
func migratePriority(b *pebble.Batch, key parsedKey, row row) error {
	raw, err := row.value()
	if err != nil {
		return err
	}
	var a Account
	if err := decode(raw, &a); err != nil || a.Priority != 1 {
		return err
	}
	a.Priority = 2
	if raw, err = mergeUnknown(raw, a); err != nil {
		return err
	}
	return b.Set(accountKey(key.account), raw, nil)
}

// migrateBlocked notes that a blocked contact was accepted before: version 1 blocked no
// others.
func migrateBlocked(b *pebble.Batch, key parsedKey, row row) error {
	raw, err := row.value()
	if err != nil {
		return err
	}
	var c Contact
	if err := decode(raw, &c); err != nil || c.State != ContactBlocked {
		return err
	}
	c.Unblocked = ContactAccepted
	if raw, err = mergeUnknown(raw, c); err != nil {
		return err
	}
	return b.Set(ownerKey(key.account, key.conversation), raw, nil)
}

func migrateReaction(b *pebble.Batch, key parsedKey, row row, latest map[string]Millis) error {
	msg := Message{Account: key.account, Conversation: key.conversation, Order: key.number}
	if err := row.load(&msg); err != nil {
		return err
	}
	r, ok := readReaction(&msg)
	if !ok {
		return nil
	}
	place := reactionKey(key.account, key.conversation, r.Target, r.Dir, identity.PublicKey{})
	if before, found := latest[string(place)]; found && before > r.SendTime {
		return nil
	}
	latest[string(place)] = r.SendTime
	raw, err := encode(r)
	if err != nil {
		return err
	}
	return b.Set(place, raw, nil)
}

// readReaction reads a message as a reaction; false when it is not one. Version 1 did
// not store what it had parsed, so this step alone reads a payload.
func readReaction(msg *Message) (Reaction, bool) {
	if peer.MessageType(msg.Type) != peer.TypeReaction {
		return Reaction{}, false
	}
	r, err := peer.ParseReaction(msg.Payload)
	if err != nil {
		return Reaction{}, false
	}
	return Reaction{
		Target: int64(r.Target), Dir: msg.ID.Dir, Emoji: r.Emoji,
		SendTime: Millis(peer.NormalizeSendTime(int64(msg.SendTime))), Message: msg.ID,
	}, true
}
