// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
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
	// adoptTime bounds how long a login waits for its rooms. Others are found in the
	// background.
	adoptTime = 30 * time.Second
)

// lostRooms finds the rooms that are the bridge's and that its tables do not know: the
// tables were lost or are those of another database, or the homeserver has created a room
// after the bridge had stopped waiting for it. A room is adopted when its state says
// whose it is, see [roomClaim], and that user has a login. Until then every message in it
// is answered with a notice.
//
// It is safe for use by many goroutines.
type lostRooms struct {
	*Connector
	library zerolog.Logger
	retry   kernel.Backoff
	wake    chan struct{} // capacity 1: search all rooms

	mu     sync.Mutex
	joined map[id.RoomID]bool // the rooms that the bot is in
	listed time.Time          // when joined was read
	seen   map[id.RoomID]networkid.PortalKey
	failed map[id.RoomID]int // how often in a row the state could not be read

	failures eventFailures

	// adopting is held while the management room of a user is set.
	adopting sync.Mutex

	// passed counts the messages in rooms without the bot, which nothing can answer;
	// passedLog limits the log lines about them.
	passed    atomic.Int64
	passedLog *rate.Limiter
}

func newLostRooms(c *Connector, library zerolog.Logger, retry kernel.Backoff) *lostRooms {
	return &lostRooms{
		Connector: c, library: library, retry: retry, wake: make(chan struct{}, 1),
		seen: make(map[id.RoomID]networkid.PortalKey), failed: make(map[id.RoomID]int),
		failures:  eventFailures{lastUp: c.homeserver.LastUp},
		passedLog: rate.NewLimiter(rate.Every(10*time.Second), 5),
	}
}

