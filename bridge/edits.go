// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge/mimirid"
)

// Mimir has neither edits nor deletions. What Matrix users do is answered as
// honestly as possible: a correction is sent as one, where that is wanted, and what
// the contact does not have yet can be taken back.

var (
	errNoDelete = msgconv.Refusal("Mimir has no deletions: the contact has the message and keeps it")
	errNotWhole = msgconv.Refusal("only the text of a message can be corrected")
)

// correctionSign begins a message that corrects another one.
const correctionSign = "✏️ "

// HandleMatrixEdit sends the new text of a message as a message that answers the
// old one, where the configuration says so.
func (cl *client) HandleMatrixEdit(ctx context.Context, msg *bridgev2.MatrixEdit) error {
	if cl.config.Network.Edits != config.EditsCorrection {
		return msgconv.ErrNoEdits
	}
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
	default:
		return errNotWhole
	}
	text := msgconv.TextFromMatrix(msgconv.WithoutEmote(msg.Content, msg.OrigSender), cl.nameOf(ctx))
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
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	if _, ghost := cl.matrix.ParseGhostMXID(msg.TargetMessage.SenderMXID); ghost {
		return nil // it is gone from the room, and that is all that was wanted
	}
	if msg.Event.Sender != msg.TargetMessage.SenderMXID && msg.Event.Sender != cl.login.UserMXID {
		return nil // somebody tidies up
	}
	messages, err := cl.undeliveredOf(contact, msg.TargetMessage.MXID)
	if err != nil {
		return cl.again(msg.Event, err)
	}
	switch given, err := cl.giveUp(ctx, contact, messages, "you have deleted it"); {
	case err != nil:
		return cl.again(msg.Event, err)
	case given == 0:
		return errNoDelete
	}
	return nil
}
