// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestSplitTextCutsBetweenWords(t *testing.T) {
	words := strings.Repeat("word ", 20_000)
	parts := splitText(words)
	if len(parts) != 3 || strings.Join(parts, "") != words {
		t.Errorf("%d parts, %d bytes", len(parts), len(strings.Join(parts, "")))
	}
	for _, part := range parts[:len(parts)-1] {
		if !strings.HasSuffix(part, "word ") {
			t.Errorf("a part ends with %q", part[len(part)-8:])
		}
	}
	if parts := splitText(""); len(parts) != 1 || parts[0] != "" {
		t.Errorf("an empty text makes %q", parts)
	}
}

func TestNoticeShowsCommandsAsCode(t *testing.T) {
	if n := notice("plain <b>"); n.Format != "" || n.Body != "plain <b>" {
		t.Errorf("got %+v", n)
	}
	n := notice("<b>Eve</b> asks. Say `!mimir accept`\nor `no`")
	if want := "&lt;b&gt;Eve&lt;/b&gt; asks. Say <code>!mimir accept</code><br>or <code>no</code>"; n.Format != event.FormatHTML || n.FormattedBody != want {
		t.Errorf("got %q as %q", n.FormattedBody, n.Format)
	}
}

func FuzzTextToMatrix(f *testing.F) {
	f.Add([]byte("hello"))
	f.Add([]byte("\x00\xff<b>&\u2028" + strings.Repeat("é\n", 30_000)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		parts := convertToMatrix(store.Message{Payload: payload})
		if len(parts) == 0 {
			t.Fatal("nothing is shown")
		}
		size := 0
		for _, part := range parts {
			size += len(part.Body)
			encoded, err := json.Marshal(part.Body)
			if err != nil || len(encoded) > maxEventText+2 {
				t.Errorf("a part takes %d bytes, %v", len(encoded), err)
			}
			if !utf8.ValidString(part.Body) || strings.ContainsRune(part.Body, 0) || part.FormattedBody != "" {
				t.Errorf("a part is %q", part.Body)
			}
		}
		if whole := cleanText(string(payload)); size > len(whole) || size < len(whole)-strings.Count(whole, "\n") {
			t.Errorf("%d bytes became %d", len(whole), size)
		}
	})
}

func FuzzTextFromMatrix(f *testing.F) {
	f.Add("plain", "<b>bold</b>")
	f.Add("", strings.Repeat("<div>", 5000))
	f.Add("x", `<a href="https://matrix.to/#/@x:y">x</a><ol start="9999999999"><li><table>`)
	f.Fuzz(func(t *testing.T, body, html string) {
		if len(html) > 65_536 {
			return
		}
		for _, kind := range []event.MessageType{event.MsgText, event.MsgEmote} {
			text := outgoingText(&event.MessageEventContent{
				MsgType: kind, Body: body, Format: event.FormatHTML, FormattedBody: html,
			}, id.UserID.String)
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || strings.TrimSpace(text) != text {
				t.Errorf("the text is %q", text)
			}
		}
	})
}

func FuzzSplitOutgoing(f *testing.F) {
	f.Add("short")
	f.Add(strings.Repeat("word ", 5000))
	f.Add(strings.Repeat("👩‍👩‍👧‍👦", 1000) + strings.Repeat("\u0301", 12_000))
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.TrimSpace(cleanText(text))
		parts := splitOutgoing(text)
		for _, part := range parts {
			if units := len(utf16.Encode([]rune(part))); units > maxPartUnits || (part == "" && text != "") {
				t.Errorf("a part has %d units", units)
			}
		}
		letters := func(text string) string { return strings.Join(strings.Fields(text), "") }
		if letters(strings.Join(parts, " ")) != letters(text) {
			t.Error("the parts are not the whole")
		}
	})
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

func FuzzConfig(f *testing.F) {
	f.Add([]byte("homeserver: {domain: x}\nbridge: {permissions: {x: user}}\n"))
	f.Add(exampleConfig)
	f.Fuzz(func(t *testing.T, section []byte) {
		config, err := ParseConfig(section)
		if err != nil {
			return
		}
		config.GenerateSecrets()
		if _, err := config.Registrations(); err != nil {
			t.Errorf("no registration: %v", err)
		}
	})
}

func TestSendScopeNamesTransactionsAfterTheEntry(t *testing.T) {
	entry := store.Event{Account: identity.PublicKey{1}, Conversation: identity.PublicKey{2}, Seq: 3, Kind: store.MessageReceived}
	ids := func(ev store.Event, part int, kinds ...string) (ids []string) {
		scope := newSendScope(ev, part)
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
	other.Conversation[0]++
	for _, id := range []string{
		ids(entry, 1, "send/m.room.message")[0], ids(later, 0, "send/m.room.message")[0], ids(other, 0, "send/m.room.message")[0],
	} {
		seen[id] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d different transactions of 6", len(seen))
	}
	scope := newSendScope(entry, 0)
	if id := scope.transaction("x", "original"); id != scope.transaction("x", "original") {
		t.Error("a repeated request has another transaction")
	}
}

func TestHealth(t *testing.T) {
	var h health
	ups := 0
	h.whenUp(func() { ups++ })
	h.up()
	h.up()
	since := h.get().Since
	h.down(errRoom)
	h.down(errRefused)
	if state := h.get(); state.OK || state.Error != errRefused.Error() || state.Since.Before(since) {
		t.Errorf("state is %+v", state)
	}
	h.up()
	if state := h.get(); !state.OK || state.Error != "" || ups != 2 || h.quietFor() > time.Minute {
		t.Errorf("state is %+v after %d ups", state, ups)
	}
}

// Bar R13: whatever the clocks say, of others and our own, then and now, a message
// is shown neither before Mimir was nor later than tomorrow.
func TestPlausibleTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	past, future, zero := now.Add(-20*365*day), now.Add(10*365*day), time.UnixMilli(0)
	for _, c := range []struct {
		name                 string
		sent, got, now, want time.Time
	}{
		{"all is well", now.Add(-day), now, now, now.Add(-day)},
		{"theirs is in seconds", time.UnixMilli(now.Unix()), now, now, now},
		{"theirs is an hour ahead", now.Add(time.Hour), now, now, now.Add(time.Hour)},
		{"theirs is two days ahead", now.Add(2 * day), now, now, now},
		{"theirs is not set", zero, now.Add(-time.Hour), now, now.Add(-time.Hour)},
		{"theirs is nonsense", time.UnixMilli(-1 << 62), now, now, now},
		{"ours was ahead", now, future, now, now},
		{"ours was behind", now, past, now, now},
		{"both were wrong", zero, future, now, now},
		{"both were ahead", future, future, now, now},
		{"ours is ahead", now, future, future, now},
		{"ours is behind", now.Add(-day), now, past.Add(12 * 365 * day), past.Add(12 * 365 * day)},
		{"ours is not set", now, zero, zero, earliest},
	} {
		m := store.Message{SendTime: store.MillisOf(c.sent), Created: store.MillisOf(c.got)}
		if got := plausibleTime(m, c.now); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got.UTC(), c.want)
		}
	}
}
