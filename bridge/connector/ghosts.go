// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// The library sets the name and the picture of a ghost while it handles a message, and
// again with each message while the homeserver refuses them. So the ghost of a refused
// profile is marked as set, in memory alone, and the connector retries: for a contact with
// a later message, for our user in the background.

const (
	// profilePause is how long after a refusal a profile is retried, with the next message.
	profilePause = 10 * time.Minute
	// profileTimeout bounds one attempt to set the profile of our user.
	profileTimeout = time.Minute
)

// settleProfile makes the library leave the ghost of the contact alone, and reports
// whether it does.
func (d *delivery) settleProfile(ctx context.Context) bool {
	ghost, err := d.br.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
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
	named, missed := d.missedGhosts.Load(user)
	if !missed {
		return nil
	}
	if !d.at.Exclusive {
		d.at.NeedsExclusive = true
		return deliver.ErrAwaitExclusive
	}
	ghost, err := d.br.GetExistingGhostByID(ctx, user)
	if err != nil {
		return err
	}
	d.missedGhosts.CompareAndDelete(user, named)
	if ghost != nil {
		ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named.(bool), false, false, ""
	}
	return nil
}

// retryProfile sets a name and a picture that were refused before. Messages do not wait
// for it: a failure is only noted.
func (d *delivery) retryProfile(ctx context.Context) error {
	if d.at.ProfileDue.IsZero() || time.Now().Before(d.at.ProfileDue) {
		return nil
	}
	contact, err := d.node.Contact(d.at.Account, d.at.Contact())
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
	ghost, err := d.br.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return err
	}
	if !d.at.Exclusive {
		d.at.NeedsExclusive = true
		return deliver.ErrAwaitExclusive
	}
	scope := homeserver.NewScope(d.ev, 0)
	scoped, cancel := scope.With(d.br.BackgroundCtx, ctx)
	defer cancel()
	info := d.userInfo(contact)
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

// prepare has the profile of the ghost of the account itself, which all conversations
// share, set in the background, and makes the library leave it alone.
func (cl *client) prepare(ctx context.Context) {
	cl.preparing.Lock()
	defer cl.preparing.Unlock()
	if cl.prepared {
		return
	}
	release, ok := cl.ghostLocks.TryHold(cl.GetUserID())
	if !ok {
		return // a group uses it; the next message tries again
	}
	defer release()
	ghost, err := cl.br.GetGhostByID(ctx, cl.GetUserID())
	if err != nil {
		return
	}
	cl.prepared = true
	if ghost.Name != "" && ghost.NameSet && ghost.AvatarSet {
		return
	}
	account, err := cl.node.Account(cl.account)
	if err != nil {
		cl.prepared = false
		return
	}
	ghost.Name, ghost.NameSet, ghost.AvatarSet = loginName(account), true, true
	select {
	case cl.profiles <- cl:
	default: // the next message tries again
		cl.prepared, ghost.NameSet = false, false
	}
}

// maxProfiles bounds the logins whose profile has to be set.
const maxProfiles = 256

// setProfiles sets the profiles of logins until stop ends. One that is refused does not
// delay others.
func (c *Connector) setProfiles(stop, work context.Context) {
	var setters sync.WaitGroup
	defer setters.Wait()
	for {
		select {
		case <-stop.Done():
			return
		case cl := <-c.profiles:
			setters.Go(func() { cl.retrySetProfile(stop, work) })
		}
	}
}

