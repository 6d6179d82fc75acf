// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// The logins whose accounts are in one group share its room. Each account has an event log
// of its own with what its mediator connection has brought, so what one of them has is shown
// when the first of them has it. What the room is like follows the account that knows most,
// see roomGroup, and what our users have asked for through any of them.

// groupLogin is a login whose account is, or was, in a group.
type groupLogin struct {
	*client
	group    store.Group
	tasks    groupchat.Tasks
	position int64        // of the history, see GroupNode.GroupPosition
	reached  store.Millis // the mediator
	// belongs means that the user belongs into the room. Who is not a member does not, unless
	// no login is one: then the room is theirs.
	belongs bool
}

// groupRequest is the last change of a group that one of our users has asked for.
type groupRequest struct {
	by identity.PublicKey
	at time.Time
}

// isStaying reports whether the account is a member, and has not asked to leave or is to be
// banned by one of our users.
func (l *groupLogin) isStaying(logins []groupLogin) bool {
	return l.group.State.IsActive() &&
		!slices.ContainsFunc(l.tasks, func(t store.GroupTask) bool { return t.Kind == store.TaskLeave }) &&
		!slices.ContainsFunc(allTasks(logins), func(t store.GroupTask) bool { return t.Kind == store.TaskBan && t.User == l.account })
}

// groupLogins returns the logins whose accounts know a group, in the order of their keys.
func (c *Connector) groupLogins(group store.ConversationID) ([]groupLogin, error) {
	if !c.conversations.InGroups(group) {
		return nil, nil
	}
	var logins []groupLogin
	stays := false
	for _, login := range c.br.GetAllCachedUserLogins() {
		cl, ok := login.Client.(*client)
		if !ok || cl.loggedOut.Load() {
			continue
		}
		l := groupLogin{client: cl}
		var err error
		if l.group, err = c.groups.Group(cl.account, group); nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l.tasks, err = c.groupTasks(store.Conversation{Account: cl.account, ID: group}); err != nil {
			return nil, err
		}
		if l.position, l.reached, err = c.groups.GroupPosition(cl.account, group); err != nil {
			return nil, err
		}
		logins = append(logins, l)
	}
	for i := range logins {
		logins[i].belongs = logins[i].isStaying(logins)
		stays = stays || logins[i].belongs
	}
	for i := range logins {
		logins[i].belongs = logins[i].belongs || !stays
	}
	slices.SortFunc(logins, func(a, b groupLogin) int { return bytes.Compare(a.account[:], b.account[:]) })
	return logins, nil
}

// accountsIn returns the accounts with a login that know a group, in the order of their keys.
func (c *Connector) accountsIn(group store.ConversationID) ([]identity.PublicKey, error) {
	logins, err := c.groupLogins(group)
	accounts := make([]identity.PublicKey, len(logins))
	for i := range logins {
		accounts[i] = logins[i].account
	}
	return accounts, err
}

// freshest returns the login whose account knows most of a group: of those that are in it
// the one that has asked for a change just now, which knows first what became of it, else the
// one with the longest history, and of several the one that has heard last of the mediator.
// It returns nil for no login.
func (c *Connector) freshest(group store.ConversationID, logins []groupLogin) *groupLogin {
	if len(logins) == 0 {
		return nil
	}
	asked, _ := c.asked.Load(group)
	request, _ := asked.(groupRequest)
	inGroup := func(l groupLogin) int {
		if l.group.State.IsActive() {
			return 1
		}
		return 0
	}
	asks := func(l groupLogin) int {
		if l.account == request.by && time.Since(request.at) < handlingTime {
			return 1
		}
		return 0
	}
	best := 0
	for i := range logins {
		a, b := logins[i], logins[best]
		if cmp.Or(cmp.Compare(inGroup(a), inGroup(b)), cmp.Compare(asks(a), asks(b)), cmp.Compare(a.position, b.position), cmp.Compare(a.reached, b.reached)) > 0 {
			best = i
		}
	}
	return &logins[best]
}

