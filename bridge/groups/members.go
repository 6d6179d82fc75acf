// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxJoined is how many members of a group are in its room without having said
	// anything. The others join with their first message.
	maxJoined = 500
	// maxMemberTries is how often the members of a room are tried, until the next change.
	maxMemberTries = 8
	// memberTime bounds the requests for one member.
	memberTime = time.Minute
	// handlingTime is how long a change of a room by a user is left alone until it is
	// handled.
	handlingTime = time.Minute
	// authorPause is how long nothing more of those who are not members comes before they are
	// taken out of the room again: an old history is not a join and a ban per message.
	authorPause = 2 * time.Second
	// maxHandled bounds the events of Members.handled; beyond it all are forgotten.
	maxHandled = 10_000
)

// errUnhandled says that a user has changed a room, and the event has not been handled yet:
// it says what our user wants of the group.
var errUnhandled = errors.New("a change of the room has not been handled yet")

// Members makes the members of groups members of their rooms, with the power of their
// roles: a room at a time, a member at a time, beside the deliveries, which do not wait
// for it. It reads what should be from the store, so it repeats everything without harm.
type Members struct {
	*Rooms

	mu     sync.Mutex
	wanted map[store.Conversation]memberWork
	wake   chan struct{} // capacity 1
	// handled are the changes of rooms by users that were handled.
	handled map[id.EventID]struct{}
}

// memberWork is what is to be done in the room of one group.
type memberWork struct {
	due   time.Time
	tries int // since the last change
	// authors are those who were let into the room for a message, although they are not
	// members. The tables may still say that they are outside, when an event of before that
	// comes after the answer of the homeserver: it is asked itself.
	authors map[identity.PublicKey]struct{}
}

// add returns w with the authors of another one.
func (w memberWork) add(authors map[identity.PublicKey]struct{}) memberWork {
	if w.authors == nil {
		w.authors = make(map[identity.PublicKey]struct{}, len(authors))
	}
	maps.Copy(w.authors, authors)
	return w
}

// NewMembers returns what sets the members of rooms. The caller runs it.
func NewMembers(rooms *Rooms) *Members {
	return &Members{
		Rooms: rooms, wanted: make(map[store.Conversation]memberWork), handled: make(map[id.EventID]struct{}), wake: make(chan struct{}, 1),
	}
}

// NoteHandled notes that a change of a room by a user was handled, and has the members
// looked at: what is not done is set back.
func (s *Members) NoteHandled(conversation store.Conversation, evt id.EventID) {
	s.mu.Lock()
	if len(s.handled) >= maxHandled {
		clear(s.handled)
	}
	s.handled[evt] = struct{}{}
	s.mu.Unlock()
	s.Want(conversation)
}

// isUnhandled reports whether a state event of a room is a change by a user that was not
// handled yet.
func (s *Members) isUnhandled(evt *event.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, handled := s.handled[evt.ID]
	return evt.ID != "" && !handled && !s.deps.IsOurs(evt.Sender) && time.Since(time.UnixMilli(evt.Timestamp)) < handlingTime
}

// Want has the members of a room looked at soon. It may be called from any goroutine.
func (s *Members) Want(conversation store.Conversation) {
	conversation.Account = identity.PublicKey{} // the room is that of all logins
	s.mu.Lock()
	s.wanted[conversation] = memberWork{authors: s.wanted[conversation].authors}
	s.mu.Unlock()
	s.wakeUp()
}

// WantAuthor has the members of a room looked at after somebody who may not write there was
// let in for a message, once no more such messages come. It may be called from any goroutine.
func (s *Members) WantAuthor(conversation store.Conversation, author identity.PublicKey) {
	conversation.Account = identity.PublicKey{}
	s.mu.Lock()
	todo, found := s.wanted[conversation]
	if !found || !todo.due.IsZero() {
		todo.due, todo.tries = time.Now().Add(authorPause), 0
	}
	s.wanted[conversation] = todo.add(map[identity.PublicKey]struct{}{author: {}})
	s.mu.Unlock()
	s.wakeUp()
}

