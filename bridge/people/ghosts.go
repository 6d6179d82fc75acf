// SPDX-License-Identifier: MPL-2.0

package people

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/keylock"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// The ghosts of a group's members are those of contacts with the same key, and of members
// of other groups. bridgev2 changes the profile of a ghost without a lock, while it
// handles a message of it. So for members of groups Ghosts sets the profile of a ghost itself,
// before its message, and holds a lock while the library uses the ghost: deliveries for
// contacts hold it, too. See deliver.Position for contacts alone.

const (
	// profileTimeout bounds one attempt to set the profile of our user.
	profileTimeout = time.Minute
	// maxProfiles bounds the logins whose profile has to be set.
	maxProfiles = 256
)

// GhostDeps is what [Ghosts] use.
type GhostDeps struct {
	Bridge *bridgev2.Bridge
	Matrix library.Matrix
	Log    *slog.Logger
	// Retry is the back-off of the profiles of accounts.
	Retry kernel.Backoff
	// Account returns an account of the node.
	Account func(identity.PublicKey) (store.Account, error)
}

// Ghosts are the ghosts of the bridge: who uses one at the moment, and which of them need a
// profile. It may be used from any goroutine.
type Ghosts struct {
	deps  GhostDeps
	locks keylock.Locks[networkid.UserID]
	times ghostTimes
	// missed are ghosts that were registered again while the library has their old profile in
	// memory: from networkid.UserID to whether the name is set.
	missed sync.Map
	// profiles are the accounts whose profile has to be set.
	profiles chan *Own
}

// NewGhosts returns the ghosts of a bridge. The caller runs them.
func NewGhosts(deps GhostDeps) *Ghosts {
	return &Ghosts{deps: deps, profiles: make(chan *Own, maxProfiles)}
}

// UserOf returns the Matrix user of the ghost of an identity.
func (g *Ghosts) UserOf(key identity.PublicKey) id.UserID {
	return g.deps.Matrix.GhostIntent(mimirid.User(key)).GetMXID()
}

// Share keeps the profile of a ghost as it is until release is called, together with others.
// It fails only when ctx ends.
func (g *Ghosts) Share(ctx context.Context, user networkid.UserID) (release func(), err error) {
	return g.locks.Share(ctx, user)
}

// Hold is Share for its caller alone, who may change the profile.
func (g *Ghosts) Hold(ctx context.Context, user networkid.UserID) (release func(), err error) {
	return g.locks.Hold(ctx, user)
}

// IsMissed reports whether a ghost was registered again, and not reset since.
func (g *Ghosts) IsMissed(user networkid.UserID) bool {
	_, missed := g.missed.Load(user)
	return missed
}

// Reset makes a ghost in memory what it is after it was registered again: without a picture,
// and without a name when that was refused. Nobody else may use the ghost meanwhile.
func (g *Ghosts) Reset(ctx context.Context, user networkid.UserID) error {
	named, missed := g.missed.Load(user)
	if !missed {
		return nil
	}
	ghost, err := g.deps.Bridge.GetExistingGhostByID(ctx, user)
	if err != nil {
		return err
	}
	g.missed.CompareAndDelete(user, named)
	if ghost != nil {
		ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named.(bool), false, false, ""
	}
	return nil
}

// ghostTimes are the moments at which profiles of ghosts were set, or refused, by groups.
// It is bounded: a profile that is forgotten is only set earlier.
type ghostTimes struct {
	mu sync.Mutex
	at map[networkid.UserID]time.Time
}

// maxGhostTimes bounds the ghosts of ghostTimes.
const maxGhostTimes = 4096

// due reports whether the last change of a ghost is longer ago than pause.
func (g *ghostTimes) due(ghost networkid.UserID, pause time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, known := g.at[ghost]
	return !known || time.Since(at) >= pause
}

// changed notes a change of a ghost.
func (g *ghostTimes) changed(ghost networkid.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.at) >= maxGhostTimes || g.at == nil {
		g.at = make(map[networkid.UserID]time.Time)
	}
	g.at[ghost] = time.Now()
}

// memberProfilePause is the least time between two changes of a member's profile, as long
// as the ghost has one.
const memberProfilePause = time.Minute