// allTasks returns what the mediator has not answered to any of the logins.
func allTasks(logins []groupLogin) groupchat.Tasks {
	var tasks groupchat.Tasks
	for _, l := range logins {
		tasks = append(tasks, l.tasks...)
	}
	slices.SortStableFunc(tasks, func(a, b store.GroupTask) int { return int(a.Created - b.Created) })
	return tasks
}

// roomGroup returns a group as its room should show it, and the logins that share the room.
// What our users ask for is queued where the library handles the events of the room, so the
// answer is current only there.
func (c *Connector) roomGroup(group store.ConversationID) (store.Group, []groupLogin, error) {
	logins, err := c.groupLogins(group)
	if err != nil {
		return store.Group{}, nil, err
	}
	best := c.freshest(group, logins)
	if best == nil {
		return store.Group{}, nil, store.ErrNotFound
	}
	return allTasks(logins).Group(best.group), logins, nil
}

// loginOf returns the login of an account, nil for none.
func (c *Connector) loginOf(account identity.PublicKey) *client {
	login := c.br.GetCachedUserLoginByID(mimirid.Login(account))
	if login == nil {
		return nil
	}
	cl, ok := login.Client.(*client)
	if !ok || cl.loggedOut.Load() {
		return nil
	}
	return cl
}

// roomUser returns the Matrix user who somebody is in the room of a group: the user of their
// login, when that belongs there, else their ghost.
func (c *Connector) roomUser(logins []groupLogin, key identity.PublicKey) id.UserID {
	for _, l := range logins {
		if l.account == key && l.belongs {
			return l.login.UserMXID
		}
	}
	return c.ghosts.UserOf(key)
}

// own returns the login of the delivery among those of its group, nil for none.
func (d *delivery) own(logins []groupLogin) *groupLogin {
	for i := range logins {
		if logins[i].account == d.at.Account {
			return &logins[i]
		}
	}
	return nil
}

// belongs reports whether our user belongs into the room.
func (d *delivery) belongs() (bool, error) {
	if !d.isGroup() {
		return true, nil
	}
	logins, err := d.groupLogins(d.at.ID)
	if err != nil {
		return false, err
	}
	own := d.own(logins)
	return own != nil && own.belongs || len(logins) == 0, nil
}

// isShared reports whether users of other logins are in the room of the group, too.
func (c *Connector) isShared(at store.Conversation) (bool, error) {
	cl := c.loginOf(at.Account)
	if cl == nil || !c.conversations.InGroups(at.ID) {
		return false, nil
	}
	logins, err := c.groupLogins(at.ID)
	return slices.ContainsFunc(logins, func(l groupLogin) bool { return l.belongs && l.login.UserMXID != cl.login.UserMXID }), err
}

// addressed returns a text about what one of our users has done in a group, with the user
// before it when others read it as well.
func (c *Connector) addressed(at store.Conversation, text string) (string, error) {
	shared, err := c.isShared(at)
	if cl := c.loginOf(at.Account); shared && cl != nil {
		text = cl.login.UserMXID.String() + ": " + text
	}
	return text, err
}

// source returns the login through which the library handles an event of the room: it brings
// the user of that login into the room. In a group it is another one when our user does not
// belong there.
func (d *delivery) source(ctx context.Context) (*bridgev2.UserLogin, error) {
	if !d.isGroup() {
		return d.at.Login, nil
	}
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return nil, err
	}
	if portal != nil && portal.MXID != "" && d.userIsIn(ctx, portal.MXID) {
		return d.at.Login, nil
	}
	logins, err := d.groupLogins(d.at.ID)
	if err != nil {
		return nil, err
	}
	if own := d.own(logins); own != nil && own.belongs {
		return d.at.Login, nil
	}
	for _, l := range logins {
		if l.belongs {
			return l.login, nil
		}
	}
	return d.at.Login, nil
}