// retrySetProfile sets the profile of a login, and retries until it is set.
func (cl *client) retrySetProfile(stop, work context.Context) {
	for try := 0; ; try++ {
		err := fault.Guard(cl.log, "set a profile", func() error { return cl.setProfile(work) })
		if err == nil || stop.Err() != nil {
			return
		}
		if try == 0 {
			cl.log.Warn("profile of a login not set, retrying", "account", cl.account.Short(), "err", fault.OneLine(err))
		}
		timer := time.NewTimer(cl.retry.Delay(try))
		select {
		case <-stop.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (cl *client) setProfile(ctx context.Context) error {
	library, cancel := context.WithTimeout(cl.br.BackgroundCtx, profileTimeout)
	defer context.AfterFunc(ctx, cancel)()
	defer cancel()
	library = mautrix.WithMaxRetries(library, 0)
	account, err := cl.node.Account(cl.account)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ghost, err := cl.br.GetGhostByID(library, cl.GetUserID())
	if err != nil {
		return err
	}
	info, row := userInfo(cl.account, account.Name, account.Avatar), *ghost.Ghost
	if err := ghost.Intent.SetDisplayName(library, *info.Name); err != nil {
		return fmt.Errorf("set the name: %w", err)
	}
	row.Name, row.NameSet, row.AvatarSet = *info.Name, true, true
	if info.Avatar != nil {
		row.AvatarID = info.Avatar.ID
		if row.AvatarMXC, row.AvatarHash, err = info.Avatar.Reupload(library, ghost.Intent, row.AvatarHash, row.AvatarMXC); err != nil {
			return fmt.Errorf("upload the picture: %w", err)
		}
		if err := ghost.Intent.SetAvatarURL(library, row.AvatarMXC); err != nil {
			return fmt.Errorf("set the picture: %w", err)
		}
	}
	return cl.br.DB.Ghost.Update(library, &row)
}

const profilesDueKey database.Key = "im.mimir.profiles_due"

// restoreProfiles has the deliverer store the changes of profiles that are not shown in
// the bridge's tables.
func (c *Connector) restoreProfiles(ctx context.Context) {
	var left []store.Conversation
	for _, name := range readNames(c.br.DB.KV.Get(ctx, profilesDueKey)) {
		account, err1 := identity.ParsePublicKey(name[0])
		id, err2 := store.ParseConversationID(name[1])
		if err1 == nil && err2 == nil {
			left = append(left, store.Conversation{Account: account, ID: id})
		}
	}
	c.deliver.RestoreProfiles(left, func(due []store.Conversation) {
		names := make([][2]string, len(due))
		for i, conversation := range due {
			names[i] = [2]string{conversation.Account.String(), conversation.ID.String()}
		}
		text, _ := json.Marshal(names) // cannot fail
		c.br.DB.KV.Set(c.br.BackgroundCtx, profilesDueKey, string(text))
	})
}

func readNames(text string) (names [][2]string) {
	_ = json.Unmarshal([]byte(text), &names) // nothing is due in what cannot be read
	return names
}

// showProfile shows the current profile of a contact.
func (c *Connector) showProfile(ctx context.Context, at *deliver.Position) error {
	err := c.show(ctx, at, store.Event{
		Account: at.Account, Conversation: at.ID, Kind: store.ContactChanged, Time: store.MillisOf(time.Now()),
	})
	if err == nil { // also when the contact is gone, or the homeserver refuses it
		c.deliver.ProfileShown(at.Conversation, false)
	}
	return err
}

// profileTurn reports whether the profile of a contact differs from what is shown, and
// whether it is too early to show that.
func (d *delivery) profileTurn(ctx context.Context, contact store.Contact) (changed, early bool, err error) {
	ghost, err := d.br.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return false, false, err
	}
	info := d.userInfo(contact)
	changed = *info.Name != ghost.Name || info.Avatar == nil && ghost.AvatarID != "" || info.Avatar != nil && info.Avatar.ID != ghost.AvatarID
	if !changed {
		return false, false, nil
	}
	return true, !d.deliver.MayShowProfile(d.at.Conversation), nil
}

// UserRegistered corrects the tables for a user who was registered again: they are in no
// room, and have no profile.
func (c *Connector) UserRegistered(ctx context.Context, user id.UserID) {
	ctx = context.WithoutCancel(ctx) // not with the request that noticed it
	if _, err := c.br.DB.Exec(ctx, "DELETE FROM mx_user_profile WHERE user_id=$1", user); err != nil {
		c.log.Warn("rooms of an unknown user not deleted", "user_id", user, "err", fault.OneLine(err))
	}
	network, isGhost := c.matrix.ParseGhostMXID(user)
	if !isGhost {
		return
	}
	// The ghost in memory belongs to the exclusive delivery, and this may be any goroutine
	// that sends. So this changes the row, and a delivery the rest, see resetGhost.
	ghost, err := c.br.DB.Ghost.GetByID(ctx, network)
	if err != nil || ghost == nil {
		return
	}
	// The name now, the rest with the next event of the contact.
	named := ghost.Name != "" && c.br.Matrix.GhostIntent(network).SetDisplayName(mautrix.WithMaxRetries(ctx, 0), ghost.Name) == nil
	ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named, false, false, ""
	if err := c.br.DB.Ghost.Update(ctx, ghost); err != nil {
		c.log.Warn("profile of an unknown ghost not deleted", "user_id", user, "err", fault.OneLine(err))
	}
	c.missedGhosts.Store(network, named)
	c.restored.Wake() // more is gone, then
}
