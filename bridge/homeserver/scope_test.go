// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestSendScopeNamesTransactionsAfterTheEntry(t *testing.T) {
	entry := store.Event{Account: identity.PublicKey{1}, Conversation: store.ContactConversation(identity.PublicKey{2}), Seq: 3, Kind: store.MessageReceived}
	ids := func(ev store.Event, part int, kinds ...string) (ids []string) {
		scope := NewScope(ev, part)
		for i, kind := range kinds {
			ids = append(ids, scope.transaction(kind, string(rune('a'+i))))
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
	scope := NewScope(entry, 0)
	if id := scope.transaction("x", "original"); id != scope.transaction("x", "original") {
		t.Error("a repeated request has another transaction")
	}
}
