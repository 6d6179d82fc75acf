// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

// A transaction is stored as one journal entry per event, so that each event is removed
// when it has been handled, and events of different rooms do not wait for each other.
// Everything else in the transaction is one more entry.

// content is a transaction, parsed leniently: an event that cannot be parsed does not
// affect the others.
type content struct {
	Events         []json.RawMessage             `json:"events,omitempty"`
	Ephemeral      []json.RawMessage             `json:"ephemeral,omitempty"`
	OldEphemeral   []json.RawMessage             `json:"de.sorunome.msc2409.ephemeral,omitempty"`
	ToDevice       []json.RawMessage             `json:"to_device,omitempty"`
	OldToDevice    []json.RawMessage             `json:"de.sorunome.msc2409.to_device,omitempty"`
	DeviceLists    *mautrix.DeviceLists          `json:"device_lists,omitempty"`
	OldDeviceLists *mautrix.DeviceLists          `json:"org.matrix.msc3202.device_lists,omitempty"`
	OTKCounts      map[id.UserID]deviceOTKCounts `json:"device_one_time_keys_count,omitempty"`
	OldOTKCounts   map[id.UserID]deviceOTKCounts `json:"org.matrix.msc3202.device_one_time_keys_count,omitempty"`
	OlderOTKCounts map[id.UserID]deviceOTKCounts `json:"org.matrix.msc3202.device_otk_count,omitempty"`
}

type deviceOTKCounts map[id.DeviceID]mautrix.OTKCount

// envelope has the fields of an event that choose its lane.
type envelope struct {
	ID   id.EventID `json:"event_id"`
	Room id.RoomID  `json:"room_id"`
}

// readEnvelope parses an envelope. It reports false for anything but an event of a room.
func readEnvelope(raw []byte) (envelope, bool) {
	var e envelope
	ok := json.Unmarshal(raw, &e) == nil && strings.HasPrefix(string(e.ID), "$") && e.Room != ""
	return e, ok
}

// journalEntries makes the journal entries of a transaction, and counts the events without
// an id or a room. The id of an entry is made of the transaction's number and the event's
// id, or the content when it is not an event: the number alone is not enough, because a
// new homeserver begins at 1 again, and the event's age differs each time. An event that
// comes in another transaction as well is handled again, see homeserver.Deduper.
func journalEntries(txn string, body []byte) (entries []store.NewEntry, unreadable int, err error) {
	var events struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, 0, err
	}
	rest, err := restOf(txn, body)
	if err != nil {
		return nil, 0, err
	}
	if rest != nil { // keys come before the events that need them
		entries = append(entries, *rest)
	}
	for _, raw := range events.Events {
		e, ok := readEnvelope(raw)
		if !ok {
			unreadable++
			continue
		}
		body, err := json.Marshal(content{Events: []json.RawMessage{raw}})
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, store.NewEntry{
			ID: entryName("event", txn, string(e.ID)), Body: body, Budget: roomBudget(e.Room),
		})
	}
	return entries, unreadable, nil
}

// restOf makes the entry of everything that is not an event of a room, nil for nothing.
func restOf(txn string, body []byte) (*store.NewEntry, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	kept := make(map[string]json.RawMessage)
	for _, name := range []string{
		"ephemeral", "de.sorunome.msc2409.ephemeral", "to_device", "de.sorunome.msc2409.to_device",
		"device_lists", "org.matrix.msc3202.device_lists",
		"device_one_time_keys_count", "org.matrix.msc3202.device_one_time_keys_count", "org.matrix.msc3202.device_otk_count",
	} {
		switch value := fields[name]; string(value) {
		case "", "null", "[]", "{}":
		default:
			kept[name] = value
		}
	}
	if len(kept) == 0 {
		return nil, nil
	}
	rest, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return &store.NewEntry{ID: entryName("rest", txn, string(rest)), Body: rest}, nil
}

// roomBudget is the budget of the events of a room: one room does not fill a journal, so
// that the others need not wait.
func roomBudget(room id.RoomID) string { return entryName("room", string(room)) }

// entryName makes the id of a journal entry of a kind and what identifies it.
func entryName(kind string, about ...string) string {
	sum := sha256.New()
	for _, part := range about {
		fmt.Fprintf(sum, "%d/%s", len(part), part)
	}
	return kind + "/" + hex.EncodeToString(sum.Sum(nil)[:16])
}

// appendEntries stores entries in their order, but those of rooms that have too many. When
// it fails, some may be stored: the homeserver sends all again, and the journal recognises
// those.
func appendEntries(ctx context.Context, node Node, entries []store.NewEntry) (leftOut int, err error) {
	for len(entries) > 0 {
		n, size := 0, 0
		for n < min(len(entries), store.MaxJournalBatch) && (n == 0 || size+len(entries[n].Body) <= store.MaxBody) {
			size += len(entries[n].Body)
			n++
		}
		without, err := node.AppendJournalBatch(ctx, JournalQueue, entries[:n])
		if err != nil {
			return leftOut, err
		}
		leftOut += without
		entries = entries[n:]
	}
	return leftOut, nil
}
