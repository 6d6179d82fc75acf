// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"errors"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
)

// Refusal returns an error that tells the user in the room, in these words, that an event
// was not bridged. Retries would not help.
func Refusal(text string) error {
	return bridgev2.WrapErrorInStatus(errors.New(text)).WithStatus(event.MessageStatusFail).
		WithErrorReason(event.MessageStatusUnsupported).WithErrorAsMessage().WithIsCertain(true).WithSendNotice(true)
}

var (
	// ErrNoEdits refuses an edit, also one that the library refuses itself.
	ErrNoEdits = Refusal("Mimir has no edits: the contact keeps what you wrote first")
	// ErrNoPolls refuses a poll, also one that the library refuses itself.
	ErrNoPolls          = Refusal("Mimir has no polls")
	errNoCalls          = Refusal("calls cannot be bridged: call your contact with the Mimir app")
	errNoLive           = Refusal("Mimir has no live locations: send where you are as a place")
	errNotKnown         = Refusal("Mimir has no messages of this kind")
	errNotReadableEvent = Refusal("the bridge cannot read it")
)

// Unsupported returns the [Refusal] for an event that the library would ignore silently,
// nil for all others. A sequence of events, such as a call, is refused once, with its
// first event.
func Unsupported(evt *event.Event) error {
	switch evt.Type.Type {
	case "m.call.invite", "m.call.notify", "org.matrix.msc4075.call.notify", "m.rtc.notification", "org.matrix.msc4075.rtc.notification":
		return errNoCalls
	case "m.beacon_info", "org.matrix.msc3672.beacon_info":
		if live, _ := evt.Content.Raw["live"].(bool); evt.StateKey == nil || !live {
			return nil
		}
		return errNoLive
	case "m.poll.start", "m.poll.response", "m.poll.end",
		event.EventUnstablePollStart.Type, event.EventUnstablePollResponse.Type, event.EventUnstablePollEnd.Type:
		return ErrNoPolls
	case "m.message", "org.matrix.msc1767.message", "m.emote", "org.matrix.msc1767.emote", "m.image", "m.file", "m.audio", "m.video", "m.voice",
		"m.location", "m.sticker.v2", "org.matrix.msc3488.location":
		return errNotKnown
	case event.EventMessage.Type, event.EventSticker.Type:
		content, ok := evt.Content.Parsed.(*event.MessageEventContent)
		if !ok {
			return errNotReadableEvent
		}
		if evt.Type == event.EventMessage && !isKnownMessage(content.MsgType) {
			return errNotKnown
		}
	}
	return nil
}

// isKnownMessage reports whether Mimir has a kind of message for a message type.
func isKnownMessage(kind event.MessageType) bool {
	switch kind {
	case event.MsgText, event.MsgNotice, event.MsgEmote, event.MsgLocation, event.MsgImage, event.MsgAudio, event.MsgVideo, event.MsgFile:
		return true
	default:
		return false
	}
}
