// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

func entriesOf(t *testing.T, txn, body string) (entries []store.NewEntry, unreadable int) {
	t.Helper()
	entries, unreadable, err := journalEntries(txn, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return entries, unreadable
}

func names(entries []store.NewEntry) (names []string) {
	for _, entry := range entries {
		names = append(names, entry.ID)
	}
	return names
}

func TestJournalEntries_OnePerEventKnownByItsID(t *testing.T) {
	first, unreadable := entriesOf(t, "1", `{"events":[
		{"event_id":"$a","room_id":"!r","unsigned":{"age":5}}, {"event_id":"$b","room_id":"!s"}, {"event_id":"x","room_id":"!s"}, null, 5]}`)
	if len(first) != 2 || unreadable != 3 {
		t.Fatalf("%d entries, %d unreadable", len(first), unreadable)
	}
	again, _ := entriesOf(t, "1", `{"events":[{"event_id":"$b","room_id":"!s"},{"event_id":"$a","room_id":"!r","unsigned":{"age":6}}]}`)
	slices.Reverse(again)
	if !slices.Equal(names(first), names(again)) {
		t.Errorf("repeated events are %q and %q", names(first), names(again))
	}
	other, _ := entriesOf(t, "7", `{"events":[{"event_id":"$a","room_id":"!r"}]}`)
	if first[0].ID == first[1].ID || first[0].ID == other[0].ID {
		t.Error("two events have one name")
	}
	if want := `{"events":[{"event_id":"$b","room_id":"!s"}]}`; string(first[1].Body) != want {
		t.Errorf("the entry is %s, want %s", first[1].Body, want)
	}
}

func TestJournalEntries_KeysComeBeforeTheEvents(t *testing.T) {
	body := `{"events":[{"event_id":"$a","room_id":"!r"}],"to_device":[{"type":"m.room_key"}],"ephemeral":[],"device_lists":null}`
	entries, _ := entriesOf(t, "1", body)
	if len(entries) != 2 || string(entries[0].Body) != `{"to_device":[{"type":"m.room_key"}]}` {
		t.Fatalf("entries are %s", entries)
	}
	repeated, _ := entriesOf(t, "1", body)
	other, _ := entriesOf(t, "2", body)
	if repeated[0].ID != entries[0].ID || other[0].ID == entries[0].ID {
		t.Error("the rest of a transaction is not known by its number")
	}
}

func TestJournalEntries_RefusesWhatIsNoTransaction(t *testing.T) {
	for _, body := range []string{"", "[", `{"events": 5}`, "null null", `[]`} {
		if _, _, err := journalEntries("1", []byte(body)); err == nil {
			t.Errorf("%q is taken", body)
		}
	}
	if entries, _ := entriesOf(t, strings.Repeat("x", 10_000), `{}`); len(entries) != 0 {
		t.Errorf("entries are %s", entries)
	}
}

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