// memberSender is the sender of events for what a member of the group has said: the user of
// their login, if the bridge may act as them and they are in the room, else their ghost. It
// is the same whatever account has brought the event.
func (d *delivery) memberSender(member identity.PublicKey) bridgev2.EventSender {
	sender := bridgev2.EventSender{Sender: mimirid.User(member)}
	cl := d.loginOf(member)
	if cl == nil {
		return sender
	}
	ctx := d.br.BackgroundCtx
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" || !d.matrix.AppService().StateStore.IsInvited(ctx, portal.MXID, cl.login.UserMXID) {
		return sender
	}
	sender.SenderLogin = cl.login.ID
	return sender
}

// isReadableByOthers reports whether another login can read a message that ours cannot.
func (d *delivery) isReadableByOthers(m store.Message) (bool, error) {
	accounts, err := d.accountsIn(d.at.ID)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		for _, dir := range []store.Direction{store.In, store.Out} {
			other, err := d.groups.ConversationMessage(account, d.at.ID, store.MessageID{Dir: dir, GUID: m.ID.GUID})
			if nodeapi.IsGone(err) {
				continue
			}
			if err != nil || other.Number == m.Number {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// placed are the users whom the bridge has brought into the room of a group, by the accounts
// that they use. They are taken out of it when they do not belong there any more; others,
// whom people have invited, are not.
type placed map[string]id.UserID

func placedKey(group store.ConversationID) database.Key {
	return database.Key("im.mimir.placed." + group.String())
}

func (c *Connector) placedIn(ctx context.Context, group store.ConversationID) (users placed) {
	_ = json.Unmarshal([]byte(c.br.DB.KV.Get(ctx, placedKey(group))), &users) // none yet
	return users
}

// notePlaced changes what is known of the users who were brought into a room, unless change
// reports false.
func (c *Connector) notePlaced(ctx context.Context, group store.ConversationID, change func(placed) (bool, error)) error {
	c.placing.Lock()
	defer c.placing.Unlock()
	users := c.placedIn(ctx, group)
	if users == nil {
		users = make(placed)
	}
	if changed, err := change(users); err != nil || !changed {
		return err
	}
	text, err := json.Marshal(users)
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // a map of texts
	}
	c.br.DB.KV.Set(ctx, placedKey(group), string(text))
	return nil
}

// placeAll has the tables say of everybody who belongs there that they are in the room that is
// about to be created.
func (d *delivery) placeAll(ctx context.Context, portal *bridgev2.Portal) error {
	logins, err := d.groupLogins(d.at.ID)
	for _, l := range logins {
		if err == nil && l.belongs {
			err = d.enroll(ctx, portal, l.account, l.login)
		}
	}
	return err
}

// place has the tables say that our user is in the room of the group, before they are.
func (d *delivery) place(ctx context.Context, portal *bridgev2.Portal) error {
	if d.at.Placed == portal.MXID {
		return nil
	}
	if err := d.enroll(ctx, portal, d.at.Account, d.at.Login); err != nil {
		return err
	}
	d.at.Placed = portal.MXID
	d.members.want(d.at.Conversation) // the ghost of the account leaves, for example
	return nil
}

// enroll makes a user one who writes in the room of a group through a login, and notes that the
// bridge has brought them there.
func (d *delivery) enroll(ctx context.Context, portal *bridgev2.Portal, account identity.PublicKey, login *bridgev2.UserLogin) error {
	if _, err := d.br.DB.UserPortal.GetOrCreate(ctx, login.UserLogin, portal.PortalKey); err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	bound, err := d.isBound(ctx, portal)
	if err != nil || bound {
		return err
	}
	key, user := account.String(), login.UserMXID
	return d.notePlaced(ctx, d.at.ID, func(users placed) (bool, error) {
		before := users[key]
		if before == user {
			return false, nil
		}
		if before != "" { // who used the account before is still to be taken out
			users[key+"/"+string(before)] = before
		}
		users[key] = user
		return true, nil
	})
}

// placeLater has a login brought into the room of a group, before its next event.
func (c *Connector) placeLater(at store.Conversation) {
	c.placing.Lock()
	defer c.placing.Unlock()
	if c.placements[at] {
		return
	}
	c.placements[at] = c.deliver.Redo(at, func(ctx context.Context, at *deliver.Position) error {
		d := &delivery{Connector: c, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
		portal, err := d.existingRoom(ctx)
		if err == nil && portal != nil {
			at.Placed = ""
			_, err = d.ensureRoom(ctx)
		}
		if err == nil {
			c.placing.Lock()
			delete(c.placements, at.Conversation)
			c.placing.Unlock()
		}
		return err
	})
}

// forgetPlacements forgets what was begun for an earlier login of an account.
func (c *Connector) forgetPlacements(account identity.PublicKey) {
	c.placing.Lock()
	defer c.placing.Unlock()
	maps.DeleteFunc(c.placements, func(at store.Conversation, _ bool) bool { return at.Account == account })
}

// removePlaced takes users out of the room of a group who do not belong there any more.
func (r *memberRoom) removePlaced(work context.Context, portal *bridgev2.Portal) error {
	for key, user := range r.placedIn(work, r.group) {
		stay, err := r.whyThere(key, user) // as it is now: others may have become members since
		if err != nil {
			return err
		}
		if stay.asPlaced {
			continue
		}
		if stay.login != nil {
			row := database.UserPortalFor(stay.login.UserLogin, portal.PortalKey)
			if err := r.br.DB.UserPortal.Delete(work, row); err != nil {
				return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
			}
		}
		if !stay.otherwise {
			if err := r.removeUser(work, user); err != nil {
				return err
			}
		}
		err = r.notePlaced(work, r.group, func(users placed) (bool, error) {
			stay, err := r.whyThere(key, user)
			if err != nil || stay.asPlaced || users[key] != user {
				return false, err
			}
			delete(users, key)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// presence says why a user is in the room of a group.
type presence struct {
	asPlaced, otherwise bool                // through the account of their record, or another one
	login               *bridgev2.UserLogin // of the account, nil when they have no such login
}

// whyThere returns why a user belongs into the room who was brought there under a key of placed.
func (r *memberRoom) whyThere(key string, user id.UserID) (why presence, err error) {
	logins, err := r.groupLogins(r.group)
	for _, l := range logins {
		switch {
		case l.login.UserMXID != user:
		case l.account.String() == key:
			why.asPlaced, why.login = l.belongs, l.login
		default:
			why.otherwise = why.otherwise || l.belongs
		}
	}
	return why, err
}

func (r *memberRoom) removeUser(work context.Context, user id.UserID) error {
	member, err := r.matrix.AppService().StateStore.GetMember(work, r.room, user)
	if err != nil {
		return fmt.Errorf("read a member of the room: %w", err)
	}
	if !member.Membership.IsInviteOrJoin() {
		return nil
	}
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := r.libraryContext(ctx)
	defer end()
	_, err = r.matrix.Bot().KickUser(library, r.room, &mautrix.ReqKickUser{UserID: user, Reason: "Not in the group through this bridge any more"})
	if errors.Is(err, mautrix.MForbidden) || errors.Is(err, mautrix.MNotFound) { // has left meanwhile
		return nil
	}
	return homeserver.WithRetryAfter(err)
}

// setUser makes the user of a login a member of the room, with the power of their role. The
// ghost of the account is not in the room beside them.
func (r *memberRoom) setUser(work context.Context, m store.Member, l *groupLogin, levels map[id.UserID]int) error {
	user := l.login.UserMXID
	if m.Standing == store.StandingMember {
		if level, known := levels[user]; !known || groupchat.Level(m.Permissions) > level {
			levels[user] = groupchat.Level(m.Permissions)
		}
	}
	member, ghost := r.current[user], r.current[r.ghosts.UserOf(l.account)]
	isIn := member != nil && member.Membership.IsInviteOrJoin()
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := r.libraryContext(ctx)
	defer end()
	if isIn && ghost != nil && ghost.Membership == event.MembershipJoin && l.login.User.DoublePuppet(library) != nil {
		_, err := r.matrix.AppService().Intent(r.ghosts.UserOf(l.account)).LeaveRoom(library, r.room)
		return homeserver.WithRetryAfter(err)
	}
	if isIn || m.Standing != store.StandingMember || r.bound && member != nil {
		return nil
	}
	evt, err := r.roomState(library, r.room, event.StateMember, user.String())
	if err != nil {
		return err
	}
	if r.members.isUnhandled(evt) {
		return errUnhandled // see HandleMatrixMembership
	}
	if evt.Sender == user { // has left, and comes back with the next message
		return nil
	}
	if member != nil && member.Membership == event.MembershipBan {
		if _, err := r.matrix.Bot().UnbanUser(library, r.room, &mautrix.ReqUnbanUser{UserID: user}); err != nil {
			return homeserver.WithRetryAfter(err)
		}
	}
	r.placeLater(store.Conversation{Account: l.account, ID: r.group})
	return nil
}

// preferWriters makes the login with the most power the one through which a user of several
// logins writes in the room.
func (r *memberRoom) preferWriters(ctx context.Context, portal *bridgev2.Portal) error {
	best := make(map[id.UserID]*groupLogin)
	several := make(map[id.UserID]bool)
	for i := range r.logins {
		l := &r.logins[i]
		before := best[l.login.UserMXID]
		several[l.login.UserMXID] = before != nil
		if before == nil || l.belongs && (!before.belongs || groupchat.Level(l.group.Permissions) > groupchat.Level(before.group.Permissions)) {
			best[l.login.UserMXID] = l
		}
	}
	for user, l := range best {
		if !several[user] {
			continue
		}
		rows, err := r.br.DB.UserPortal.GetAllForUserInPortal(ctx, user, portal.PortalKey)
		if err == nil && len(rows) > 1 && rows[0].LoginID != l.login.ID {
			err = l.login.MarkAsPreferredIn(ctx, portal)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
	}
	return nil
}

// errOtherLogin has an event handled again, through the login of its sender that is in the
// group.
var errOtherLogin = errors.New("another login of the sender is in the group")

// isForOther reports whether what a user has done in the room of a group is to be done through
// another login of theirs: the library takes the relay, or any login, for a user of whom the
// tables do not say yet that they are in the room. They say so afterwards.
func (cl *client) isForOther(ctx context.Context, user id.UserID, portal *bridgev2.Portal, group store.ConversationID) (bool, error) {
	if cl.login.UserMXID == user {
		if _, err := cl.groups.Group(cl.account, group); err == nil || !nodeapi.IsGone(err) {
			return false, err
		}
	}
	logins, err := cl.groupLogins(group)
	if err != nil {
		return false, err
	}
	for _, l := range logins {
		if l.login.UserMXID == user && l.account != cl.account && l.group.State.IsActive() {
			_, err := cl.br.DB.UserPortal.GetOrCreate(ctx, l.login.UserLogin, portal.PortalKey)
			return err == nil, err
		}
	}
	return false, nil
}

// checkLogin has an event in the room of a group handled again when it is for another login.
func (cl *client) checkLogin(ctx context.Context, evt *event.Event, portal *bridgev2.Portal, group store.ConversationID) error {
	if !cl.conversations.InGroups(group) {
		return nil
	}
	other, err := cl.isForOther(ctx, evt.Sender, portal, group)
	if err == nil && other {
		err = errOtherLogin
	}
	if err != nil {
		return cl.again(evt, err)
	}
	return nil
}

// tellApart tells our user something about a group in the room with the bot, because the
// room of the group is that of others. key names it, and it is told once.
func (d *delivery) tellApart(ctx context.Context, key, text string) error {
	stored := database.Key("im.mimir.group_told." + d.at.Account.String() + "." + d.at.ID.String())
	if d.br.DB.KV.Get(ctx, stored) == key {
		return nil
	}
	scope := homeserver.NewNamedScope("group told/" + d.at.Account.String() + "/" + d.at.ID.String() + "/" + key)
	if err := d.teller.Tell(ctx, scope, d.at.Login.User, text); err != nil {
		return fmt.Errorf("tell of a group: %w", err)
	}
	d.br.DB.KV.Set(ctx, stored, key)
	return nil
}
