// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/rivo/uniseg"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

const (
	// MaxPartUnits bounds one message to Mimir, in UTF-16 units, as the apps do.
	MaxPartUnits = 5000
	// MaxParts bounds the messages that one text is split into. A text that fits one
	// Matrix event needs 14 at most.
	MaxParts = 32
	// MaxOutgoingText is the longest text that Matrix clients should let people type, in
	// characters.
	MaxOutgoingText = 65_536
)

// TextFromMatrix converts a text, notice or emote of a room to the text of a message.
// nameOf returns the name of a mentioned user. The result is empty if there is nothing to
// send.
func TextFromMatrix(content *event.MessageEventContent, nameOf func(id.UserID) string) string {
	text := content.Body
	if content.RelatesTo.GetReplyTo() != "" {
		text = event.TrimReplyFallbackText(text)
	}
	if content.Format == event.FormatHTML && content.FormattedBody != "" {
		// HTML that renders to nothing, such as an image without a name, has a body instead.
		if plain, ok := plainText(content.FormattedBody, nameOf); ok && removeInvisible(plain) != "" {
			text = plain
		}
	}
	text = strings.TrimSpace(CleanText(text))
	if text != "" && content.MsgType == event.MsgEmote {
		text = "* " + text
	}
	return text
}

// LocationFromMatrix converts a location to a text: its name, and a link to a map.
func LocationFromMatrix(content *event.MessageEventContent) string {
	name := strings.TrimSpace(CleanText(content.Body))
	place, _, _ := strings.Cut(strings.TrimPrefix(content.GeoURI, "geo:"), ";")
	lat, lon, _ := strings.Cut(place, ",")
	lon, _, _ = strings.Cut(lon, ",") // an altitude
	latitude, err1 := strconv.ParseFloat(lat, 64)
	longitude, err2 := strconv.ParseFloat(lon, 64)
	if err1 != nil || err2 != nil || latitude < -90 || latitude > 90 || longitude < -180 || longitude > 180 {
		return name
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	at := number(latitude) + "," + number(longitude)
	text := fmt.Sprintf("📍 %s\nhttps://www.openstreetmap.org/?mlat=%s&mlon=%s#map=16/%s/%s",
		at, number(latitude), number(longitude), number(latitude), number(longitude))
	if name != "" && !strings.Contains(name, content.GeoURI) && !strings.HasPrefix(name, "Location was shared") {
		text = strings.Replace(text, at, name, 1)
	}
	return text
}

// SplitOutgoing splits a text into messages that are no longer than the apps' own,
// between paragraphs, lines or words where possible. It is deterministic: a retry gets
// the same parts.
func SplitOutgoing(text string) []string {
	var parts []string
	for {
		end := prefixOfUnits(text, MaxPartUnits)
		if end == len(text) {
			return append(parts, text)
		}
		for _, between := range []string{"\n\n", "\n", " "} {
			if i := strings.LastIndex(text[:end], between); i > end/2 {
				end = i + len(between)
				break
			}
		}
		if part := strings.TrimSpace(text[:end]); part != "" {
			parts = append(parts, part)
		}
		text = strings.TrimLeft(text[end:], " \n")
	}
}

// prefixOfUnits returns the length in bytes of the longest prefix of at most limit UTF-16
// units that splits no grapheme cluster. A cluster longer than limit is split between
// characters.
func prefixOfUnits(text string, limit int) int {
	end, units, state := 0, 0, -1
	for rest := text; rest != ""; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		for _, r := range cluster {
			units += max(utf16.RuneLen(r), 1)
		}
		if units > limit {
			if end == 0 {
				return prefixOfRunes(text, limit)
			}
			return end
		}
		end += len(cluster)
	}
	return end
}

func prefixOfRunes(text string, limit int) int {
	units := 0
	for i, r := range text {
		if units += max(utf16.RuneLen(r), 1); units > limit {
			return i
		}
	}
	return len(text)
}

// StickerToImage changes a sticker event into an image event, because Mimir has no
// stickers. The library would change the event while another of its goroutines reads it.
func StickerToImage(evt *event.Event) {
	content, ok := evt.Content.Parsed.(*event.MessageEventContent)
	if !ok || evt.Type != event.EventSticker {
		return
	}
	evt.Type = event.EventMessage
	content.MsgType, content.Body, content.FileName = event.MsgImage, "sticker", "sticker"
}

// FileNameFromMatrix returns the name of an attachment for the contact.
func FileNameFromMatrix(content *event.MessageEventContent) string {
	if content.MsgType == event.CapMsgSticker {
		return "sticker"
	}
	return CleanName(content.GetFileName())
}

// SendTime returns when an event was sent: the time of its server, or now if that is
// implausible.
func SendTime(evt *event.Event) time.Time {
	return store.PlausibleTime(store.Millis(evt.Timestamp), store.MillisOf(time.Now())).Time()
}

// WithoutEmote returns the content of a relayed emote as a text: its body already begins
// with the sign of an emote and the name of the sender. Other content is returned as it is.
func WithoutEmote(content *event.MessageEventContent, relayed *bridgev2.OrigSender) *event.MessageEventContent {
	if relayed == nil || content.MsgType != event.MsgEmote {
		return content
	}
	text := *content
	text.MsgType = event.MsgText
	return &text
}
