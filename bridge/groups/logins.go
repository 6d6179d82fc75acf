// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// The logins whose accounts are in one group share its room. Each account has an event log
// of its own with what its mediator connection has brought, so what one of them has is shown
// when the first of them has it. What the room is like follows the account that knows most,
// see Rooms.Room, and what our users have asked for through any of them.

// Login is a login whose account is, or was, in a group.
type Login struct {
	*bridgev2.UserLogin
	Account identity.PublicKey
	Group   store.Group
	// Tasks are what its mediator has not answered to this account.
	Tasks groupchat.Tasks
	// Belongs means that the user belongs into the room. Who is not a member does not, unless
	// no login is one: then the room is theirs.
	Belongs bool

	position int64        // of the history, see nodeapi.GroupNode.GroupPosition
	reached  store.Millis // the mediator
}

// groupRequest is the last change of a group that one of our users has asked for.
type groupRequest struct {
	by identity.PublicKey
	at time.Time
}

// isStaying reports whether the account is a member, and has not asked to leave or is to be
// banned by one of our users.
func (l *Login) isStaying(logins []Login) bool {
	return l.Group.State.IsActive() &&
		!slices.ContainsFunc(l.Tasks, func(t store.GroupTask) bool { return t.Kind == store.TaskLeave }) &&
		!slices.ContainsFunc(AllTasks(logins), func(t store.GroupTask) bool { return t.Kind == store.TaskBan && t.User == l.Account })
}

// Logins returns the logins whose accounts know a group, in the order of their keys.
func (r *Rooms) Logins(group store.ConversationID) ([]Login, error) {
	if !r.deps.Conversations.InGroups(group) {
		return nil, nil
	}
	var logins []Login
	stays := false
	for _, login := range r.deps.Bridge.GetAllCachedUserLogins() {
		account, ok := r.deps.AccountOf(login)
		if !ok {
			continue
		}
		l := Login{UserLogin: login, Account: account}
		var err error
		if l.Group, err = r.deps.Node.Group(account, group); nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l.Tasks, err = r.tasks(store.Conversation{Account: account, ID: group}); err != nil {
			return nil, err
		}
		if l.position, l.reached, err = r.deps.Node.GroupPosition(account, group); err != nil {
			return nil, err
		}
		logins = append(logins, l)
	}
	for i := range logins {
		logins[i].Belongs = logins[i].isStaying(logins)
		stays = stays || logins[i].Belongs
	}
	for i := range logins {
		logins[i].Belongs = logins[i].Belongs || !stays
	}
	slices.SortFunc(logins, func(a, b Login) int { return bytes.Compare(a.Account[:], b.Account[:]) })
	return logins, nil
}

// Accounts returns the accounts with a login that know a group, in the order of their keys.
func (r *Rooms) Accounts(group store.ConversationID) ([]identity.PublicKey, error) {
	logins, err := r.Logins(group)
	accounts := make([]identity.PublicKey, len(logins))
	for i := range logins {
		accounts[i] = logins[i].Account
	}
	return accounts, err
}

// LoginsIn returns the logins that share the room of a group.
func (r *Rooms) LoginsIn(group store.ConversationID) (logins []*bridgev2.UserLogin) {
	all, err := r.Logins(group)
	if err != nil {
		r.deps.Log.Error("logins of a group not read", "contact", group.Short(), "err", err)
	}
	for _, l := range all {
		if l.Belongs {
			logins = append(logins, l.UserLogin)
		}
	}
	return logins
}

// NoteRequest notes that one of our users has asked for a change of a group just now.
func (r *Rooms) NoteRequest(at store.Conversation) {
	r.asked.Store(at.ID, groupRequest{at.Account, time.Now()})
}

// freshest returns the login whose account knows most of a group: of those that are in it
// the one that has asked for a change just now, which knows first what became of it, else the
// one with the longest history, and of several the one that has heard last of the mediator.
// It returns nil for no login.
func (r *Rooms) freshest(group store.ConversationID, logins []Login) *Login {
	if len(logins) == 0 {
		return nil
	}
	asked, _ := r.asked.Load(group)
	request, _ := asked.(groupRequest)
	inGroup := func(l Login) int {
		if l.Group.State.IsActive() {
			return 1
		}
		return 0
	}
	asks := func(l Login) int {
		if l.Account == request.by && time.Since(request.at) < handlingTime {
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

// AllTasks returns what the mediator has not answered to any of the logins.
func AllTasks(logins []Login) groupchat.Tasks {
	var tasks groupchat.Tasks
	for _, l := range logins {
		tasks = append(tasks, l.Tasks...)
	}
	slices.SortStableFunc(tasks, func(a, b store.GroupTask) int { return int(a.Created - b.Created) })
	return tasks
}

// Room returns a group as its room should show it, and the logins that share the room.
// What our users ask for is queued where the library handles the events of the room, so the
// answer is current only there.
func (r *Rooms) Room(group store.ConversationID) (store.Group, []Login, error) {
	logins, err := r.Logins(group)
	if err != nil {
		return store.Group{}, nil, err
	}
	best := r.freshest(group, logins)
	if best == nil {
		return store.Group{}, nil, store.ErrNotFound
	}
	return AllTasks(logins).Group(best.Group), logins, nil
}

// LoginOf returns the login of an account, nil for none.
func (r *Rooms) LoginOf(account identity.PublicKey) *bridgev2.UserLogin {
	login := r.deps.Bridge.GetCachedUserLoginByID(mimirid.Login(account))
	if login == nil {
		return nil
	}
	if _, ok := r.deps.AccountOf(login); !ok {
		return nil
	}
	return login
}

// UserOf returns the Matrix user who somebody is in the room of a group: the user of their
// login, when that belongs there, else their ghost.
func (r *Rooms) UserOf(logins []Login, key identity.PublicKey) id.UserID {
	for _, l := range logins {
		if l.Account == key && l.Belongs {
			return l.UserMXID
		}
	}
	return r.deps.Ghosts.UserOf(key)
}

// IsShared reports whether users of other logins are in the room of the group, too.
func (r *Rooms) IsShared(at store.Conversation) (bool, error) {
	login := r.LoginOf(at.Account)
	if login == nil || !r.deps.Conversations.InGroups(at.ID) {
		return false, nil
	}
	logins, err := r.Logins(at.ID)
	return slices.ContainsFunc(logins, func(l Login) bool { return l.Belongs && l.UserMXID != login.UserMXID }), err
}

// Addressed returns a text about what one of our users has done in a group, with the user
// before it when others read it as well.
func (r *Rooms) Addressed(at store.Conversation, text string) (string, error) {
	shared, err := r.IsShared(at)
	if cl := r.LoginOf(at.Account); shared && cl != nil {
		text = cl.UserMXID.String() + ": " + text
	}
	return text, err
}

// tasks returns what the mediator of a group has not answered.
func (r *Rooms) tasks(at store.Conversation) (groupchat.Tasks, error) {
	tasks, err := r.deps.Node.GroupTasks(at.Account, at.ID, store.MaxPage)
	return groupchat.Tasks(tasks), err
}
