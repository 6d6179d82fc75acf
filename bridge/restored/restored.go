// SPDX-License-Identifier: MPL-2.0

// Package restored notices that the homeserver was restored from an older copy, and has
// what it has lost shown again. It exists because homeservers are restored from backups.
//
// The [Checker] asks the homeserver for the latest message that the tables of bridgev2
// know. When that is gone, it searches each room for the last message that is there, and
// has those after it shown through [Conversations], which the connector implements. It
// reads the tables and package rooms, and changes only the rows of Matrix spaces and
// management rooms that are gone. The connector builds it, runs it and wakes it.
package restored

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/rooms"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// checkEvery is how often the homeserver is checked when nothing else causes it.
	checkEvery = time.Hour
	// purgeAge is the age beyond which a missing event may have been purged.
	purgeAge = 24 * time.Hour
	// latestRows is how many of the latest messages are read to find one in an existing room.
	latestRows = 50
	// maxMissingRows bounds how many messages of a room are compared.
	maxMissingRows = 20_000
	// confirmEvents is how many of the newest events of a room are read to confirm that an
	// event is gone.
	confirmEvents = 50
	// secondCheck is the pause between two checks, in units of the first pause of the
	// back-off: a homeserver that is starting may list an event late.
	secondCheck = 30
)

// Conversations shows again what was lost. The connector implements it. Its methods may be
// called from any goroutine.
type Conversations interface {
	// Remake gives a conversation another room with its history in place of one that is
	// gone. It reports false when no login takes the job now; it is offered again then.
	Remake(conversation store.Conversation, gone id.RoomID) bool
	// ShowAgain deletes the rows of messages that are gone from the room of a
	// conversation, newest first, and shows the messages again. It reports what Remake does.
	ShowAgain(conversation store.Conversation, missing []Row) bool
	// Accounts returns the accounts with a login that are in a group, and Has whether one of
	// them has a message.
	Accounts(group store.ConversationID) ([]identity.PublicKey, error)
	Has(conversation store.Conversation, id store.MessageID) (bool, error)
	// Tell tells a user something. It retries until stop ends, and returns when the user
	// was told or cannot be.
	Tell(stop context.Context, user *bridgev2.User, what, text string)
}

// Deps is what a [Checker] uses.
type Deps struct {
	Bridge *bridgev2.Bridge
	Matrix library.Matrix
	Log    *slog.Logger
	// Library is the logger that bridgev2 gets.
	Library zerolog.Logger
	// Retry is the back-off of a check that failed.
	Retry         kernel.Backoff
	Rooms         *rooms.Finder
	Conversations Conversations
}

// Checker notices that the homeserver was restored from an older copy: the latest event
// of a room is gone. It has the messages after the last event that is there shown again,
// in every room, and tells each user how many.
type Checker struct {
	br            *bridgev2.Bridge
	matrix        library.Matrix
	log           *slog.Logger
	library       zerolog.Logger
	retry         kernel.Backoff
	rooms         *rooms.Finder
	conversations Conversations
	wake          chan struct{}  // capacity 1: check now
	telling       sync.WaitGroup // of what was lost
}

// New returns a checker that checks while Run runs.
func New(deps Deps) *Checker {
	return &Checker{
		br: deps.Bridge, matrix: deps.Matrix, log: deps.Log, library: deps.Library, retry: deps.Retry,
		rooms: deps.Rooms, conversations: deps.Conversations, wake: make(chan struct{}, 1),
	}
}

// Wake has the homeserver checked soon. It may be called from any goroutine.
func (c *Checker) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run checks after Wake, first when the logins have started, and from time to time,
// until stop ends.
func (c *Checker) Run(stop context.Context) error {
	defer c.telling.Wait()
	select {
	case <-stop.Done():
	case <-c.wake:
	}
	for try := 0; stop.Err() == nil; {
		err := c.once(mautrix.WithMaxRetries(c.library.WithContext(stop), 0))
		if stop.Err() != nil {
			return nil
		}
		delay := checkEvery
		if err == nil {
			try = 0
		} else {
			c.log.Log(stop, fault.RetryLevel(try), "check for messages that the homeserver has lost failed, retrying", "err", fault.OneLine(err))
			delay = c.retry.Delay(try)
			try++
		}
		c.pause(stop, delay, c.wake)
	}
	return nil
}

