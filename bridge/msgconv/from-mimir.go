// SPDX-License-Identifier: MPL-2.0

// Package msgconv converts messages between Mimir and Matrix, both ways: texts, HTML,
// files, places, quotations, and the names in them. It is pure: values in, values out,
// without a request, a table or a clock of its own, except where a function takes the
// current time as the last resort of a timestamp. The connector calls it.
package msgconv

import (
	"errors"
	"fmt"
	"html"
	"image"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"go.mau.fi/util/exmime"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// maxEventText is how many bytes of JSON one event's text may take. Homeservers
// refuse events above 65,536 bytes; the rest is for everything else in the event,
// which encryption makes a third larger.
const maxEventText = 40_000

// TextToMatrix makes the content of events of a text. There is at least one; a
// text that is too long for one event is cut into several.
func TextToMatrix(m store.Message) []*event.MessageEventContent {
	if peer.MessageType(m.Type) == peer.TypeCall {
		return one(Notice("📞 A call."))
	}
	// Types that nobody knows yet are text, as they are in the app.
	var parts []*event.MessageEventContent
	for _, text := range SplitText(CleanText(string(m.Payload))) {
		parts = append(parts, &event.MessageEventContent{MsgType: event.MsgText, Body: text})
	}
	return parts
}

func one(content *event.MessageEventContent) []*event.MessageEventContent {
	return []*event.MessageEventContent{content}
}

// inlineCode is what a notice shows as code: commands to type.
var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// Notice is what the bot says. Commands in it stand between backticks.
func Notice(text string) *event.MessageEventContent {
	content := &event.MessageEventContent{MsgType: event.MsgNotice, Body: text}
	if inlineCode.MatchString(text) {
		content.Format = event.FormatHTML
		content.FormattedBody = strings.ReplaceAll(inlineCode.ReplaceAllString(html.EscapeString(text), "<code>$1</code>"), "\n", "<br>")
	}
	return content
}

// CleanText makes bytes from a peer text that homeservers take: UTF-8, without
// NUL. What it looks like is left to clients: nothing in it is markup.
func CleanText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// SplitText cuts a text into pieces that each fit an event, between lines or words
// where there are some. It returns at least one piece.
func SplitText(text string) []string {
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

// ShownTime is when a message is shown to have been written. Clocks of other
// people may say anything, and ours may have been wrong when the message came.
func ShownTime(m store.Message) time.Time { return plausibleTime(m, time.Now()) }

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

func EditTime(m store.Message) time.Time {
	m.SendTime = m.EditTime
	return ShownTime(m)
}

// describe is a file's name and size for people.
func DescribeFile(name string, size int64) string {
	name = CleanName(name)
	if name == "" {
		name = "a file"
	}
	if size > 0 {
		name += " (" + bytesText(size) + ")"
	}
	return name
}

func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func Single(content *event.MessageEventContent) *bridgev2.ConvertedMessage {
	return &bridgev2.ConvertedMessage{Parts: []*bridgev2.ConvertedMessagePart{{Type: event.EventMessage, Content: content}}}
}

// maxPixels is how large a picture may be that is shown as one.
const maxPixels = 64_000_000

// maxHeader bounds what is read of a picture to find its size.
const maxHeader = 1 << 20

// FileToMatrix describes a file as Matrix does.
func FileToMatrix(file File) *event.MessageEventContent {
	content := &event.MessageEventContent{
		MsgType: event.MsgFile,
		Body:    fileName(file),
		Info:    &event.FileInfo{MimeType: file.MIMEType, Size: int(file.Size)},
	}
	switch kind, _, _ := strings.Cut(file.MIMEType, "/"); {
	case kind == "image" && file.MIMEType != "image/svg+xml": // that one is a program
		content.MsgType = event.MsgImage
	case kind == "video" && !file.Voice:
		content.MsgType = event.MsgVideo
	case kind == "audio", file.Voice:
		content.MsgType = event.MsgAudio
	}
	if file.Voice {
		content.MSC3245Voice = &event.MSC3245Voice{}
		content.MSC1767Audio = &event.MSC1767Audio{}
	}
	if caption := strings.TrimSpace(CleanText(file.Caption)); caption != "" {
		content.FileName, content.Body = content.Body, SplitText(caption)[0]
	}
	return content
}

func fileName(file File) string {
	if name := CleanName(file.Name); name != "" {
		return name
	}
	return "file" + exmime.ExtensionFromMimetype(file.MIMEType)
}

// SetImageSize
func SetImageSize(content *event.MessageEventContent, body io.ReadSeeker) error {
	if content.MsgType != event.MsgImage {
		return nil
	}
	size, _, err := image.DecodeConfig(io.LimitReader(body, maxHeader))
	switch {
	case err == nil && int64(size.Width)*int64(size.Height) <= maxPixels:
		content.Info.Width, content.Info.Height = size.Width, size.Height
	case errors.Is(err, image.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF): // one that only clients know, or with a long header
	default: // whoever decodes it may run out of memory
		content.MsgType = event.MsgFile
	}
	_, err = body.Seek(0, io.SeekStart)
	return err
}

// File is what is known of a file that a contact or our user sent.
type File struct {
	Name, MIMEType, Caption string
	Size                    int64 // bytes, 0 when it is unknown
	Voice                   bool  // a voice message
}