// HoldForMember makes the library leave the profile of the ghost of a group's member alone, and
// returns with the lock of the ghost held for reading. profile is who the member is now. When
// the homeserver refuses it, that is logged, and a later call tries again.
func (g *Ghosts) HoldForMember(
	ctx context.Context, scope *homeserver.Scope, user networkid.UserID, profile func() (*bridgev2.UserInfo, error),
) (release func(), err error) {
	if release, err = g.Share(ctx, user); err != nil {
		return nil, err
	}
	ghost, err := g.deps.Bridge.GetGhostByID(ctx, user)
	if err != nil {
		release()
		return nil, err
	}
	info, err := profile()
	if err != nil {
		release()
		return nil, err
	}
	if !g.needsProfile(ghost, info) {
		return release, nil
	}
	release()
	if release, err = g.Hold(ctx, user); err != nil {
		return nil, err
	}
	if g.needsProfile(ghost, info) { // nobody has been quicker
		g.setProfile(ctx, scope, ghost, info)
	}
	release()
	return g.Share(ctx, user)
}

// needsProfile reports whether the profile of a ghost has to be set now. It is called with
// the lock of the ghost held.
func (g *Ghosts) needsProfile(ghost *bridgev2.Ghost, info *bridgev2.UserInfo) bool {
	if _, missed := g.missed.Load(ghost.ID); missed {
		return true
	}
	if ghost.Name == "" || !ghost.NameSet || !ghost.AvatarSet {
		return true
	}
	return Differs(ghost, info) && g.times.due(ghost.ID, memberProfilePause)
}

// Differs reports whether a ghost shows another name or picture than a profile has.
func Differs(ghost *bridgev2.Ghost, info *bridgev2.UserInfo) bool {
	return *info.Name != ghost.Name || info.Avatar == nil && ghost.AvatarID != "" || info.Avatar != nil && info.Avatar.ID != ghost.AvatarID
}

