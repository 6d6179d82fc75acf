// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// The library sets the name and the picture of a ghost while it handles a message, and
// again with each message while the homeserver refuses them. So the ghost of a refused
// profile is marked as set, in memory alone, and the connector retries: for a contact with
// a later message, for our user in the background.

// profilePause is how long after a refusal a profile is retried, with the next message.
const profilePause = 10 * time.Minute

// settleProfile makes the library leave the ghost of the contact alone, and reports
// whether it does.
func (d *delivery) settleProfile(ctx context.Context) bool {
	ghost, err := d.deps.Bridge.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return false
	}
	if ghost.Name != "" && ghost.NameSet && ghost.AvatarSet {
		return true
	}
	if !d.at.Exclusive || ghost.Name == "" {
		return false
	}
	ghost.NameSet, ghost.AvatarSet = true, true
	d.at.ProfileDue = time.Now().Add(profilePause)
	return true
}

// resetGhost makes the ghost of the contact in memory what it is after it was registered
// again: without a picture, and without a name when that was refused. The error is
// deliver.ErrAwaitExclusive when another delivery for the contact runs.
func (d *delivery) resetGhost(ctx context.Context) error {
	user := mimirid.User(d.at.Contact())
	if !d.deps.Ghosts.IsMissed(user) {
		return nil
	}
	if !d.at.Exclusive {
		d.at.NeedsExclusive = true
		return deliver.ErrAwaitExclusive
	}
	return d.deps.Ghosts.Reset(ctx, user)
}

// retryProfile sets a name and a picture that were refused before. Messages do not wait
// for it: a failure is only noted.
func (d *delivery) retryProfile(ctx context.Context) error {
	if d.at.ProfileDue.IsZero() || time.Now().Before(d.at.ProfileDue) {
		return nil
	}
	contact, err := d.deps.Node.Contact(d.at.Account, d.at.Contact())
	if err != nil {
		return nil //nolint:nilerr // a message shows it
	}
	if err := d.updateGhost(ctx, contact); errors.Is(err, deliver.ErrAwaitExclusive) {
		return err
	}
	return nil
}

// updateGhost shows the name and the picture of a contact whose ghost exists.
func (d *delivery) updateGhost(ctx context.Context, contact store.Contact) error {
	ghost, err := d.deps.Bridge.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return err
	}
	if !d.at.Exclusive {
		d.at.NeedsExclusive = true
		return deliver.ErrAwaitExclusive
	}
	scope := homeserver.NewScope(d.ev, 0)
	scoped, cancel := scope.With(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	info := d.deps.Names.Info(contact)
	if info.Avatar == nil && ghost.AvatarID != "" {
		info.Avatar = &bridgev2.Avatar{Remove: true}
	}
	if !d.at.ProfileDue.IsZero() {
		ghost.NameSet, ghost.AvatarSet = false, false
	}
	ghost.UpdateInfo(scoped, info)
	if !ghost.NameSet || !ghost.AvatarSet {
		return errors.Join(homeserver.ErrProfile, scope.LastError())
	}
	d.at.ProfileDue = time.Time{}
	return nil
}

const profilesDueKey database.Key = "im.mimir.profiles_due"

// RestoreProfiles has the deliverer store the changes of profiles that are not shown in
// the bridge's tables.
func (e *Events) RestoreProfiles(ctx context.Context) {
	var left []store.Conversation
	for _, name := range readNames(e.deps.Bridge.DB.KV.Get(ctx, profilesDueKey)) {
		account, err1 := identity.ParsePublicKey(name[0])
		id, err2 := store.ParseConversationID(name[1])
		if err1 == nil && err2 == nil {
			left = append(left, store.Conversation{Account: account, ID: id})
		}
	}
	e.deps.Deliver.RestoreProfiles(left, func(due []store.Conversation) {
		names := make([][2]string, len(due))
		for i, conversation := range due {
			names[i] = [2]string{conversation.Account.String(), conversation.ID.String()}
		}
		text, _ := json.Marshal(names) // cannot fail
		e.deps.Bridge.DB.KV.Set(e.deps.Bridge.BackgroundCtx, profilesDueKey, string(text))
	})
}

func readNames(text string) (names [][2]string) {
	_ = json.Unmarshal([]byte(text), &names) // nothing is due in what cannot be read
	return names
}

// ShowProfile shows the current profile of a contact; it is [deliver.Deps].ShowProfile.
func (e *Events) ShowProfile(ctx context.Context, at *deliver.Position) error {
	err := e.Show(ctx, at, store.Event{
		Account: at.Account, Conversation: at.ID, Kind: store.ContactChanged, Time: store.MillisOf(time.Now()),
	})
	if err == nil { // also when the contact is gone, or the homeserver refuses it
		e.deps.Deliver.ProfileShown(at.Conversation, false)
	}
	return err
}

// profileTurn reports whether the profile of a contact differs from what is shown, and
// whether it is too early to show that.
func (d *delivery) profileTurn(ctx context.Context, contact store.Contact) (changed, early bool, err error) {
	ghost, err := d.deps.Bridge.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return false, false, err
	}
	info := d.deps.Names.Info(contact)
	if !people.Differs(ghost, info) {
		return false, false, nil
	}
	return true, !d.deps.Deliver.MayShowProfile(d.at.Conversation), nil
}