func (s *Members) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wantAll looks at the rooms of all groups: the process may have ended before.
func (s *Members) wantAll() {
	for _, account := range s.deps.Attached() {
		s.WantAllOf(account)
	}
}

// WantAllOf looks at the rooms of all groups of an account.
func (s *Members) WantAllOf(account identity.PublicKey) {
	if s.deps.Node == nil {
		return
	}
	groups, err := s.deps.Node.Groups(account)
	if err != nil {
		s.deps.Log.Error("groups not read", "account", account.Short(), "err", err)
		return
	}
	for _, g := range groups {
		s.Want(store.Conversation{Account: account, ID: g.ID})
	}
}

// Run works until stop ends.
func (s *Members) Run(stop, work context.Context) {
	if s.deps.Node == nil {
		return
	}
	s.wantAll()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-stop.Done():
			return
		case <-s.wake:
		case <-pause.C:
		}
		if wait := s.round(stop, work); wait > 0 {
			pause.Reset(wait)
		}
	}
}

// round looks at every room that is wanted. When there is more to do later, it returns after
// how long.
func (s *Members) round(stop, work context.Context) (wait time.Duration) {
	for conversation, todo := range s.takeDue() {
		if stop.Err() != nil {
			return 0
		}
		err := fault.Guard(s.deps.Log, "set the members of a room", func() error {
			return s.sync(stop, work, conversation, todo.authors)
		})
		if err == nil || stop.Err() != nil {
			continue
		}
		if todo.tries++; todo.tries >= maxMemberTries {
			s.deps.Log.Warn("members of a room not set", "contact", conversation.ID.Short(), "err", fault.OneLine(err))
			continue
		}
		todo.due = time.Now().Add(s.deps.Retry.Delay(todo.tries))
		s.mu.Lock()
		if again, found := s.wanted[conversation]; found {
			todo = again.add(todo.authors)
		}
		s.wanted[conversation] = todo
		s.mu.Unlock()
	}
	return s.untilDue()
}

// takeDue removes what is due from the rooms that are wanted, and returns it.
func (s *Members) takeDue() map[store.Conversation]memberWork {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, now := make(map[store.Conversation]memberWork), time.Now()
	for conversation, todo := range s.wanted {
		if !todo.due.After(now) {
			taken[conversation] = todo
			delete(s.wanted, conversation)
		}
	}
	return taken
}

