// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"html"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// maxEventText is how many bytes of JSON one event's text may take. Homeservers
// refuse events above 65,536 bytes; the rest is for everything else in the event,
// which encryption makes a third larger.
const maxEventText = 40_000

// convertToMatrix makes the content of events of a text. There is at least one; a
// text that is too long for one event is cut into several.
func convertToMatrix(m store.Message) []*event.MessageEventContent {
	if peer.MessageType(m.Type) == peer.TypeCall {
		return one(notice("📞 A call."))
	}
	// Types that nobody knows yet are text, as they are in the app.
	var parts []*event.MessageEventContent
	for _, text := range splitText(cleanText(string(m.Payload))) {
		parts = append(parts, &event.MessageEventContent{MsgType: event.MsgText, Body: text})
	}
	return parts
}

func one(content *event.MessageEventContent) []*event.MessageEventContent {
	return []*event.MessageEventContent{content}
}

// inlineCode is what a notice shows as code: commands to type.
var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// notice is what the bot says. Commands in it stand between backticks.
func notice(text string) *event.MessageEventContent {
	content := &event.MessageEventContent{MsgType: event.MsgNotice, Body: text}
	if inlineCode.MatchString(text) {
		content.Format = event.FormatHTML
		content.FormattedBody = strings.ReplaceAll(inlineCode.ReplaceAllString(html.EscapeString(text), "<code>$1</code>"), "\n", "<br>")
	}
	return content
}

// cleanText makes bytes from a peer text that homeservers take: UTF-8, without
// NUL. What it looks like is left to clients: nothing in it is markup.
func cleanText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// splitText cuts a text into pieces that each fit an event, between lines or words
// where there are some. It returns at least one piece.
func splitText(text string) []string {
	var parts []string
	for {
		end := fitting(text)
		if end == len(text) {
			return append(parts, text)
		}
		if i := strings.LastIndexByte(text[:end], '\n'); i > end/2 {
			end = i + 1
		} else if i := strings.LastIndexByte(text[:end], ' '); i > end/2 {
			end = i + 1
		}
		parts = append(parts, strings.TrimRight(text[:end], "\n"))
		text = text[end:]
	}
}

// fitting returns how much of a text fits an event, not cutting a character.
func fitting(text string) int {
	size := 0
	for i, r := range text {
		size += jsonSize(r)
		if size > maxEventText {
			return i
		}
	}
	return len(text)
}

// jsonSize is how many bytes encoding/json, which escapes what HTML cares for,
// makes of a character at most.
func jsonSize(r rune) int {
	switch {
	case r < ' ', r == '<', r == '>', r == '&', r == '\u2028', r == '\u2029', r == 0x7f:
		return 6
	case r == '"', r == '\\':
		return 2
	default:
		return utf8.RuneLen(r)
	}
}

// shownTime is when a message is shown to have been written. Clocks of other
// people may say anything, and ours may have been wrong when the message came.
func shownTime(m store.Message) time.Time { return plausibleTime(m, time.Now()) }

// plausibleTime takes what the sender says, else when we got it, else now: the
// first of them that is not before Mimir was and not later than tomorrow.
func plausibleTime(m store.Message, now time.Time) time.Time {
	sent := time.UnixMilli(peer.NormalizeSendTime(int64(m.SendTime)))
	for _, at := range []time.Time{sent, m.Created.Time(), now} {
		if !at.Before(earliest) && !at.After(now.Add(24*time.Hour)) {
			return at
		}
	}
	return earliest // our clock has not been set yet
}

// earliest is before Mimir was.
var earliest = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

func editTime(m store.Message) time.Time {
	m.SendTime = m.EditTime
	return shownTime(m)
}
