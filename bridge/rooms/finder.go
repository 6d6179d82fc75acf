// SPDX-License-Identifier: MPL-2.0

package rooms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/keylock"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// joinedAge is how old the list of the bot's rooms may be when an event comes from a
	// room that the tables do not know. The bot does not join a room without an event that
	// updates the tables.
	joinedAge = time.Minute
	// maxSeenRooms bounds the rooms whose state is remembered; beyond it all are forgotten
	// and read again.
	maxSeenRooms = 10_000
	// lastUseEvents is how far back a room is searched for its last message.
	lastUseEvents = 100
	// searchEvery is how often all rooms are searched when nothing else causes it.
	searchEvery = 6 * time.Hour
	// maxTries is how often the state of a room, or what a replaced room needs, may fail
	// before the room is ignored.
	maxTries = 3
	// adoptTime bounds how long a login waits for its rooms. Others are found in the
	// background.
	adoptTime = 30 * time.Second
)

// Conversations is what a [Finder] needs of the conversations that rooms belong to. The
// connector implements it. Its methods may be called from any goroutine.
type Conversations interface {
	// Owner returns the user who used an account last, "" when that is not known, and
	// SetOwner stores it.
	Owner(ctx context.Context, account identity.PublicKey) id.UserID
	SetOwner(ctx context.Context, account identity.PublicKey, user id.UserID)
	// ShownIn stores that all of a conversation so far is in a room, so that its history
	// is not shown there. It is called before a conversation moves to the room.
	ShownIn(ctx context.Context, conversation store.Conversation, room id.RoomID) error
	// Retry delivers at once what waits for the room of a conversation. The account does not
	// matter for a group, here and in ShownIn: its room is that of all accounts in it.
	Retry(conversation store.Conversation)
	// HoldGhosts keeps everything else from the ghosts of a conversation with a contact
	// until release is called, so that the library may set their names and pictures. It
	// fails only when ctx ends.
	HoldGhosts(ctx context.Context, login *bridgev2.UserLogin, contact identity.PublicKey) (release func(), err error)
	// Logins returns the logins that share the room of a group.
	Logins(group store.ConversationID) []*bridgev2.UserLogin
}

// Deps is what a [Finder] uses.
type Deps struct {
	Bridge *bridgev2.Bridge
	Matrix library.Matrix
	Status *library.StatusSender
	Log    *slog.Logger
	// Library is the logger that bridgev2 gets.
	Library zerolog.Logger
	// Permissions says who may use the bridge for what.
	Permissions bridgeconfig.PermissionConfig
	// Retry is the back-off of a search that failed.
	Retry kernel.Backoff
	// LastUp is when the homeserver last answered a request well.
	LastUp        func() time.Time
	Conversations Conversations
}

// Finder finds the rooms that are the bridge's and that its tables do not know: the
// tables were lost or are those of another database, or the homeserver has created a room
// after the bridge had stopped waiting for it. A room is adopted when its state says
// whose it is, see [roomClaim], and that user has a login. Until then every message in it
// is answered with a notice.
//
// It is safe for use by many goroutines.
type Finder struct {
	br            *bridgev2.Bridge
	matrix        library.Matrix
	status        *library.StatusSender
	log           *slog.Logger
	library       zerolog.Logger
	permissions   bridgeconfig.PermissionConfig
	retry         kernel.Backoff
	conversations Conversations
	wake          chan struct{} // capacity 1: search all rooms

	mu     sync.Mutex
	joined map[id.RoomID]bool // the rooms that the bot is in
	listed time.Time          // when joined was read
	seen   map[id.RoomID]networkid.PortalKey
	failed map[id.RoomID]int // how often in a row the state could not be read

	failures eventFailures

	// opening is held while a user is given a management room: by a search, an event in the
	// room, or the library, for an invitation of the bot.
	opening keylock.Locks[id.UserID]
	// changing is held while a conversation is given a room: a search, an event in the room
	// and a command may do it at a time.
	changing keylock.Locks[networkid.PortalKey]

	// passed counts the messages in rooms without the bot, which nothing can answer;
	// passedLog limits the log lines about them.
	passed    atomic.Int64
	passedLog *rate.Limiter
}

