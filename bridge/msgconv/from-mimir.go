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

// maxEventText bounds the text of one event, in bytes of JSON. Homeservers refuse events
// above 65,536 bytes, and encryption makes an event a third larger.
const maxEventText = 40_000

// TextToMatrix converts a text or a call to the contents of one or more events. A text
// that does not fit one event is split.
func TextToMatrix(m store.Message) []*event.MessageEventContent {
	if peer.MessageType(m.Type) == peer.TypeCall {
		return []*event.MessageEventContent{Notice("📞 A call.")}
	}
	// The app shows unknown types as text too.
	var parts []*event.MessageEventContent
	for _, text := range SplitText(CleanText(string(m.Payload))) {
		parts = append(parts, &event.MessageEventContent{MsgType: event.MsgText, Body: text})
	}
	return parts
}

// inlineCode matches what a notice shows as code: commands to type.
var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// Notice converts a text of the bot to the content of a notice. Text between backticks,
// such as a command to type, is shown as code.
func Notice(text string) *event.MessageEventContent {
	content := &event.MessageEventContent{MsgType: event.MsgNotice, Body: text}
	if inlineCode.MatchString(text) {
		content.Format = event.FormatHTML
		content.FormattedBody = strings.ReplaceAll(inlineCode.ReplaceAllString(html.EscapeString(text), "<code>$1</code>"), "\n", "<br>")
	}
	return content
}

// NoticeWithLink is [Notice] for a text with a URL in it, which is shown as a link.
func NoticeWithLink(text, link string) *event.MessageEventContent {
	content := Notice(text)
	if content.FormattedBody == "" {
		content.Format, content.FormattedBody = event.FormatHTML, strings.ReplaceAll(html.EscapeString(text), "\n", "<br>")
	}
	shown := html.EscapeString(link)
	content.FormattedBody = strings.ReplaceAll(content.FormattedBody, shown, `<a href="`+shown+`">`+shown+`</a>`)
	return content
}

// CleanText returns a peer's text as valid UTF-8 without NUL bytes, which homeservers
// require. The result is plain text, never markup.
func CleanText(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
}

// SplitText splits a text into one or more parts that each fit an event, between lines
// or words where possible.
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

// fitting returns how many bytes of a text fit an event, in whole characters.
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

// jsonSize returns how many bytes encoding/json needs for a character at most. It
// escapes the special characters of HTML.
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

// ShownTime returns the time that a room shows for a message: the sender's, or if that
// is implausible ours. Either clock may be wrong.
func ShownTime(m store.Message) time.Time { return plausibleTime(m, time.Now()) }

// plausibleTime returns the first plausible time of the sender's, that of the arrival,
// and now. Times before Mimir existed, or later than tomorrow, are implausible.
func plausibleTime(m store.Message, now time.Time) time.Time {
	sent := time.UnixMilli(peer.NormalizeSendTime(int64(m.SendTime)))
	for _, at := range []time.Time{sent, m.Created.Time(), now} {
		if !at.Before(earliest) && !at.After(now.Add(24*time.Hour)) {
			return at
		}
	}
	return earliest // our clock has not been set yet
}

// earliest is before Mimir existed.
var earliest = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

// EditTime returns the time that a room shows for an edit of a message.
func EditTime(m store.Message) time.Time {
	m.SendTime = m.EditTime
	return ShownTime(m)
}

// DescribeFile returns the name of a file and, unless it is 0, its size in bytes, for
// people.
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

// Single returns a message of one event.
func Single(content *event.MessageEventContent) *bridgev2.ConvertedMessage {
	return &bridgev2.ConvertedMessage{Parts: []*bridgev2.ConvertedMessagePart{{Type: event.EventMessage, Content: content}}}
}

const (
	// maxPixels bounds the images that are shown as images. A larger one may exhaust the
	// memory of the client that decodes it, so it is sent as a file.
	maxPixels = 64_000_000
	// maxHeader bounds how many bytes of an image are read to find its size.
	maxHeader = 1 << 20
)

// File describes the file of a message, sent by the contact or by our user.
type File struct {
	Name, MIMEType, Caption string
	Size                    int64 // bytes, 0 if unknown
	Voice                   bool  // a voice message
}

// FileToMatrix converts the description of a file to the content of an event, without
// the URL of the file.
func FileToMatrix(file File) *event.MessageEventContent {
	content := &event.MessageEventContent{
		MsgType: event.MsgFile,
		Body:    FileName(file),
		Info:    &event.FileInfo{MimeType: file.MIMEType, Size: int(file.Size)},
	}
	switch kind, _, _ := strings.Cut(file.MIMEType, "/"); {
	case kind == "image" && file.MIMEType != "image/svg+xml": // SVG can contain scripts
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

// FileName returns the name under which a file is shown, never empty.
func FileName(file File) string {
	if name := CleanName(file.Name); name != "" {
		return name
	}
	return "file" + exmime.ExtensionFromMimetype(file.MIMEType)
}

// SetImageSize adds the size of an image to its content, or makes it a plain file when
// the image is too large to be decoded. It reads the header alone, and leaves body at
// its start. It returns an error of body.
func SetImageSize(content *event.MessageEventContent, body io.ReadSeeker) error {
	if content.MsgType != event.MsgImage {
		return nil
	}
	size, _, err := image.DecodeConfig(io.LimitReader(body, maxHeader))
	switch {
	case err == nil && int64(size.Width)*int64(size.Height) <= maxPixels:
		content.Info.Width, content.Info.Height = size.Width, size.Height
	case errors.Is(err, image.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF): // unknown format, or a long header
	default:
		content.MsgType = event.MsgFile
	}
	_, err = body.Seek(0, io.SeekStart)
	return err
}
