// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// Mimir has neither edits nor deletions. What Matrix users do is answered as
// honestly as possible: a correction is sent as one, where that is wanted, and what
// the contact does not have yet can be taken back.

var (
	errNoEdits  = refusal("Mimir has no edits: the contact keeps what you wrote first")
	errNoDelete = refusal("Mimir has no deletions: the contact has the message and keeps it")
	errNoPolls  = refusal("Mimir has no polls")
	errNotWhole = refusal("only the text of a message can be corrected")
)

// correctionSign begins a message that corrects another one.
const correctionSign = "✏️ "

// HandleMatrixEdit sends the new text of a message as a message that answers the
// old one, where the configuration says so.
func (cl *client) HandleMatrixEdit(ctx context.Context, msg *bridgev2.MatrixEdit) error {
	if cl.config.Network.Edits != EditsCorrection {
		return errNoEdits
	}
	_, contact, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return err
	}
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
	default:
		return errNotWhole
	}
	text := outgoingText(msg.Content, cl.nameOf(ctx))
	if text == "" {
		return errEmpty
	}
	_, err = cl.sendText(ctx, &bridgev2.MatrixMessage{
		MatrixEventBase: bridgev2.MatrixEventBase[*event.MessageEventContent]{
			Event: msg.Event, Content: msg.Content, Portal: msg.Portal, OrigSender: msg.OrigSender,
		},
		ReplyTo: msg.EditTarget,
	}, contact, correctionSign+text)
	return err
}

// HandleMatrixMessageRemove gives up a message that the contact does not have yet.
func (cl *client) HandleMatrixMessageRemove(ctx context.Context, msg *bridgev2.MatrixMessageRemove) error {
	_, contact, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return err
	}
	if _, ghost := cl.matrix.ParseGhostMXID(msg.TargetMessage.SenderMXID); ghost {
		return nil // it is gone from the room, and that is all that was wanted
	}
	if msg.Event.Sender != msg.TargetMessage.SenderMXID && msg.Event.Sender != cl.login.UserMXID {
		return nil // somebody tidies up
	}
	waits, err := cl.waiting(contact)
	if err != nil {
		return cl.again(msg.Event, err)
	}
	if len(waits[msg.TargetMessage.MXID]) == 0 {
		return errNoDelete
	}
	if err := cl.giveUp(ctx, contact, waits[msg.TargetMessage.MXID], "you have deleted it"); err != nil {
		return cl.again(msg.Event, err)
	}
	return nil
}

// maxOutbox bounds how much of an outbox is looked at.
const maxOutbox = 10_000

// waiting returns what waits for a contact, by the event that it comes from. What
// was not written in a room is under "".
func (cl *client) waiting(contact identity.PublicKey) (map[id.EventID][]store.Message, error) {
	outbox, err := cl.node.Outbox(cl.account, contact, maxOutbox)
	if err != nil {
		return nil, err
	}
	waits := make(map[id.EventID][]store.Message)
	for _, m := range outbox {
		evt := sourceEvent(m.Source)
		waits[evt] = append(waits[evt], m)
	}
	return waits, nil
}

// giveUp takes messages out of the outbox.
func (cl *client) giveUp(ctx context.Context, contact identity.PublicKey, messages []store.Message, reason string) error {
	var errs []error
	for _, m := range messages {
		_, err := cl.node.CancelMessage(ctx, cl.account, contact, m.ID, reason)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