// search has all rooms searched soon.
func (l *lostRooms) search() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run searches at the start, after search, and from time to time, until stop ends.
func (l *lostRooms) run(stop context.Context) error {
	for try := 0; stop.Err() == nil; {
		err := l.adoptAll(l.library.WithContext(stop))
		if stop.Err() != nil {
			return nil //nolint:nilerr // it is time to stop
		}
		delay := searchEvery
		if err == nil {
			try = 0
		} else {
			l.log.Log(stop, fault.RetryLevel(try), "search of rooms failed, retrying", "err", fault.OneLine(err))
			delay = l.retry.Delay(try)
			try++
		}
		timer := time.NewTimer(delay)
		select {
		case <-stop.Done():
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// list returns the rooms that the bot is in, from an answer that is at most maxAge old.
func (l *lostRooms) list(ctx context.Context, maxAge time.Duration) (map[id.RoomID]bool, error) {
	l.mu.Lock()
	joined, age := l.joined, time.Since(l.listed)
	l.mu.Unlock()
	if joined != nil && age < maxAge {
		return joined, nil
	}
	begun := time.Now()
	resp, err := l.matrix.Bot().JoinedRooms(mautrix.WithMaxRetries(ctx, 0))
	if err != nil {
		return nil, fmt.Errorf("list the bot's rooms: %w", err)
	}
	joined = make(map[id.RoomID]bool, len(resp.JoinedRooms))
	for _, room := range resp.JoinedRooms {
		joined[room] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.joined, l.listed = joined, begun
	return joined, nil
}

// remember notes what a room is for, which never changes; key returns it.
func (l *lostRooms) remember(room id.RoomID, key networkid.PortalKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) >= maxSeenRooms {
		clear(l.seen)
	}
	l.seen[room] = key
}

func (l *lostRooms) key(room id.RoomID) (key networkid.PortalKey, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, known = l.seen[room]
	return key, known
}

// claims reads the rooms that the tables do not know, and returns those for which wanted
// reports true. Rooms that are not a conversation are handled at once. A room that cannot
// be read does not hide the others; one that is ignored for that is read only if
// everything is set.
func (l *lostRooms) claims(ctx context.Context, wanted func(networkid.PortalKey) bool, everything bool) (found []*roomClaim, err error) {
	joined, err := l.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	known, err := l.knownRooms(ctx)
	if err != nil {
		return nil, err
	}
	for room := range joined {
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if key, seen := l.key(room); known[room] || seen && !wanted(key) {
			continue
		}
		if !everything && l.isIgnored(room) {
			continue
		}
		claim, failed := l.readClaim(ctx, room)
		if l.isUnreadable(room, failed) {
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
			if failed := l.adoptOther(ctx, claim); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			if claim.predecessor != "" || claim.isUnfinished() {
				continue // it may yet become the room of a conversation
			}
		case wanted(claim.key):
			found = append(found, claim)
		}
		l.remember(room, claim.key)
	}
	slices.SortFunc(found, func(a, b *roomClaim) int { return strings.Compare(string(a.room), string(b.room)) })
	return found, err
}

// isUnreadable notes whether the state of a room could be read. It reports true after
// several failures in a row: nothing waits for that room any more.
func (l *lostRooms) isUnreadable(room id.RoomID, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		delete(l.failed, room)
		return false
	}
	l.failed[room]++
	if l.failed[room] == maxTries {
		l.log.Warn("state of a room not read, ignoring the room", "room_id", room, "err", fault.OneLine(err))
	}
	return l.failed[room] >= maxTries
}

// isIgnored reports whether isUnreadable has said so of a room.
func (l *lostRooms) isIgnored(room id.RoomID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed[room] >= maxTries
}

// knownRooms returns the rooms of the tables.
func (l *lostRooms) knownRooms(ctx context.Context) (map[id.RoomID]bool, error) {
	portals, err := l.br.DB.Portal.GetAllWithMXID(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the known rooms: %w", err)
	}
	known := map[id.RoomID]bool{id.RoomID(l.br.DB.KV.Get(ctx, selfTestRoomKey)): true}
	for _, portal := range portals {
		known[portal.MXID] = true
	}
	for _, login := range l.br.GetAllCachedUserLogins() {
		space, err := l.spaceOf(ctx, login)
		if err != nil {
			return nil, fmt.Errorf("list the known rooms: %w", err)
		}
		management, err := l.ManagementRoom(ctx, login.UserMXID)
		if err != nil {
			return nil, fmt.Errorf("list the known rooms: %w", err)
		}
		known[space], known[management] = true, true
	}
	return known, nil
}

// spaceOf returns the Matrix space of a login, "" for none. It reads the tables, because
// the library writes its copy in memory without a lock.
func (c *Connector) spaceOf(ctx context.Context, login *bridgev2.UserLogin) (id.RoomID, error) {
	row, err := c.br.DB.UserLogin.GetByID(ctx, login.ID)
	if err != nil || row == nil {
		return "", err
	}
	return row.SpaceRoom, nil
}

// ManagementRoom returns the management room of a user, "" for none, from the tables as
// spaceOf does.
func (c *Connector) ManagementRoom(ctx context.Context, user id.UserID) (id.RoomID, error) {
	row, err := c.br.DB.User.GetByMXID(ctx, user)
	if err != nil || row == nil {
		return "", err
	}
	return row.ManagementRoom, nil
}

// adoptAll searches all rooms of the bot.
func (l *lostRooms) adoptAll(ctx context.Context) error {
	found, err := l.claims(ctx, func(networkid.PortalKey) bool { return true }, true)
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
		err = errors.Join(err, l.adoptKey(ctx, key, byKey[key]))
	}
	return err
}

// adoptOther handles a room that is not a conversation: one that replaces the room of a
// conversation, a management room, or a leftover.
func (l *lostRooms) adoptOther(ctx context.Context, claim *roomClaim) error {
	if moved, err := l.follow(ctx, claim); err != nil || moved {
		return err
	}
	switch {
	case claim.ghosts > 0:
	case len(claim.people) == 0 && claim.ownRoom && claim.name == selfTestRoomName:
		l.leave(ctx, claim.room)
	case len(claim.people) == 1:
		_, err := l.adoptManagement(ctx, claim)
		return err
	}
	return nil
}

// adoptManagement makes a room with one user and the bot the management room of a user
// who has none, as an invitation of the bot does.
func (l *lostRooms) adoptManagement(ctx context.Context, claim *roomClaim) (bool, error) {
	if !l.config.Bridge.Permissions.Get(claim.people[0]).Commands {
		return false, nil
	}
	user, err := l.br.GetUserByMXID(ctx, claim.people[0])
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	l.adopting.Lock()
	defer l.adopting.Unlock()
	room, err := l.ManagementRoom(ctx, user.MXID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if room != "" {
		return false, nil
	}
	if err := l.fillTables(ctx, claim.room); err != nil {
		return false, err
	}
	user.ManagementRoom = claim.room
	if err := user.Save(ctx); err != nil {
		user.ManagementRoom = ""
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	l.log.Info("management room adopted", "room_id", claim.room)
	return true, nil
}

// adoptKey adopts the most recently used of several rooms for the same conversation. The
// others are redirected to it.
func (l *lostRooms) adoptKey(ctx context.Context, key networkid.PortalKey, claims []*roomClaim) error {
	if key.ID == homeserver.SpaceChannel {
		return l.adoptSpace(ctx, key, claims)
	}
	login, err := l.loginOf(ctx, key)
	if err != nil || login == nil {
		return err
	}
	claims = slices.DeleteFunc(claims, func(c *roomClaim) bool { return !c.belongsTo(login.UserMXID) })
	if len(claims) == 0 {
		return nil
	}
	portal, err := l.br.GetPortalByKey(ctx, key)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	rooms := make([]id.RoomID, 0, len(claims)+1)
	if portal.MXID != "" {
		rooms = append(rooms, portal.MXID)
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
	newest, err := l.lastUsed(ctx, rooms)
	if err != nil {
		return err
	}
	if portal.MXID != newest {
		if err := l.take(ctx, login, portal, newest); err != nil {
			return err
		}
	}
	for _, claim := range claims {
		if claim.room == portal.MXID || claim.movedTo != "" {
			continue
		}
		if len(claim.people) == 0 { // it has no user
			l.leave(ctx, claim.room)
			continue
		}
		l.point(ctx, claim.room, portal.MXID)
	}
	return nil
}

// loginOf returns the login that a conversation or a Matrix space belongs to, nil when
// there is none.
func (l *lostRooms) loginOf(ctx context.Context, key networkid.PortalKey) (*bridgev2.UserLogin, error) {
	login, err := l.br.GetExistingUserLoginByID(ctx, key.Receiver)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return login, nil
}

// adoptSpace gives a login its Matrix space. The space also says who has used the
// account, by the power level that the bot has given them: that user may attach it again.
func (l *lostRooms) adoptSpace(ctx context.Context, key networkid.PortalKey, claims []*roomClaim) error {
	account, err := mimirid.ParseLogin(key.Receiver)
	if err != nil {
		return nil //nolint:nilerr // homeserver.RoomKey has parsed it
	}
	login, err := l.loginOf(ctx, key)
	if err != nil {
		return err
	}
	for _, claim := range claims {
		if !claim.ownRoom || len(claim.people) != 1 || claim.ghosts > 0 {
			continue
		}
		user := claim.people[0]
		if slices.Contains(claim.named, user) && l.owner(ctx, account) == "" {
			l.br.DB.KV.Set(ctx, ownerKey(account), string(user))
		}
		if login == nil || login.UserMXID != user {
			continue
		}
		if space, err := l.spaceOf(ctx, login); err != nil || space != "" {
			if err != nil {
				return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
			}
			continue
		}
		if err := l.fillTables(ctx, claim.room); err != nil {
			return err
		}
		login.SpaceRoom = claim.room
		if err := login.Save(ctx); err != nil {
			login.SpaceRoom = ""
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		l.log.Info("space of a login adopted", "account", account.Short(), "room_id", claim.room)
	}
	return nil
}

// lastUsed returns the room with the latest message that the bot has not sent.
func (l *lostRooms) lastUsed(ctx context.Context, rooms []id.RoomID) (newest id.RoomID, err error) {
	if len(rooms) == 1 {
		return rooms[0], nil
	}
	latest := int64(-1)
	now := time.Now().UnixMilli()
	for _, room := range rooms {
		page, err := l.matrix.Bot().Messages(mautrix.WithMaxRetries(ctx, 0), room, "", "", mautrix.DirectionBackward,
			&mautrix.FilterPart{Limit: lastUseEvents}, lastUseEvents)
		if err != nil {
			return "", fmt.Errorf("look when a room was used last: %w", err)
		}
		used := int64(0)
		for _, evt := range page.Chunk {
			if isUse(evt.Type) && evt.Sender != l.matrix.Bot().UserID {
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

// take makes a room that of a conversation.
func (l *lostRooms) take(ctx context.Context, login *bridgev2.UserLogin, portal *bridgev2.Portal, room id.RoomID) error {
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	if portal.MXID != "" {
		if err := l.restored.noteMoved(ctx, portal.PortalKey); err != nil {
			return err
		}
	}
	if err := l.fillTables(ctx, room); err != nil {
		return err
	}
	background := l.library.WithContext(l.br.BackgroundCtx) // the library goes on in the background
	err = portal.UpdateMatrixRoomID(background, room, bridgev2.UpdateMatrixRoomIDParams{ChatInfoSource: login})
	switch {
	case errors.Is(err, bridgev2.ErrTargetRoomIsPortal):
		return nil
	case err != nil:
		return fmt.Errorf("adopt a room: %w", err)
	}
	l.log.Info("room adopted", "contact", contact.Short(), "room_id", room)
	result := l.br.QueueRemoteEvent(login, &simplevent.ChatResync{
		EventMeta: simplevent.EventMeta{
			Type: bridgev2.RemoteEventChatResync, PortalKey: portal.PortalKey,
			MutateContextFunc: func(library context.Context) context.Context { return mautrix.WithMaxRetries(library, 0) },
		},
		GetChatInfoFunc: func(ctx context.Context, _ *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
			return login.Client.GetChatInfo(ctx, portal)
		},
	})
	if !result.Success && ctx.Err() == nil { // the next message tries again
		l.log.Warn("members of an adopted room incomplete", "room_id", room, "err", fault.OneLine(result.Error))
	}
	return nil
}

// leave leaves a room without members.
func (l *lostRooms) leave(ctx context.Context, room id.RoomID) {
	if _, err := l.matrix.Bot().LeaveRoom(mautrix.WithMaxRetries(ctx, 0), room); err != nil {
		l.log.Warn("unused room not left", "room_id", room, "err", fault.OneLine(err))
		return
	}
	l.log.Info("unused room left", "room_id", room)
}

// point redirects a room to the one that stays.
func (l *lostRooms) point(ctx context.Context, old, stays id.RoomID) {
	_, err := l.matrix.Bot().SendStateEvent(mautrix.WithMaxRetries(ctx, 0), old, event.StateTombstone, "", &event.TombstoneEventContent{
		Body: "This conversation goes on in another room.", ReplacementRoom: stays,
	})
	if err != nil { // what is written there is still answered
		l.log.Warn("second room not redirected", "room_id", old, "err", fault.OneLine(err))
		return
	}
	l.log.Info("second room of a conversation redirected", "room_id", old)
}

// made returns the room that exists for what a room is about to be created for, "" for
// none. It does not wait again for rooms whose state could not be read several times: the
// search of all rooms does.
func (l *lostRooms) made(ctx context.Context, key networkid.PortalKey) (id.RoomID, error) {
	login, err := l.loginOf(ctx, key)
	if err != nil || login == nil {
		return "", err
	}
	found, err := l.claims(ctx, func(k networkid.PortalKey) bool { return k == key }, false)
	found = slices.DeleteFunc(found, func(c *roomClaim) bool { return !c.belongsTo(login.UserMXID) || c.movedTo != "" || c.givenUp })
	if len(found) == 0 {
		return "", err
	}
	rooms := make([]id.RoomID, len(found))
	for i, claim := range found {
		rooms[i] = claim.room
	}
	room, err := l.lastUsed(ctx, rooms)
	if err != nil {
		return "", err
	}
	if len(rooms) > 1 {
		l.search() // the others are to point to it
	}
	l.log.Info("existing room found, not creating another", "room_id", room)
	return room, nil
}
