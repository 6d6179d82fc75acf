// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
)

// What users can send in Matrix and Mimir does not have is answered, once for what a
// user has done, and not with silence.

var (
	errNoCalls          = refusal("calls cannot be bridged: call your contact with the Mimir app")
	errNoLive           = refusal("Mimir has no live locations: send where you are as a place")
	errNotKnown         = refusal("Mimir has no messages of this kind")
	errNotReadableEvent = refusal("the bridge cannot read it")
)

// unsupported returns what the sender of an event is told that the library would not
// answer, nil for all others. Of what consists of many events, such as a call, the
// one that begins it is answered.
func unsupported(evt *event.Event) error {
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
		return errNoPolls
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

func isKnownMessage(kind event.MessageType) bool {
	switch kind {
	case event.MsgText, event.MsgNotice, event.MsgEmote, event.MsgLocation, event.MsgImage, event.MsgAudio, event.MsgVideo, event.MsgFile:
		return true
	default:
		return false
	}
}

// refuse tells the sender of an event in the room of a conversation why it was not
// sent. Where commands are given, and to whom may not use the bridge, nothing is said.
func (d *dispatcher) refuse(ctx context.Context, evt *event.Event, why error) error {
	portal, err := d.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if portal == nil {
		return nil
	}
	user, err := d.br.GetUserByMXID(ctx, evt.Sender)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if user == nil || !user.Permissions.SendEvents {
		return nil
	}
	login := d.br.GetCachedUserLoginByID(portal.Receiver)
	if portal.Relay == nil && (login == nil || login.UserMXID != user.MXID) {
		return nil // others may talk here about anything
	}
	status := bridgev2.WrapErrorInStatus(why)
	d.status.send(ctx, &status, bridgev2.StatusEventInfoFromEvent(evt))
	return nil
}
