// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/proto/identity"
)

func FuzzTransaction(f *testing.F) {
	f.Add("1", []byte(`{"events":[{"event_id":"$a"}]}`))
	f.Add("", []byte(`{"events":null}`))
	f.Fuzz(func(t *testing.T, txn string, body []byte) {
		entries, _, err := journalEntries(txn, body)
		if err != nil {
			return
		}
		for _, entry := range entries {
			var c content
			_ = json.Unmarshal(entry.Body, &c) // must not panic
			if !json.Valid(entry.Body) || len(entry.ID) > 64 {
				t.Errorf("entry %q: %s", entry.ID, entry.Body)
			}
		}
	})
}

func TestSendScopeNamesTransactionsAfterTheEntry(t *testing.T) {
	entry := store.Event{Account: identity.PublicKey{1}, Conversation: store.ContactConversation(identity.PublicKey{2}), Seq: 3, Kind: store.MessageReceived}
	ids := func(ev store.Event, part int, kinds ...string) (ids []string) {
		scope := homeserver.NewScope(ev, part)
		for i, kind := range kinds {
			ids = append(ids, scope.Transaction(kind, string(rune('a'+i))))
		}
		return ids
	}
	first := ids(entry, 0, "send/m.room.message", "send/m.room.message", "send/other")
	again := ids(entry, 0, "send/m.room.message", "send/m.room.message", "send/other")
	seen := make(map[string]bool)
	for i := range first {
		if first[i] != again[i] {
			t.Errorf("the %d. event has another transaction the second time", i)
		}
		seen[first[i]] = true
	}
	later, other := entry, entry
	later.Seq++
	other.Conversation[1]++
	for _, id := range []string{
		ids(entry, 1, "send/m.room.message")[0], ids(later, 0, "send/m.room.message")[0], ids(other, 0, "send/m.room.message")[0],
	} {
		seen[id] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d different transactions of 6", len(seen))
	}
	scope := homeserver.NewScope(entry, 0)
	if id := scope.Transaction("x", "original"); id != scope.Transaction("x", "original") {
		t.Error("a repeated request has another transaction")
	}
}

func TestHealth(t *testing.T) {
	var h homeserver.Monitor
	ups := 0
	h.OnUp(func() { ups++ })
	h.Up()
	h.Up()
	since := h.Health().Since
	h.Down(homeserver.ErrRoom)
	h.Down(homeserver.ErrRefused)
	if state := h.Health(); state.OK || state.Error != homeserver.ErrRefused.Error() || state.Since.Before(since) {
		t.Errorf("state is %+v", state)
	}
	h.Up()
	if state := h.Health(); !state.OK || state.Error != "" || ups != 2 || h.QuietFor() > time.Minute {
		t.Errorf("state is %+v after %d ups", state, ups)
	}
}
