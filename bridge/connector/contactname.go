// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
)

// renameContact calls the contact of a room what our user has called the room; an empty name
// goes back to the contact's own. The room then has the name that the store has: the given
// one, without what names must not have, or the one before, with a notice that says why.
func (cl *client) renameContact(ctx context.Context, msg *bridgev2.MatrixRoomName) (changed bool, err error) {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil || conversation.Kind() != store.KindContact || !cl.config.Bridge.PrivateChatPortalMeta {
		return false, errors.Join(err, bridgev2.ErrRoomMetadataNotSupported)
	}
	contact, reason := conversation.Contact(), ""
	if msg.OrigSender != nil {
		reason = "only the owner of this conversation can do that"
	} else {
		_, err = cl.node.RenameContact(ctx, cl.account, contact, msgconv.CleanName(msg.Content.Name))
		switch {
		case nodeapi.IsGone(err):
			reason = "this contact is not on the node any more"
		case errors.Is(err, store.ErrInvalid):
			reason = "the node does not accept this name"
		case err != nil:
			return false, cl.again(msg.Event, err)
		}
	}
	m := &management{client: cl, evt: msg.Event, portal: msg.Portal, group: conversation}
	change := groupchat.Change{Kind: groupchat.ChangeName, Event: msg.Event.ID}
	if err = m.setContactName(ctx, msg.Content.Name, change); err == nil && reason != "" {
		err = m.tell(ctx, change, "The contact is called as before: "+reason+".")
	}
	switch {
	case err != nil:
		return false, cl.again(msg.Event, err)
	case reason != "":
		return false, bridgev2.WrapErrorInStatus(errors.New(reason)).WithStatus(event.MessageStatusFail).
			WithErrorReason(event.MessageStatusUnsupported).WithErrorAsMessage().WithIsCertain(true).WithSendNotice(false)
	}
	return true, nil
}

// setContactName gives the room of a contact, which has the name given now, the name of the
// contact. It runs where the library handles the events of the room.
func (m *management) setContactName(ctx context.Context, given string, change groupchat.Change) error {
	want := m.portal.Name
	contact, err := m.node.Contact(m.account, m.group.Contact())
	switch {
	case err == nil:
		want = *m.events.ContactRoom(contact).Name
	case !nodeapi.IsGone(err):
		return err
	}
	if given == want {
		m.portal.Name, m.portal.NameSet = given, true
		return nil
	}
	library, cancel := m.scope("set back", change).With(m.br.BackgroundCtx, ctx)
	defer cancel()
	m.portal.NameSet = false
	m.portal.UpdateInfo(library, &bridgev2.ChatInfo{Name: &want}, nil, nil, time.Time{})
	if !m.portal.NameSet {
		return fmt.Errorf("%w: the name of the room was not set", homeserver.ErrProfile)
	}
	return nil
}