// New returns a finder, which searches by itself while Run runs.
func New(deps Deps) *Finder {
	return &Finder{
		br: deps.Bridge, matrix: deps.Matrix, status: deps.Status, log: deps.Log, library: deps.Library,
		permissions: deps.Permissions, retry: deps.Retry, conversations: deps.Conversations, wake: make(chan struct{}, 1),
		seen: make(map[id.RoomID]networkid.PortalKey), failed: make(map[id.RoomID]int),
		failures:  eventFailures{lastUp: deps.LastUp},
		passedLog: rate.NewLimiter(rate.Every(10*time.Second), 5),
	}
}

// Adopt finds the rooms and Matrix spaces of logins that the tables do not know, before
// new ones are created. What fails or takes long is retried by Run.
func (f *Finder) Adopt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, adoptTime)
	defer cancel()
	if err := f.adoptAll(ctx); err != nil {
		f.log.Warn("rooms of a login not searched, retrying", "err", fault.OneLine(err))
		f.search()
	}
}

// search has all rooms searched soon.
func (f *Finder) search() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run searches at the start, after search, and from time to time, until stop ends.
func (f *Finder) Run(stop context.Context) error {
	for try := 0; stop.Err() == nil; {
		err := f.adoptAll(f.library.WithContext(stop))
		if stop.Err() != nil {
			return nil //nolint:nilerr // it is time to stop
		}
		delay := searchEvery
		if err == nil {
			try = 0
		} else {
			f.log.Log(stop, fault.RetryLevel(try), "search of rooms failed, retrying", "err", fault.OneLine(err))
			delay = f.retry.Delay(try)
			try++
		}
		timer := time.NewTimer(delay)
		select {
		case <-stop.Done():
		case <-f.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// Joined returns the rooms that the bot is in, from an answer that is at most maxAge old.
func (f *Finder) Joined(ctx context.Context, maxAge time.Duration) (map[id.RoomID]bool, error) {
	f.mu.Lock()
	joined, age := f.joined, time.Since(f.listed)
	f.mu.Unlock()
	if joined != nil && age < maxAge {
		return joined, nil
	}
	begun := time.Now()
	resp, err := f.matrix.Bot().JoinedRooms(mautrix.WithMaxRetries(ctx, 0))
	if err != nil {
		return nil, fmt.Errorf("list the bot's rooms: %w", err)
	}
	joined = make(map[id.RoomID]bool, len(resp.JoinedRooms))
	for _, room := range resp.JoinedRooms {
		joined[room] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.joined, f.listed = joined, begun
	return joined, nil
}

// Note notes what a room is for, which never changes, so that its state need not be
// read; key returns it.
func (f *Finder) Note(room id.RoomID, key networkid.PortalKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) >= maxSeenRooms {
		clear(f.seen)
	}
	f.seen[room] = key
}

func (f *Finder) key(room id.RoomID) (key networkid.PortalKey, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, known = f.seen[room]
	return key, known
}

// claims reads the rooms that the tables do not know, and returns those for which wanted
// reports true. Rooms that are not a conversation are handled at once. A room that cannot
// be read does not hide the others; one that is ignored for that is read only if
// everything is set.
func (f *Finder) claims(ctx context.Context, wanted func(networkid.PortalKey) bool, everything bool) (found []*roomClaim, err error) {
	joined, err := f.Joined(ctx, 0)
	if err != nil {
		return nil, err
	}
	known, err := f.Known(ctx)
	if err != nil {
		return nil, err
	}
	for room := range joined {
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if key, seen := f.key(room); known[room] || seen && !wanted(key) {
			continue
		}
		if !everything && f.isIgnored(room) {
			continue
		}
		claim, failed := f.readClaim(ctx, room)
		if f.isUnreadable(room, failed) {
			continue
		}
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		switch {
		case claim == nil:
			continue
		case claim.key.IsEmpty(): // before it is noted: an event that comes meanwhile does the same
			if failed := f.adoptOther(ctx, claim); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			if claim.predecessor != "" || claim.isUnfinished() {
				continue // it may yet become the room of a conversation
			}
		case wanted(claim.key):
			found = append(found, claim)
		}
		f.Note(room, claim.key)
	}
	slices.SortFunc(found, func(a, b *roomClaim) int { return strings.Compare(string(a.room), string(b.room)) })
	return found, err
}

// isUnreadable notes whether the state of a room could be read. It reports true after
// several failures in a row: nothing waits for that room any more.
func (f *Finder) isUnreadable(room id.RoomID, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.failed, room)
		return false
	}
	f.failed[room]++
	if f.failed[room] == maxTries {
		f.log.Warn("state of a room not read, ignoring the room", "room_id", room, "err", fault.OneLine(err))
	}
	return f.failed[room] >= maxTries
}

// isIgnored reports whether isUnreadable has said so of a room.
func (f *Finder) isIgnored(room id.RoomID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed[room] >= maxTries
}

// Known returns the rooms of the tables.
func (f *Finder) Known(ctx context.Context) (map[id.RoomID]bool, error) {
	portals, err := f.br.DB.Portal.GetAllWithMXID(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the known rooms: %w", err)
	}
	known := map[id.RoomID]bool{f.SelfTestRoom(ctx): true}
	for _, portal := range portals {
		known[portal.MXID] = true
	}
	for _, login := range f.br.GetAllCachedUserLogins() {
		space, err := f.SpaceOf(ctx, login)
		if err != nil {
			return nil, fmt.Errorf("list the known rooms: %w", err)
		}
		management, err := f.ManagementRoom(ctx, login.UserMXID)
		if err != nil {
			return nil, fmt.Errorf("list the known rooms: %w", err)
		}
		known[space], known[management] = true, true
	}
	return known, nil
}

// SpaceOf returns the Matrix space of a login, "" for none. It reads the tables, because
// the library writes its copy in memory without a lock.
func (f *Finder) SpaceOf(ctx context.Context, login *bridgev2.UserLogin) (id.RoomID, error) {
	row, err := f.br.DB.UserLogin.GetByID(ctx, login.ID)
	if err != nil || row == nil {
		return "", err
	}
	return row.SpaceRoom, nil
}

// ManagementRoom returns the management room of a user, "" for none, from the tables as
// SpaceOf does.
func (f *Finder) ManagementRoom(ctx context.Context, user id.UserID) (id.RoomID, error) {
	row, err := f.br.DB.User.GetByMXID(ctx, user)
	if err != nil || row == nil {
		return "", err
	}
	return row.ManagementRoom, nil
}

// HoldManagementRoom keeps everything else from giving a user a management room until
// release is called. It fails only when ctx ends.
func (f *Finder) HoldManagementRoom(ctx context.Context, user id.UserID) (release func(), err error) {
	return f.opening.Hold(ctx, user)
}

// adoptAll searches all rooms of the bot.
func (f *Finder) adoptAll(ctx context.Context) error {
	found, err := f.claims(ctx, func(networkid.PortalKey) bool { return true }, true)
	byKey := make(map[networkid.PortalKey][]*roomClaim)
	var keys []networkid.PortalKey
	for _, claim := range found {
		if byKey[claim.key] == nil {
			keys = append(keys, claim.key)
		}
		byKey[claim.key] = append(byKey[claim.key], claim)
	}
	// Spaces first: the rooms are put into them.
	slices.SortStableFunc(keys, func(a, b networkid.PortalKey) int {
		switch {
		case (a.ID == homeserver.SpaceChannel) == (b.ID == homeserver.SpaceChannel):
			return 0
		case a.ID == homeserver.SpaceChannel:
			return -1
		default:
			return 1
		}
	})
	for _, key := range keys {
		err = errors.Join(err, f.adoptKey(ctx, key, byKey[key]))
	}
	return err
}

// adoptOther handles a room that is not a conversation: one that replaces the room of a
// conversation, a management room, or a leftover.
func (f *Finder) adoptOther(ctx context.Context, claim *roomClaim) error {
	if moved, err := f.follow(ctx, claim); err != nil || moved {
		return err
	}
	switch {
	case claim.ghosts > 0:
	case len(claim.people) == 0 && claim.ownRoom && claim.name == selfTestRoomName:
		f.leave(ctx, claim.room)
	case len(claim.people) == 1:
		_, err := f.adoptManagement(ctx, claim)
		return err
	}
	return nil
}

// adoptManagement makes a room with one user and the bot the management room of a user
// who has none, as an invitation of the bot does.
func (f *Finder) adoptManagement(ctx context.Context, claim *roomClaim) (bool, error) {
	if !f.permissions.Get(claim.people[0]).Commands {
		return false, nil
	}
	user, err := f.br.GetUserByMXID(ctx, claim.people[0])
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	release, err := f.HoldManagementRoom(ctx, user.MXID)
	if err != nil {
		return false, err
	}
	defer release()
	room, err := f.ManagementRoom(ctx, user.MXID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if room != "" {
		return false, nil
	}
	if err := f.fillTables(ctx, claim.room); err != nil {
		return false, err
	}
	adopted, err := library.SetManagementRoom(ctx, user, "", claim.room)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if adopted {
		f.log.Info("management room adopted", "room_id", claim.room)
	}
	return adopted, nil
}

// adoptKey adopts the most recently used of several rooms for the same conversation. The
// others are redirected to it.
func (f *Finder) adoptKey(ctx context.Context, key networkid.PortalKey, claims []*roomClaim) error {
	if key.ID == homeserver.SpaceChannel {
		return f.adoptSpace(ctx, key, claims)
	}
	release, err := f.changing.Hold(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	return f.adoptRooms(ctx, key, claims)
}

// adoptRooms is adoptKey with the lock of the conversation held.
func (f *Finder) adoptRooms(ctx context.Context, key networkid.PortalKey, claims []*roomClaim) error {
	logins, err := f.loginsOf(ctx, key)
	if err != nil || len(logins) == 0 {
		return err
	}
	login := logins[0]
	claims = slices.DeleteFunc(claims, func(c *roomClaim) bool { return !c.belongsTo(logins) })
	if len(claims) == 0 {
		return nil
	}
	portal, err := f.br.GetPortalByKey(ctx, key)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	row, err := f.br.DB.Portal.GetByKey(ctx, key) // others change the portal meanwhile
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	var current id.RoomID
	rooms := make([]id.RoomID, 0, len(claims)+1)
	if row != nil && row.MXID != "" {
		current = row.MXID
		rooms = append(rooms, current)
	}
	for _, claim := range claims {
		if claim.movedTo == "" && !claim.givenUp {
			rooms = append(rooms, claim.room)
		}
	}
	if len(rooms) == 0 {
		moved := slices.IndexFunc(claims, func(c *roomClaim) bool { return !c.givenUp })
		if moved < 0 {
			return nil // the next message makes a room
		}
		rooms = append(rooms, claims[moved].room)
	}
	newest, err := f.lastUsed(ctx, rooms)
	if err != nil {
		return err
	}
	if current != newest {
		if err := f.take(ctx, login, portal, newest); err != nil {
			return err
		}
		current = portal.MXID
	}
	for _, claim := range claims {
		if claim.room == current || claim.movedTo != "" {
			continue
		}
		if len(claim.people) == 0 { // it has no user
			f.leave(ctx, claim.room)
			continue
		}
		f.point(ctx, claim.room, current)
	}
	return nil
}

// loginsOf returns the logins that a conversation or a Matrix space belongs to: one, several
// of a group, or none.
func (f *Finder) loginsOf(ctx context.Context, key networkid.PortalKey) ([]*bridgev2.UserLogin, error) {
	if _, conversation, err := mimirid.ParsePortal(key); err == nil && conversation.Kind() == store.KindGroup {
		return f.conversations.Logins(conversation), nil
	}
	login, err := f.br.GetExistingUserLoginByID(ctx, key.Receiver)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if login == nil {
		return nil, nil
	}
	return []*bridgev2.UserLogin{login}, nil
}

// adoptSpace gives a login its Matrix space. The space also says who has used the
// account, by the power level that the bot has given them: that user may attach it again.
func (f *Finder) adoptSpace(ctx context.Context, key networkid.PortalKey, claims []*roomClaim) error {
	account, err := mimirid.ParseLogin(key.Receiver)
	if err != nil {
		return nil //nolint:nilerr // homeserver.RoomKey has parsed it
	}
	logins, err := f.loginsOf(ctx, key)
	if err != nil {
		return err
	}
	var login *bridgev2.UserLogin
	if len(logins) > 0 {
		login = logins[0]
	}
	for _, claim := range claims {
		if !claim.ownRoom || len(claim.people) != 1 || claim.ghosts > 0 {
			continue
		}
		user := claim.people[0]
		if slices.Contains(claim.named, user) && f.conversations.Owner(ctx, account) == "" {
			f.conversations.SetOwner(ctx, account, user)
		}
		if login == nil || login.UserMXID != user {
			continue
		}
		if space, err := f.SpaceOf(ctx, login); err != nil || space != "" {
			if err != nil {
				return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
			}
			continue
		}
		if err := f.fillTables(ctx, claim.room); err != nil {
			return err
		}
		adopted, err := library.SetSpace(ctx, login, "", claim.room)
		if err != nil {
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		if adopted {
			f.log.Info("space of a login adopted", "account", account.Short(), "room_id", claim.room)
		}
	}
	return nil
}

// lastUsed returns the room with the latest message that the bot has not sent.
func (f *Finder) lastUsed(ctx context.Context, rooms []id.RoomID) (newest id.RoomID, err error) {
	if len(rooms) == 1 {
		return rooms[0], nil
	}
	latest := int64(-1)
	now := time.Now().UnixMilli()
	for _, room := range rooms {
		page, err := f.matrix.Bot().Messages(mautrix.WithMaxRetries(ctx, 0), room, "", "", mautrix.DirectionBackward,
			&mautrix.FilterPart{Limit: lastUseEvents}, lastUseEvents)
		if err != nil {
			return "", fmt.Errorf("look when a room was used last: %w", err)
		}
		used := int64(0)
		for _, evt := range page.Chunk {
			if isUse(evt.Type) && evt.Sender != f.matrix.Bot().UserID {
				used = max(used, min(evt.Timestamp, now))
			}
		}
		if used > latest {
			newest, latest = room, used
		}
	}
	return newest, nil
}

func isUse(kind event.Type) bool {
	return kind.Type == event.EventMessage.Type || kind.Type == event.EventEncrypted.Type || kind.Type == event.EventSticker.Type
}

// Use makes a room that of a conversation which has none. Nothing happens when it has one,
// or when the room is one already.
func (f *Finder) Use(ctx context.Context, login *bridgev2.UserLogin, key networkid.PortalKey, room id.RoomID) error {
	release, err := f.changing.Hold(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	portal, err := f.br.GetPortalByKey(ctx, key)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal.MXID != "" {
		return nil
	}
	return f.take(ctx, login, portal, room)
}

// take makes a room that of a conversation.
func (f *Finder) take(ctx context.Context, login *bridgev2.UserLogin, portal *bridgev2.Portal, room id.RoomID) error {
	return f.takeIn(ctx, login, portal, room, bridgev2.UpdateMatrixRoomIDParams{ChatInfoSource: login})
}

func (f *Finder) takeIn(
	ctx context.Context, login *bridgev2.UserLogin, portal *bridgev2.Portal, room id.RoomID, params bridgev2.UpdateMatrixRoomIDParams,
) error {
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	if portal.MXID != "" {
		if err := f.noteMoved(ctx, portal.PortalKey); err != nil {
			return err
		}
	}
	if err := f.fillTables(ctx, room); err != nil {
		return err
	}
	background := f.library.WithContext(f.br.BackgroundCtx) // the library goes on in the background
	err = portal.UpdateMatrixRoomID(background, room, params)
	switch {
	case errors.Is(err, bridgev2.ErrTargetRoomIsPortal):
		return nil
	case err != nil:
		return fmt.Errorf("adopt a room: %w", err)
	}
	f.log.Info("room adopted", "contact", contact.Short(), "room_id", room)
	if conversation.Kind() == store.KindContact {
		release, err := f.conversations.HoldGhosts(ctx, login, contact)
		if err != nil {
			return err
		}
		defer release()
	}
	result := f.br.QueueRemoteEvent(login, &simplevent.ChatResync{
		EventMeta: simplevent.EventMeta{
			Type: bridgev2.RemoteEventChatResync, PortalKey: portal.PortalKey,
			MutateContextFunc: func(library context.Context) context.Context { return mautrix.WithMaxRetries(library, 0) },
		},
		GetChatInfoFunc: func(ctx context.Context, _ *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
			return login.Client.GetChatInfo(ctx, portal)
		},
	})
	if !result.Success && ctx.Err() == nil { // the next message tries again
		f.log.Warn("members of an adopted room incomplete", "room_id", room, "err", fault.OneLine(result.Error))
	}
	return nil
}

// movedKey is where noteMoved stores the row of MovedRow.
func movedKey(key networkid.PortalKey) database.Key {
	return database.Key("im.mimir.moved." + string(key.Receiver) + "." + string(key.ID))
}

// noteMoved stores that what a conversation has shown so far is not in its room.
func (f *Finder) noteMoved(ctx context.Context, key networkid.PortalKey) error {
	_, err := f.br.DB.Exec(ctx, `INSERT INTO kv_store (bridge_id, key, value)
		VALUES ($1, $2, (SELECT CAST(COALESCE(MAX(rowid), 0) AS TEXT) FROM message WHERE bridge_id=$1 AND room_id=$3 AND room_receiver=$4))
		ON CONFLICT (bridge_id, key) DO UPDATE SET value=excluded.value`, f.br.ID, movedKey(key), key.ID, key.Receiver)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return nil
}

// MovedRow returns the latest row of a conversation when it moved to another room, 0 when
// it has never moved. The rows up to it are about events of earlier rooms.
func (f *Finder) MovedRow(ctx context.Context, key networkid.PortalKey) int64 {
	row, _ := strconv.ParseInt(f.br.DB.KV.Get(ctx, movedKey(key)), 10, 64)
	return row
}

// leave leaves a room without members.
func (f *Finder) leave(ctx context.Context, room id.RoomID) {
	if _, err := f.matrix.Bot().LeaveRoom(mautrix.WithMaxRetries(ctx, 0), room); err != nil {
		f.log.Warn("unused room not left", "room_id", room, "err", fault.OneLine(err))
		return
	}
	f.log.Info("unused room left", "room_id", room)
}

// point redirects a room to the one that stays.
func (f *Finder) point(ctx context.Context, old, stays id.RoomID) {
	_, err := f.matrix.Bot().SendStateEvent(mautrix.WithMaxRetries(ctx, 0), old, event.StateTombstone, "", &event.TombstoneEventContent{
		Body: "This conversation goes on in another room.", ReplacementRoom: stays,
	})
	if err != nil { // what is written there is still answered
		f.log.Warn("second room not redirected", "room_id", old, "err", fault.OneLine(err))
		return
	}
	f.log.Info("second room of a conversation redirected", "room_id", old)
}

// Existing returns the room that exists for what a room is about to be created for, "" for
// none. It does not wait again for rooms whose state could not be read several times: the
// Search of all rooms does.
func (f *Finder) Existing(ctx context.Context, key networkid.PortalKey) (id.RoomID, error) {
	logins, err := f.loginsOf(ctx, key)
	if err != nil || len(logins) == 0 {
		return "", err
	}
	found, err := f.claims(ctx, func(k networkid.PortalKey) bool { return k == key }, false)
	found = slices.DeleteFunc(found, func(c *roomClaim) bool { return !c.belongsTo(logins) || c.movedTo != "" || c.givenUp })
	if len(found) == 0 {
		return "", err
	}
	rooms := make([]id.RoomID, len(found))
	for i, claim := range found {
		rooms[i] = claim.room
	}
	room, err := f.lastUsed(ctx, rooms)
	if err != nil {
		return "", err
	}
	if len(rooms) > 1 {
		f.search() // the others are to point to it
	}
	f.log.Info("existing room found, not creating another", "room_id", room)
	return room, nil
}
