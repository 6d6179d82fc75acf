// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"strings"

	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/peer"
)

// maxQuote bounds a quotation, in characters.
const maxQuote = 200

// Quotation returns the quotation at the beginning of a text, as [Quote] writes it, or
// "" if there is none.
func Quotation(text string) string {
	head, _, found := strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		if !strings.HasPrefix(line, "> ") {
			return ""
		}
	}
	if !found {
		return ""
	}
	return head + "\n\n"
}

// Quote returns a text as a quotation: each line after a >, and an empty line below.
func Quote(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if runes := []rune(text); len(runes) > maxQuote {
		text = strings.TrimSpace(string(runes[:maxQuote])) + "…"
	}
	return "> " + strings.ReplaceAll(text, "\n", "\n> ") + "\n\n"
}

// AddQuote adds a quotation before the text of a message, or the caption of a file.
func AddQuote(content *event.MessageEventContent, quoted string) {
	switch {
	case quoted == "":
	case content.MsgType.IsMedia():
		content.FileName, content.Body = content.GetFileName(), strings.TrimSpace(quoted+content.GetCaption())
	default:
		content.Body = quoted + content.Body
	}
}

// Summary returns a message as text for a quotation, "" for one that has none.
func Summary(m store.Message) string {
	switch peer.MessageType(m.Type) {
	case peer.TypeImage, peer.TypeFile:
		if attachment, err := peer.ParseAttachment(m.Payload); err == nil {
			return attachment.DisplayText()
		}
		return "a file"
	case peer.TypeReaction, peer.TypeCall:
		return ""
	}
	return string(m.Payload)
}

// ReplyGUID returns the guid of the message that is replied to, 0 if it is not a message
// of the conversation.
func ReplyGUID(target *database.Message) peer.GUID {
	if target == nil {
		return 0
	}
	_, id, _, err := mimirid.ParseMessage(target.ID)
	if err != nil { // a notice of the bridge
		return 0
	}
	return peer.GUID(id.GUID)
}
