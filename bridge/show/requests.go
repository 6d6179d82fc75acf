// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

// A contact request has a room like a contact. Clients that know message requests show it
// as one; the notices in the room work in every client.

// contactChanged updates the room and the ghost of a contact.
func (d *delivery) contactChanged(ctx context.Context) error {
	contact, err := d.deps.Node.Contact(d.at.Account, d.at.Contact())
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	changed, early, err := d.profileTurn(ctx, contact)
	switch {
	case err != nil:
		return err
	case early && contact.State != store.ContactRequested:
		return nil
	case !early:
		err := d.updateGhost(ctx, contact)
		if !errors.Is(err, deliver.ErrAwaitExclusive) { // a refused change was an attempt, too
			d.deps.Deliver.ProfileShown(d.at.Conversation, changed)
		}
		if err != nil {
			return err
		}
	}
	switch contact.State {
	case store.ContactAccepted:
		return d.accepted(ctx, contact)
	case store.ContactRequested:
		return d.requested(ctx, contact)
	default:
		return d.changeRoom(ctx, contact)
	}
}

// The notices of a contact request. Its time names them, because a change of the profile
// meanwhile is an entry of the log, too.
const (
	requestText = iota
	requestAsks
	requestAccepted
)

func (d *delivery) requestNotice(contact store.Contact, part int) networkid.MessageID {
	return d.notice(uint64(max(contact.Requested, 0)), part)
}

// accepted creates the room of a contact, and makes a message request a conversation. A
// room that was told of the request is told of its end, once, however it was accepted.
func (d *delivery) accepted(ctx context.Context, contact store.Contact) error {
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	if err := d.changeRoom(ctx, contact); err != nil || contact.Requested == 0 {
		return err
	}
	asked, err := d.told(ctx, d.requestNotice(contact, requestAsks))
	if err != nil || !asked {
		return err
	}
	known, err := d.told(ctx, d.requestNotice(contact, requestAccepted))
	if err != nil || known {
		return err
	}
	text := fmt.Sprintf("%s is your contact now.", d.deps.Names.OfContact(contact))
	return d.send(ctx, requestAccepted, d.requestNotice(contact, requestAccepted), bridgev2.EventSender{}, d.ev.Time.Time(), msgconv.Single(msgconv.Notice(text)))
}

// told reports whether the room has a notice.
func (d *delivery) told(ctx context.Context, notice networkid.MessageID) (bool, error) {
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, notice)
	if err != nil {
		return false, fmt.Errorf("look for what the room was told: %w", err)
	}
	return len(rows) > 0, nil
}

// requested shows a contact request, and how to answer it.
func (d *delivery) requested(ctx context.Context, contact store.Contact) error {
	if d.ev.State != store.ContactRequested {
		return nil // it came later, and has an entry of its own
	}
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	if err := d.changeRoom(ctx, contact); err != nil {
		return err
	}
	at := contact.Requested.Time()
	if text := strings.TrimSpace(msgconv.CleanText(contact.Request)); text != "" {
		content := &event.MessageEventContent{MsgType: event.MsgText, Body: msgconv.SplitText(text)[0]}
		if err := d.send(ctx, requestText, d.requestNotice(contact, requestText), d.contactSender(), at, msgconv.Single(content)); err != nil {
			return err
		}
	}
	prefix := d.deps.Bridge.Config.CommandPrefix
	content := msgconv.Notice(fmt.Sprintf("%s asks to be your contact. Say `%s accept`, `%s decline` or `%s block`; writing to them accepts too.",
		d.deps.Names.OfContact(contact), prefix, prefix, prefix))
	return d.send(ctx, requestAsks, d.requestNotice(contact, requestAsks), bridgev2.EventSender{}, at, msgconv.Single(content))
}

// say has the bot say something in the room, once per entry and part.
func (d *delivery) say(ctx context.Context, part int, text string) error {
	return d.send(ctx, part, d.notice(d.ev.Seq, part), bridgev2.EventSender{}, d.ev.Time.Time(), msgconv.Single(msgconv.Notice(text)))
}