// setProfile sets the profile of a ghost. When the homeserver refuses it, the library
// is told that it is set: the next change tries again. It is called with the lock of the
// ghost held for a change.
func (g *Ghosts) setProfile(ctx context.Context, scope *homeserver.Scope, ghost *bridgev2.Ghost, info *bridgev2.UserInfo) {
	if named, missed := g.missed.Load(ghost.ID); missed && g.missed.CompareAndDelete(ghost.ID, named) {
		ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named.(bool), false, false, ""
	}
	library, cancel := scope.With(g.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	if info.Avatar == nil {
		info.Avatar = &bridgev2.Avatar{Remove: true}
	}
	ghost.UpdateInfo(library, info)
	g.times.changed(ghost.ID)
	if !ghost.NameSet || !ghost.AvatarSet {
		g.deps.Log.Warn("name or picture of a member not changed, retrying with a later message",
			"contact", ghost.ID, "err", fault.OneLine(scope.LastError()))
		ghost.NameSet, ghost.AvatarSet = true, true
	}
}

// Own is the ghost of an account itself, which all its conversations share. There is one for
// each login; it may be used from any goroutine.
type Own struct {
	ghosts  *Ghosts
	account identity.PublicKey

	mu       sync.Mutex
	prepared bool // the library leaves the ghost alone
}

// Own returns the ghost of an account for a login of it.
func (g *Ghosts) Own(account identity.PublicKey) *Own { return &Own{ghosts: g, account: account} }

// Prepare has the profile of the ghost set in the background, and makes the library leave it
// alone. It does so once; after an error the next call tries again.
func (o *Own) Prepare(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.prepared {
		return
	}
	user := mimirid.User(o.account)
	release, ok := o.ghosts.locks.TryHold(user)
	if !ok {
		return // a group uses it; the next message tries again
	}
	defer release()
	o.prepareHeld(ctx, user)
}

// AwaitPrepared is Prepare for one who can wait until nothing else uses the ghost. It fails
// only when ctx ends.
func (o *Own) AwaitPrepared(ctx context.Context) error {
	// The ghost before the mutex: who has the mutex does not wait for a ghost.
	user := mimirid.User(o.account)
	release, err := o.ghosts.Hold(ctx, user)
	if err != nil {
		return err
	}
	defer release()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.prepared {
		o.prepareHeld(ctx, user)
	}
	return nil
}

// prepareHeld is Prepare with the ghost and the mutex held.
func (o *Own) prepareHeld(ctx context.Context, user networkid.UserID) {
	ghost, err := o.ghosts.deps.Bridge.GetGhostByID(ctx, user)
	if err != nil {
		return
	}
	o.prepared = true
	if ghost.Name != "" && ghost.NameSet && ghost.AvatarSet {
		return
	}
	account, err := o.ghosts.deps.Account(o.account)
	if err != nil {
		o.prepared = false
		return
	}
	ghost.Name, ghost.NameSet, ghost.AvatarSet = LoginName(account), true, true
	select {
	case o.ghosts.profiles <- o:
	default: // the next message tries again
		o.prepared, ghost.NameSet = false, false
	}
}

// Run sets the profiles of accounts until stop ends; an attempt that has begun ends with work.
// One that is refused does not delay others.
func (g *Ghosts) Run(stop, work context.Context) {
	var setters sync.WaitGroup
	defer setters.Wait()
	for {
		select {
		case <-stop.Done():
			return
		case o := <-g.profiles:
			setters.Go(func() { o.retrySetProfile(stop, work) })
		}
	}
}

// retrySetProfile sets the profile of a login, and retries until it is set.
func (o *Own) retrySetProfile(stop, work context.Context) {
	for try := 0; ; try++ {
		err := fault.Guard(o.ghosts.deps.Log, "set a profile", func() error { return o.setProfile(work) })
		if err == nil || stop.Err() != nil {
			return
		}
		if try == 0 {
			o.ghosts.deps.Log.Warn("profile of a login not set, retrying", "account", o.account.Short(), "err", fault.OneLine(err))
		}
		timer := time.NewTimer(o.ghosts.deps.Retry.Delay(try))
		select {
		case <-stop.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (o *Own) setProfile(ctx context.Context) error {
	library, cancel := context.WithTimeout(o.ghosts.deps.Bridge.BackgroundCtx, profileTimeout)
	defer context.AfterFunc(ctx, cancel)()
	defer cancel()
	library = mautrix.WithMaxRetries(library, 0)
	account, err := o.ghosts.deps.Account(o.account)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ghost, err := o.ghosts.deps.Bridge.GetGhostByID(library, mimirid.User(o.account))
	if err != nil {
		return err
	}
	info, row := Info(o.account, account.Name, account.Avatar), *ghost.Ghost
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
	return o.ghosts.deps.Bridge.DB.Ghost.Update(library, &row)
}

// Registered corrects the tables for a user who was registered again: they are in no room, and
// have no profile. It reports whether the user is a ghost whose profile was known.
func (g *Ghosts) Registered(ctx context.Context, user id.UserID) (known bool) {
	ctx = context.WithoutCancel(ctx) // not with the request that noticed it
	if _, err := g.deps.Bridge.DB.Exec(ctx, "DELETE FROM mx_user_profile WHERE user_id=$1", user); err != nil {
		g.deps.Log.Warn("rooms of an unknown user not deleted", "user_id", user, "err", fault.OneLine(err))
	}
	network, isGhost := g.deps.Matrix.ParseGhostMXID(user)
	if !isGhost {
		return false
	}
	// The ghost in memory belongs to the exclusive delivery, and this may be any goroutine
	// that sends. So this changes the row, and a delivery the rest, see Reset.
	ghost, err := g.deps.Bridge.DB.Ghost.GetByID(ctx, network)
	if err != nil || ghost == nil {
		return false
	}
	// The name now, the rest with the next event of the contact.
	named := ghost.Name != "" && g.deps.Bridge.Matrix.GhostIntent(network).SetDisplayName(mautrix.WithMaxRetries(ctx, 0), ghost.Name) == nil
	ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named, false, false, ""
	if err := g.deps.Bridge.DB.Ghost.Update(ctx, ghost); err != nil {
		g.deps.Log.Warn("profile of an unknown ghost not deleted", "user_id", user, "err", fault.OneLine(err))
	}
	g.missed.Store(network, named)
	return true
}