// untilDue returns after how long the next room is due, 0 when none is wanted.
func (s *Members) untilDue() (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, todo := range s.wanted {
		if left := max(time.Until(todo.due), time.Millisecond); wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// sync makes the members of one room what the store says.
func (s *Members) sync(
	stop, work context.Context, conversation store.Conversation, authors map[identity.PublicKey]struct{},
) error {
	portal, err := s.deps.Bridge.GetExistingPortalByKey(work, mimirid.Portal(conversation.Account, conversation.ID))
	if err != nil || portal == nil {
		return err
	}
	row, err := s.deps.Bridge.DB.Portal.GetByKey(work, portal.PortalKey) // others change the portal meanwhile
	if err != nil || row == nil || row.MXID == "" {
		return err
	}
	logins, err := s.Logins(conversation.ID)
	best := s.freshest(conversation.ID, logins)
	if err != nil || best == nil {
		return err
	}
	room := memberRoom{Members: s, account: best.Account, room: row.MXID, group: conversation.ID, authors: authors, logins: logins}
	if room.bound, err = s.deps.Bindings.IsBound(work, portal.PortalKey, row.MXID); err != nil {
		return err
	}
	if room.current, err = s.deps.Matrix.AppService().StateStore.GetAllMembers(work, row.MXID); err != nil {
		return fmt.Errorf("read the members of a room: %w", err)
	}
	for user, member := range room.current {
		if member.Membership == event.MembershipJoin && s.deps.Bridge.IsGhostMXID(user) {
			room.joined++
		}
	}
	tasks := AllTasks(logins)
	levels := make(map[id.UserID]int)
	for m, err := range s.deps.Node.GroupMembers(best.Account, conversation.ID) {
		if err != nil {
			return err
		}
		if stop.Err() != nil {
			return nil
		}
		if err := room.set(work, room.expected(tasks, m), levels); err != nil {
			return err
		}
	}
	if err := room.preferWriters(work, portal); err != nil || room.bound {
		return err
	}
	if err := room.removePlaced(work, portal); err != nil {
		return err
	}
	return room.setLevels(work, levels)
}

// memberRoom is the room of a group whose members are set.
type memberRoom struct {
	*Members
	account identity.PublicKey // which knows most of the group
	logins  []Login
	room    id.RoomID
	group   store.ConversationID
	current map[id.UserID]*event.MemberEventContent
	joined  int                             // ghosts
	authors map[identity.PublicKey]struct{} // see memberWork
	// bound means that the room belongs to its people: ghosts join it once, and leave it, and
	// nothing else is changed.
	bound bool
}

// expected returns a member as the room should show it. One of our users who asks to leave has
// left.
func (r *memberRoom) expected(tasks groupchat.Tasks, m store.Member) store.Member {
	m = tasks.Member(m)
	for _, l := range r.logins {
		if l.Account == m.ID && !l.Belongs && m.Standing == store.StandingMember {
			m.Standing = store.StandingLeft
		}
	}
	return m
}

// set makes a ghost join, leave or be banned, and notes its power.
func (r *memberRoom) set(work context.Context, m store.Member, levels map[id.UserID]int) error {
	for i := range r.logins {
		if l := &r.logins[i]; l.Account == m.ID && l.Belongs {
			return r.setUser(work, m, l, levels)
		}
	}
	intent := r.deps.Bridge.Matrix.GhostIntent(mimirid.User(m.ID))
	ghost := intent.GetMXID()
	membership := event.MembershipLeave
	known := r.current[ghost]
	if known != nil {
		membership = known.Membership
	}
	if m.Standing == store.StandingMember {
		levels[ghost] = groupchat.Level(m.Permissions)
	}
	_, isAuthor := r.authors[m.ID]
	if !isAuthor && !r.mayDiffer(m, membership) || r.bound && m.Standing == store.StandingMember && known != nil { // somebody has sent it away
		return nil
	}
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := homeserver.Once(r.deps.Bridge.BackgroundCtx, ctx)
	defer end()
	var err error
	if known != nil || isAuthor { // somebody may have changed it meanwhile
		if m, membership, err = r.readAgain(library, m, ghost); err != nil || !r.differs(m, membership) {
			return err
		}
	}
	if r.bound && m.Standing != store.StandingMember {
		_, err = r.deps.Matrix.AppService().Intent(ghost).LeaveRoom(library, r.room)
		return homeserver.WithRetryAfter(err)
	}
	switch m.Standing {
	case store.StandingMember:
		return r.join(ctx, library, m, intent, membership)
	case store.StandingBanned:
		_, err = r.deps.Matrix.Bot().BanUser(library, r.room, &mautrix.ReqBanUser{UserID: ghost, Reason: "Banned from the group"})
	case store.StandingLeft:
		_, err = r.deps.Matrix.Bot().KickUser(library, r.room, &mautrix.ReqKickUser{UserID: ghost, Reason: "Left the group"})
	}
	return homeserver.WithRetryAfter(err)
}

// mayDiffer reports whether the membership of a ghost may have to be changed, when the tables
// say that it is this one. That a ghost was invited may be told after it has joined.
func (r *memberRoom) mayDiffer(m store.Member, membership event.Membership) bool {
	return r.differs(m, membership) || m.Standing != store.StandingMember && membership == event.MembershipInvite
}

// differs reports whether the membership of a ghost is to be changed. Who is not a member of
// the group, and invited to the room, may become one.
func (r *memberRoom) differs(m store.Member, membership event.Membership) bool {
	if m.Standing != store.StandingMember {
		return membership == event.MembershipJoin
	}
	return membership == event.MembershipBan || membership != event.MembershipJoin && r.joined < maxJoined
}

// readAgain returns what the homeserver, the store and the tasks say of a member now, in this
// order: a change of the room that was handled is in one of the others. It fails with
// errUnhandled for another one.
func (r *memberRoom) readAgain(ctx context.Context, m store.Member, ghost id.UserID) (store.Member, event.Membership, error) {
	evt, err := homeserver.RoomState(ctx, r.deps.Matrix.Bot(), r.room, event.StateMember, ghost.String())
	if err != nil {
		return m, "", err
	}
	membership := event.MembershipLeave
	if evt.ID != "" {
		membership = evt.Content.AsMember().Membership
	}
	if membership != event.MembershipInvite && r.isUnhandled(evt) {
		return m, "", errUnhandled // see HandleMatrixMembership
	}
	logins, err := r.Logins(r.group)
	if err != nil {
		return m, "", err
	}
	now, err := r.deps.Node.GroupMember(r.account, r.group, m.ID)
	if err != nil {
		return m, "", err
	}
	return r.expected(AllTasks(logins), now), membership, nil
}

func (r *memberRoom) join(ctx, library context.Context, m store.Member, intent bridgev2.MatrixAPI, membership event.Membership) error {
	if membership == event.MembershipBan {
		if _, err := r.deps.Matrix.Bot().UnbanUser(library, r.room, &mautrix.ReqUnbanUser{UserID: intent.GetMXID()}); err != nil {
			return homeserver.WithRetryAfter(err)
		}
		if r.joined >= maxJoined {
			return nil
		}
	}
	scope := homeserver.NewNamedScope("member/" + string(r.room) + "/" + m.ID.String())
	release, err := r.HoldGhost(ctx, scope, r.account, r.group, m.ID)
	if err != nil {
		return err
	}
	defer release()
	if err := intent.EnsureJoined(library, r.room); err != nil {
		return homeserver.WithRetryAfter(err)
	}
	r.joined++
	return nil
}

// setLevels sets the power of those whose power differs, with one event.
func (r *memberRoom) setLevels(work context.Context, want map[id.UserID]int) error {
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := homeserver.Once(r.deps.Bridge.BackgroundCtx, ctx)
	defer end()
	// The tables know the creator, whose power may have no limit, and not what has not been
	// handled yet.
	known, err := r.deps.Bridge.Matrix.GetPowerLevels(library, r.room)
	if err != nil {
		return fmt.Errorf("read the power levels: %w", homeserver.WithRetryAfter(err))
	}
	evt, err := homeserver.RoomState(library, r.deps.Matrix.Bot(), r.room, event.StatePowerLevels, "")
	if err != nil {
		return err
	}
	if r.isUnhandled(evt) {
		return errUnhandled // see HandleMatrixPowerLevels
	}
	levels, ok := evt.Content.Parsed.(*event.PowerLevelsEventContent)
	if !ok {
		return nil
	}
	levels.CreateEvent = known.CreateEvent
	changed := setRules(levels)
	for user, level := range want {
		changed = levels.EnsureUserLevelAs(r.deps.Matrix.Bot().UserID, user, level) || changed
	}
	if !changed {
		return nil
	}
	_, err = r.deps.Matrix.Bot().SetPowerLevels(library, r.room, levels)
	return homeserver.WithRetryAfter(err)
}

// setRules makes what is required in the room of a group what Mimir requires, and reports
// whether it was something else.
func setRules(levels *event.PowerLevelsEventContent) (changed bool) {
	want := groupchat.PowerLevels()
	for kind, level := range want.Events {
		changed = levels.EnsureEventLevel(kind, level) || changed
	}
	for _, rule := range []struct {
		have int
		want *int
		set  func(*int)
	}{
		{levels.UsersDefault, want.UsersDefault, func(l *int) { levels.UsersDefault = *l }},
		{levels.EventsDefault, want.EventsDefault, func(l *int) { levels.EventsDefault = *l }},
		{levels.StateDefault(), want.StateDefault, func(l *int) { levels.StateDefaultPtr = l }},
		{levels.Invite(), want.Invite, func(l *int) { levels.InvitePtr = l }},
		{levels.Kick(), want.Kick, func(l *int) { levels.KickPtr = l }},
		{levels.Ban(), want.Ban, func(l *int) { levels.BanPtr = l }},
		{levels.Redact(), want.Redact, func(l *int) { levels.RedactPtr = l }},
	} {
		if rule.have != *rule.want {
			rule.set(rule.want)
			changed = true
		}
	}
	return changed
}