func (c *Checker) pause(stop context.Context, delay time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-stop.Done():
	case <-wake:
	case <-timer.C:
	}
}

// Row is the row of a message in a room.
type Row struct {
	Number  int64 // the key of the row
	Message networkid.MessageID
	event   id.EventID
	at      time.Time
}

// latest returns the latest rows of a conversation, or of all, whose events belong into
// the current room, newest first.
func (c *Checker) latest(ctx context.Context, key *networkid.PortalKey, limit int) (rows []Row, keys []networkid.PortalKey, err error) {
	all, of, err := c.latestOfAll(ctx, key, limit)
	moved := make(map[networkid.PortalKey]int64)
	for i, row := range all {
		before, known := moved[of[i]]
		if !known {
			before = c.rooms.MovedRow(ctx, of[i])
			moved[of[i]] = before
		}
		if row.Number > before {
			rows, keys = append(rows, row), append(keys, of[i])
		}
	}
	return rows, keys, err
}

// latestOfAll is latest including the rows of earlier rooms.
func (c *Checker) latestOfAll(ctx context.Context, key *networkid.PortalKey, limit int) (rows []Row, keys []networkid.PortalKey, err error) {
	query := `SELECT rowid, id, mxid, timestamp, room_id, room_receiver FROM message WHERE bridge_id=$1 AND mxid NOT LIKE '~fake:%'`
	args := []any{c.br.ID}
	if key != nil {
		query += ` AND room_id=$2 AND room_receiver=$3`
		args = append(args, key.ID, key.Receiver)
	}
	found, err := c.br.DB.Query(ctx, fmt.Sprintf("%s ORDER BY rowid DESC LIMIT %d", query, limit), args...)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	defer func() { _ = found.Close() }() // found.Err says what went wrong
	for found.Next() {
		var row Row
		var room networkid.PortalKey
		var nanoseconds int64
		if err := found.Scan(&row.Number, &row.Message, &row.event, &nanoseconds, &room.ID, &room.Receiver); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		row.at = time.Unix(0, nanoseconds)
		rows, keys = append(rows, row), append(keys, room)
	}
	if err := found.Err(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return rows, keys, nil
}

// once checks the latest message, and all rooms when it is gone.
func (c *Checker) once(ctx context.Context) error {
	gone, err := c.isLatestGone(ctx)
	if err != nil {
		return err
	}
	if !gone {
		c.log.Debug("homeserver has the latest message")
		return nil
	}
	c.pause(ctx, secondCheck*c.retry.Min, nil)
	if gone, err = c.isLatestGone(ctx); err != nil || !gone {
		return err
	}
	c.log.Error("homeserver was restored from an older copy, showing lost messages again")
	joined, err := c.rooms.Joined(ctx, 0)
	if err != nil {
		return err
	}
	portals, err := c.br.DB.Portal.GetAllWithMXID(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	lost := make(map[networkid.UserLoginID]*loss)
	for _, portal := range portals {
		logins, failed := c.loginsOf(portal.PortalKey)
		var of loss
		if failed == nil {
			failed = c.room(ctx, portal, joined[portal.MXID], &of)
		}
		if failed != nil {
			err = errors.Join(err, failed) // and the others first
		}
		for _, login := range logins { // of a group each is told
			if lost[login] == nil {
				lost[login] = new(loss)
			}
			lost[login].messages += of.messages
			lost[login].rooms += of.rooms
			lost[login].roomsGone += of.roomsGone
		}
	}
	for login, loss := range lost {
		c.tell(ctx, login, loss, joined)
	}
	return err
}

// loginsOf returns the logins whose room that of a portal is.
func (c *Checker) loginsOf(key networkid.PortalKey) (logins []networkid.UserLoginID, err error) {
	if key.Receiver != "" {
		return []networkid.UserLoginID{key.Receiver}, nil
	}
	_, group, err := mimirid.ParsePortal(key)
	if err != nil {
		return nil, nil //nolint:nilerr // a portal of no conversation
	}
	accounts, err := c.conversations.Accounts(group)
	for _, account := range accounts {
		logins = append(logins, mimirid.Login(account))
	}
	return logins, err
}

// loss counts what the homeserver has lost of a login.
type loss struct{ messages, rooms, roomsGone int }

// isLatestGone reports whether the homeserver does not have the latest message, although
// it is too recent to be purged and the bot is in its room. A homeserver with none of the
// bridge's rooms is new.
func (c *Checker) isLatestGone(ctx context.Context) (bool, error) {
	rows, keys, err := c.latest(ctx, nil, latestRows)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	joined, err := c.rooms.Joined(ctx, 0)
	if err != nil {
		return false, err
	}
	for i, row := range rows {
		portal, err := c.br.DB.Portal.GetByKey(ctx, keys[i]) // others change the library's own meanwhile
		if err != nil {
			return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		if portal == nil || !joined[portal.MXID] || time.Since(row.at) > purgeAge {
			continue
		}
		there, err := c.isThere(ctx, portal.MXID, row.event)
		return !there, err
	}
	known, err := c.rooms.Known(ctx)
	if err != nil {
		return false, err
	}
	delete(known, c.rooms.SelfTestRoom(ctx)) // each start creates it when it is missing
	for room := range known {
		if joined[room] {
			return false, nil
		}
	}
	return true, nil
}

// isThere asks the homeserver for an event. One answer that it is not there is not
// believed when the room's timeline still ends with it: a proxy can answer 404 too.
func (c *Checker) isThere(ctx context.Context, room id.RoomID, evt id.EventID) (bool, error) {
	bot := c.matrix.Bot()
	_, err := bot.GetEvent(ctx, room, evt)
	switch {
	case err == nil:
		return true, nil
	case !isMissing(err):
		return false, fmt.Errorf("look for a message: %w", err)
	}
	newest, err := bot.Messages(ctx, room, "", "", mautrix.DirectionBackward, nil, confirmEvents)
	switch {
	case err == nil:
		return slices.ContainsFunc(newest.Chunk, func(e *event.Event) bool { return e.ID == evt }), nil
	case isMissing(err): // the room is gone
		return false, nil
	}
	return false, fmt.Errorf("look for a message: %w", err)
}

func isMissing(err error) bool {
	return errors.Is(err, mautrix.MNotFound) || errors.Is(err, mautrix.MForbidden)
}

// room finds out what a room has lost, and has it shown again. A room that is gone is
// created again.
func (c *Checker) room(ctx context.Context, row *database.Portal, there bool, lost *loss) error {
	account, conversationID, err := mimirid.ParsePortal(row.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	accounts := []identity.PublicKey{account}
	if conversationID.Kind() == store.KindGroup {
		if accounts, err = c.conversations.Accounts(conversationID); err != nil || len(accounts) == 0 {
			return err // the job begins with the next login
		}
	}
	conversation := store.Conversation{Account: accounts[0], ID: conversationID}
	if !there {
		lost.roomsGone++
		return c.offered(conversation, c.conversations.Remake(conversation, row.MXID))
	}
	if _, err := c.matrix.Bot().Members(ctx, row.MXID); err != nil { // also replaces the table
		return fmt.Errorf("read the members of a restored room: %w", err)
	}
	rows, _, err := c.latest(ctx, &row.PortalKey, maxMissingRows)
	if err != nil {
		return err
	}
	count, err := c.missing(ctx, row.MXID, rows)
	if err != nil || count == 0 {
		return err
	}
	lost.rooms++
	messages := make(map[networkid.MessageID]bool)
	for _, row := range rows[:count] {
		if _, id, _, err := mimirid.ParseMessage(row.Message); err == nil { // others are notices
			messages[mimirid.Message(conversationID, id, 0)] = true
		}
	}
	lost.messages += len(messages)
	if len(accounts) == 1 {
		return c.offered(conversation, c.conversations.ShowAgain(conversation, slices.Clone(rows[:count])))
	}
	return c.shareOut(accounts, conversationID, rows[:count])
}

// shareOut has each message of a group that is gone shown again by an account that has it.
func (c *Checker) shareOut(accounts []identity.PublicKey, group store.ConversationID, rows []Row) error {
	shares := make([][]Row, len(accounts))
	for _, row := range rows {
		share := 0 // a notice is not shown again
		if _, id, _, err := mimirid.ParseMessage(row.Message); err == nil {
			for i, account := range accounts {
				has, err := c.conversations.Has(store.Conversation{Account: account, ID: group}, id)
				if err != nil {
					return err
				}
				if has {
					share = i
					break
				}
			}
		}
		shares[share] = append(shares[share], row)
	}
	var errs []error
	for i, account := range accounts {
		if conversation := (store.Conversation{Account: account, ID: group}); len(shares[i]) > 0 {
			errs = append(errs, c.offered(conversation, c.conversations.ShowAgain(conversation, shares[i])))
		}
	}
	return errors.Join(errs...)
}

// offered returns an error when a conversation has not taken a job although its account has
// a login. The job of a user without a login begins with the next login.
func (c *Checker) offered(conversation store.Conversation, taken bool) error {
	if taken || c.br.GetCachedUserLoginByID(mimirid.Login(conversation.Account)) == nil {
		return nil
	}
	return errNotAttached
}

var errNotAttached = errors.New("a login is starting")

// missing returns how many of the latest rows have no event any more. A restored
// homeserver has lost the end of a room, a purge the beginning.
func (c *Checker) missing(ctx context.Context, room id.RoomID, rows []Row) (int, error) {
	if len(rows) == 0 {
		return 0, nil
	}
	begin, end := 0, len(rows) // all before begin are missing, the one at end is there
	for begin < end {
		middle := begin
		if begin > 0 { // the latest first: as a rule it is there
			middle = (begin + end) / 2
		}
		there, err := c.isThere(ctx, room, rows[middle].event)
		if err != nil {
			return 0, err
		}
		if there {
			end = middle
		} else {
			begin = middle + 1
		}
	}
	if begin == len(rows) { // there is none at all: how many were purged?
		begin = 0
		for begin < len(rows) && time.Since(rows[begin].at) < purgeAge {
			begin++
		}
	}
	return begin, nil
}

// tell tells the user of a login what was lost.
func (c *Checker) tell(ctx context.Context, login networkid.UserLoginID, lost *loss, joined map[id.RoomID]bool) {
	made := c.br.GetCachedUserLoginByID(login)
	if made == nil || *lost == (loss{}) {
		return
	}
	c.log.Warn("messages lost by the homeserver", "account", mimirAccount(login), "count", lost.messages)
	c.forgetGone(ctx, made, joined)
	text := fmt.Sprintf("The homeserver was restored from an older copy: %d messages of %d rooms were not there any more, and %d rooms were gone. "+
		"They are shown again, with the time they had.", lost.messages, lost.rooms, lost.roomsGone)
	c.telling.Go(func() { c.conversations.Tell(ctx, made.User, "a restored homeserver", text) })
}

func mimirAccount(login networkid.UserLoginID) string {
	account, err := mimirid.ParseLogin(login)
	if err != nil {
		return ""
	}
	return account.Short()
}

// forgetGone deletes a Matrix space and a management room that are gone from the tables,
// so that others are created.
func (c *Checker) forgetGone(ctx context.Context, login *bridgev2.UserLogin, joined map[id.RoomID]bool) {
	if space, err := c.rooms.SpaceOf(ctx, login); err == nil && space != "" && !joined[space] {
		if _, err := library.SetSpace(ctx, login, space, ""); err != nil {
			c.log.Warn("lost Matrix space not deleted", "err", fault.OneLine(err))
		}
	}
	if room, err := c.rooms.ManagementRoom(ctx, login.UserMXID); err == nil && room != "" && !joined[room] {
		if _, err := library.SetManagementRoom(ctx, login.User, room, ""); err != nil {
			c.log.Warn("lost management room not deleted", "err", fault.OneLine(err))
		}
	}
}
