// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
)

// keyless puts an event whose keys have not come into the journal of such events.
func (w *world) keyless(evt id.EventID, room id.RoomID, sender id.UserID) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"events": []any{map[string]any{
		"event_id": evt, "room_id": room, "sender": sender, "type": "m.room.encrypted", "origin_server_ts": 1,
		"content": map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "session_id": "session", "ciphertext": "AAAA"},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.node.AppendJournal(soon(w.t), "matrix-undecryptable", store.NewEntry{ID: string(evt), Body: body}); err != nil {
		w.t.Fatal(err)
	}
}

// Events wait for their keys when the operator switches encryption off: their senders are
// told, each once, and the events are gone from the journal.
func TestEncryptionOff_EventsWithoutKeys_SendersTold(t *testing.T) {
	h := newHousehold(t)
	h.stop()
	h.keyless("$one", h.aliceBob, h.alice.UserID())
	h.keyless("$two", h.aliceBob, h.alice.UserID())
	h.keyless("$three", h.aliceCarol, h.alice.UserID())
	h.keyless("$four", h.daveBob, h.dave.UserID())
	h.start()
	h.said(h.alice, h.management, "does not encrypt any more")
	h.said(h.dave, h.daveManagement, h.daveBob.URI().MatrixToURL())
	h.await("nothing is kept", func() bool {
		n, err := h.node.CountJournal("matrix-undecryptable")
		return err == nil && n == 0
	})
	for room, most := range map[id.RoomID]int{h.management: 2, h.daveManagement: 1} { // a notice for each room at most
		notices := slices.DeleteFunc(h.homeserver.Timeline(room), func(e bridgetest.Event) bool {
			return !strings.Contains(string(e.Content), "does not encrypt any more")
		})
		if len(notices) == 0 || len(notices) > most {
			t.Errorf("%d notices in %s", len(notices), room)
		}
	}
	for room, want := range map[id.RoomID]int{h.aliceBob: 2, h.aliceCarol: 1, h.daveBob: 1} {
		statuses := slices.DeleteFunc(h.homeserver.Timeline(room), func(e bridgetest.Event) bool {
			return e.Type != "com.beeper.message_send_status" || !strings.Contains(string(e.Content), "encrypt any more")
		})
		if len(statuses) != want {
			t.Errorf("%d events in %s have a status, want %d", len(statuses), room, want)
		}
	}
}
