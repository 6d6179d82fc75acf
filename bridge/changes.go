// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
)

// changeNotice is the part of an entry that the notice in place of a change is.
const changeNotice = 1_000_040

// change sends a change of what is in the room: an edit, a reaction, a receipt.
// Without a room there is nothing to change. A notice with the given words, in which
// %s is the reason, replaces it when it is refused; without words it is dropped.
func (d *delivery) change(
	ctx context.Context, what string, sender bridgev2.EventSender, words string, send func(context.Context) error,
) error {
	portal, err := d.existingRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	return d.unit(ctx, portal, unit{
		key: fmt.Sprintf("%s %d", what, d.ev.Seq), sender: sender, send: send,
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			if words == "" {
				return nil // the probe was accepted
			}
			id := mimirid.Notice(d.at.ID, d.ev.Seq, changeNotice)
			return d.putNotice(ctx, portal, id, sender, d.ev.Time.Time(), fmt.Sprintf(words, reasonOf(why)))
		},
	})
}

func (d *delivery) edited(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	parts := msgconv.TextToMatrix(*m)
	edit := &simplevent.Message[string]{
		EventMeta:     d.meta(bridgev2.RemoteEventEdit, d.contactSender(), msgconv.EditTime(*m)),
		TargetMessage: mimirid.Message(d.at.ID, m.ID, 0),
		ConvertEditFunc: func(_ context.Context, _ *bridgev2.Portal, _ bridgev2.MatrixAPI, existing []*database.Message, _ string) (*bridgev2.ConvertedEdit, error) {
			content := *parts[0]
			if len(parts) > 1 {
				content.Body += "…"
			}
			return &bridgev2.ConvertedEdit{ModifiedParts: []*bridgev2.ConvertedEditPart{{
				Part: existing[0], Type: event.EventMessage, Content: &content,
			}}}, nil
		},
	}
	return d.change(ctx, "edit", d.contactSender(), "The contact has changed a message, and the new text cannot be shown in Matrix (%s).",
		func(ctx context.Context) error { return d.queue(ctx, 0, edit) })
}

// delivered shows that the contact has a message. A conversation is not stopped for
// that, and it has no notice instead.
func (d *delivery) delivered(ctx context.Context) error {
	receipt := &simplevent.Receipt{
		EventMeta: d.meta(bridgev2.RemoteEventDeliveryReceipt, d.contactSender(), d.ev.Time.Time()),
		Targets:   []networkid.MessageID{mimirid.Message(d.at.ID, d.ev.Message, 0)},
	}
	return d.change(ctx, "receipt", bridgev2.EventSender{}, "", func(ctx context.Context) error { return d.queue(ctx, 0, receipt) })
}

// failed shows that a message is not delivered.
func (d *delivery) failed(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	id, err := d.shownAs(ctx, *m)
	if err != nil {
		return err
	}
	meta := d.meta(bridgev2.RemoteEventUnknown, d.contactSender(), d.ev.Time.Time())
	reason := d.ev.Reason
	if reason == "" {
		reason = "it was given up"
	}
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		rows, err := d.br.DB.Message.GetAllPartsByID(ctx, portal.Receiver, id)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
		for _, row := range rows {
			status := bridgev2.WrapErrorInStatus(errors.New(reason)).WithStatus(event.MessageStatusFail).
				WithErrorReason(event.MessageStatusTooOld).WithMessage(reason).WithIsCertain(true).WithSendNotice(true)
			d.status.Send(ctx, &status, &bridgev2.MessageStatusEventInfo{
				RoomID: portal.MXID, SourceEventID: row.MXID, Sender: row.SenderMXID, EventType: event.EventMessage,
			})
		}
	}
	words := "A message of yours was not delivered: " + strings.ReplaceAll(reason, "%", "%%") + " (its status: %s)."
	return d.change(ctx, "failure", bridgev2.EventSender{}, words, func(ctx context.Context) error { return d.queue(ctx, 0, &meta) })
}