// changeRoom updates the state of the room for its contact. It runs where the library
// handles the room's events: the library's own update of the rooms of a ghost runs beside
// them, without a lock.
func (d *delivery) changeRoom(ctx context.Context, contact store.Contact) error {
	meta := d.meta(bridgev2.RemoteEventUnknown, bridgev2.EventSender{}, time.Time{})
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		info := d.ContactRoom(contact)
		muted := info.UserLocal
		info.UserLocal = nil // what the user does in their client is theirs
		if info.Avatar != nil && !info.Avatar.Remove {
			d.reuseAvatar(ctx, info.Avatar)
		}
		portal.UpdateInfo(ctx, info, nil, nil, time.Time{})
		if portal.UpdateCapabilities(ctx, d.at.Login, false) { // a request can be deleted
			if err := portal.Save(ctx); err != nil {
				homeserver.ScopeOf(ctx).Fail(err)
			}
		}
		if info.Name != nil && (!portal.NameSet || !portal.AvatarSet) {
			homeserver.ScopeOf(ctx).Fail(fmt.Errorf("%w: the room's name or its picture was not set", homeserver.ErrProfile))
		}
		if puppet := d.at.Login.User.DoublePuppet(ctx); puppet != nil && contact.Muted != d.at.Muted {
			if err := puppet.MuteRoom(ctx, portal.MXID, *muted.MutedUntil); err != nil {
				d.deps.Log.Warn("room not muted", "contact", d.at.ID.Short(), "err", fault.OneLine(err))
			}
		}
		d.at.Muted = contact.Muted
	}
	return d.queueExisting(ctx, 0, &meta)
}

// reuseAvatar saves a second upload of the picture that the ghost has.
func (d *delivery) reuseAvatar(ctx context.Context, avatar *bridgev2.Avatar) {
	ghost, err := d.deps.Bridge.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err == nil && ghost != nil && ghost.AvatarID == avatar.ID {
		avatar.MXC, avatar.Hash = ghost.AvatarMXC, ghost.AvatarHash
	}
}

// ContactRoom returns what the contact says about the room.
func (e *Events) ContactRoom(contact store.Contact) *bridgev2.ChatInfo {
	muted := bridgev2.Unmuted
	if contact.Muted {
		muted = event.MutedForever
	}
	info := &bridgev2.ChatInfo{UserLocal: &bridgev2.UserLocalPortalInfo{MutedUntil: &muted}}
	if contact.State == store.ContactAccepted || contact.State == store.ContactRequested {
		request := contact.State == store.ContactRequested
		info.MessageRequest = &request
	}
	if e.deps.Config.Bridge.PrivateChatPortalMeta {
		name := people.NameOr(e.deps.Names.ForUser(contact), contact.ID) // nobody else is in the room
		info.Name, info.Avatar = &name, e.deps.Names.Info(contact).Avatar
		if info.Avatar == nil {
			info.Avatar = &bridgev2.Avatar{Remove: true}
		}
	}
	return info
}

// answered tells the room how the contact has answered a request of ours.
func (d *delivery) answered(ctx context.Context) error {
	contact, err := d.deps.Node.Contact(d.at.Account, d.at.Contact())
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	text := "%s has accepted your contact request."
	if !d.ev.Accepted {
		text = "%s has declined your contact request."
	}
	return d.sayIfThere(ctx, fmt.Sprintf(text, d.deps.Names.OfContact(contact)))
}

// callMissed tells the room that the contact has called.
func (d *delivery) callMissed(ctx context.Context) error {
	if !d.deps.Config.Network.CallNotices {
		return nil
	}
	return d.send(ctx, 0, d.notice(d.ev.Seq, 0), d.contactSender(), d.ev.Time.Time(),
		msgconv.Single(msgconv.Notice("📞 Missed call. Calls can be taken with the Mimir app.")))
}

// sayIfThere says something in a room that exists.
func (d *delivery) sayIfThere(ctx context.Context, text string) error {
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" {
		return err
	}
	return d.say(ctx, 0, text)
}
