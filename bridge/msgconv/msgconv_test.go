// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

func TestSplitText_BetweenWords(t *testing.T) {
	words := strings.Repeat("word ", 20_000)
	parts := SplitText(words)
	if len(parts) != 3 || strings.Join(parts, "") != words {
		t.Errorf("%d parts, %d bytes", len(parts), len(strings.Join(parts, "")))
	}
	for _, part := range parts[:len(parts)-1] {
		if !strings.HasSuffix(part, "word ") {
			t.Errorf("a part ends with %q", part[len(part)-8:])
		}
	}
	if parts := SplitText(""); len(parts) != 1 || parts[0] != "" {
		t.Errorf("an empty text makes %q", parts)
	}
}

func TestNotice_CommandsAreCode(t *testing.T) {
	if n := Notice("plain <b>"); n.Format != "" || n.Body != "plain <b>" {
		t.Errorf("got %+v", n)
	}
	n := Notice("<b>Eve</b> asks. Say `!mimir accept`\nor `no`")
	if want := "&lt;b&gt;Eve&lt;/b&gt; asks. Say <code>!mimir accept</code><br>or <code>no</code>"; n.Format != event.FormatHTML || n.FormattedBody != want {
		t.Errorf("got %q as %q", n.FormattedBody, n.Format)
	}
}

func FuzzTextToMatrix(f *testing.F) {
	f.Add([]byte("hello"))
	f.Add([]byte("\x00\xff<b>&\u2028" + strings.Repeat("é\n", 30_000)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		parts := TextToMatrix(store.Message{Payload: payload})
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
		if whole := CleanText(string(payload)); size > len(whole) || size < len(whole)-strings.Count(whole, "\n") {
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
			text := TextFromMatrix(&event.MessageEventContent{
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
		text = strings.TrimSpace(CleanText(text))
		parts := SplitOutgoing(text)
		for _, part := range parts {
			if units := len(utf16.Encode([]rune(part))); units > MaxPartUnits || (part == "" && text != "") {
				t.Errorf("a part has %d units", units)
			}
		}
		letters := func(text string) string { return strings.Join(strings.Fields(text), "") }
		if letters(strings.Join(parts, " ")) != letters(text) {
			t.Error("the parts are not the whole")
		}
	})
}

// Bar R13: a message is shown neither before Mimir existed nor later than tomorrow,
// however wrong both clocks are and were.
func TestPlausibleTime_WrongClocks(t *testing.T) {
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
		{"theirs is malformed", time.UnixMilli(-1 << 62), now, now, now},
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

func TestTextFromMatrix_RelayedEmoteHasOneSign(t *testing.T) {
	name := func(id.UserID) string { return "" }
	action := &event.MessageEventContent{MsgType: event.MsgEmote, Body: "* Carol waves"}
	if text := TextFromMatrix(WithoutEmote(action, &bridgev2.OrigSender{}), name); text != "* Carol waves" {
		t.Errorf("relayed: %q", text)
	}
	action.Body = "waves"
	if text := TextFromMatrix(WithoutEmote(action, nil), name); text != "* waves" || action.MsgType != event.MsgEmote {
		t.Errorf("own: %q", text)
	}
}

func TestNotice_NameOfContactIsNotACommand(t *testing.T) {
	name := CleanName("report `!mimir logout` .pdf")
	if content := Notice(fmt.Sprintf("📎 %s: say `fetch`.", name)); strings.Count(content.FormattedBody, "<code>") != 1 {
		t.Errorf("the notice is %s", content.FormattedBody)
	}
}

func TestCleanName_InvisibleCharacters(t *testing.T) {
	for name, want := range map[string]string{
		"Bob":                          "Bob",
		"Mimir\u200b bridge\u200d bot": "Mimir bridge bot",
		"\u2060B\u00ado\u180eb\ufeff":  "Bob",
		"B\u034fo\u115fb\u3164":        "Bob",
		"Bob\U000e0041\ufe0f":          "Bob",
		"B\u2062o\u206ab":              "Bob",
		"Bob\u2800":                    "Bob",
		"Bob\u202egnp.exe":             "Bobgnp.exe",
		"two\u00a0words":               "two words",
		"no\nlines\u2028at all":        "nolinesat all",
		"@bob":                         "bob",
		"❤\ufe0f 👨\u200d👩\u200d👧":      "❤\ufe0f 👨\u200d👩\u200d👧",
		"👍🏽\u200d":                     "👍🏽\u200d",
		"\u200b\u2060":                 "",
	} {
		if got := CleanName(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func TestTextFromMatrix_EmptyHTMLUsesBody(t *testing.T) {
	name := func(id.UserID) string { return "" }
	for _, formatted := range []string{
		`<img data-mx-emoticon src="mxc://x/y">`, `<mx-reply><blockquote>quoted</blockquote></mx-reply>`, `<!-- a comment`, `<!-- -->`, `<b`, `<p></p>`,
		"&#8203;\u2060", `<script>x</script>`, `<title>x`, ` `,
	} {
		content := &event.MessageEventContent{MsgType: event.MsgText, Body: ":wave:", Format: event.FormatHTML, FormattedBody: formatted}
		if text := TextFromMatrix(content, name); text != ":wave:" {
			t.Errorf("%q becomes %q", formatted, text)
		}
	}
}

// Bar R13, on the way out: what a server says of the time is bounded.
func TestSendTime_ImpossibleTimesAreNow(t *testing.T) {
	for _, odd := range []int64{1, -5, 0, 4_102_444_800_000, 1<<63 - 1, -1 << 63} {
		if at := SendTime(&event.Event{Timestamp: odd}); time.Since(at).Abs() > time.Minute {
			t.Errorf("%d becomes %v", odd, at)
		}
	}
	fine := time.Now().Add(-time.Hour).UnixMilli()
	if at := SendTime(&event.Event{Timestamp: fine}); at.UnixMilli() != fine {
		t.Errorf("%d becomes %v", fine, at)
	}
}
