// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/mimird/mimird/bridge/mimirid"
)

const (
	// restoredEvery is how often the homeserver is checked when nothing else causes it.
	restoredEvery = time.Hour
	// restoredAge is the age beyond which a missing event may have been purged.
	restoredAge = 24 * time.Hour
	// latestRows is how many of the latest messages are read to find one in an existing room.
	latestRows = 50
	// maxMissingRows bounds how many messages of a room are compared.
	maxMissingRows = 20_000
	// confirmEvents is how many of the newest events of a room are read to confirm that an
	// event is gone.
	confirmEvents = 50
	// restoredChecks is the pause between two checks, in units of the first pause of the
	// back-off: a homeserver that is starting may list an event late.
	restoredChecks = 30
)

// restored notices that the homeserver was restored from an older copy: the latest event
// of a room is gone. It has the messages after the last event that is there shown again,
// in every room, and tells each user how many. It exists because homeservers are restored
// from backups.
type restored struct {
	*Connector
	library zerolog.Logger
	retry   kernel.Backoff
	wake    chan struct{}  // capacity 1: look now
	telling sync.WaitGroup // of what was lost
}

func newRestored(c *Connector, library zerolog.Logger, retry kernel.Backoff) *restored {
	return &restored{Connector: c, library: library, retry: retry, wake: make(chan struct{}, 1)}
}

// wakeUp has the homeserver checked soon.
func (r *restored) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run checks after wakeUp, first when the logins have started, and from time to time,
// until stop ends.
func (r *restored) run(stop context.Context) error {
	defer r.telling.Wait()
	select {
	case <-stop.Done():
	case <-r.wake:
	}
	for try := 0; stop.Err() == nil; {
		err := r.once(mautrix.WithMaxRetries(r.library.WithContext(stop), 0))
		if stop.Err() != nil {
			return nil
		}
		delay := restoredEvery
		if err == nil {
			try = 0
		} else {
			r.log.Log(stop, fault.RetryLevel(try), "check for messages that the homeserver has lost failed, retrying", "err", fault.OneLine(err))
			delay = r.retry.Delay(try)
			try++
		}
		r.pause(stop, delay, r.wake)
	}
	return nil
}

func (r *restored) pause(stop context.Context, delay time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-stop.Done():
	case <-wake:
	case <-timer.C:
	}
}

// shownRow is the row of a message in a room.
type shownRow struct {
	row int64
	id  networkid.MessageID
	evt id.EventID
	at  time.Time
}

// latest returns the latest rows of a conversation, or of all, whose events belong into
// the current room, newest first.
func (r *restored) latest(ctx context.Context, key *networkid.PortalKey, limit int) (rows []shownRow, keys []networkid.PortalKey, err error) {
	all, of, err := r.latestOfAll(ctx, key, limit)
	moved := make(map[networkid.PortalKey]int64)
	for i, row := range all {
		before, known := moved[of[i]]
		if !known {
			before = r.rooms.MovedRow(ctx, of[i])
			moved[of[i]] = before
		}
		if row.row > before {
			rows, keys = append(rows, row), append(keys, of[i])
		}
	}
	return rows, keys, err
}

// latestOfAll is latest including the rows of earlier rooms.
func (r *restored) latestOfAll(ctx context.Context, key *networkid.PortalKey, limit int) (rows []shownRow, keys []networkid.PortalKey, err error) {
	query := `SELECT rowid, id, mxid, timestamp, room_id, room_receiver FROM message WHERE bridge_id=$1 AND mxid NOT LIKE '~fake:%'`
	args := []any{r.br.ID}
	if key != nil {
		query += ` AND room_id=$2 AND room_receiver=$3`
		args = append(args, key.ID, key.Receiver)
	}
	found, err := r.br.DB.Query(ctx, fmt.Sprintf("%s ORDER BY rowid DESC LIMIT %d", query, limit), args...)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	defer func() { _ = found.Close() }() // found.Err says what went wrong
	for found.Next() {
		var row shownRow
		var room networkid.PortalKey
		var nanoseconds int64
		if err := found.Scan(&row.row, &row.id, &row.evt, &nanoseconds, &room.ID, &room.Receiver); err != nil {
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
func (r *restored) once(ctx context.Context) error {
	gone, err := r.isLatestGone(ctx)
	if err != nil {
		return err
	}
	if !gone {
		r.log.Debug("homeserver has the latest message")
		return nil
	}
	r.pause(ctx, restoredChecks*r.retry.Min, nil)
	if gone, err = r.isLatestGone(ctx); err != nil || !gone {
		return err
	}
	r.log.Error("homeserver was restored from an older copy, showing lost messages again")
	joined, err := r.rooms.Joined(ctx, 0)
	if err != nil {
		return err
	}
	portals, err := r.br.DB.Portal.GetAllWithMXID(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	lost := make(map[networkid.UserLoginID]*loss)
	for _, portal := range portals {
		if lost[portal.Receiver] == nil {
			lost[portal.Receiver] = new(loss)
		}
		if failed := r.room(ctx, portal, joined[portal.MXID], lost[portal.Receiver]); failed != nil {
			err = errors.Join(err, failed) // and the others first
		}
	}
	for login, loss := range lost {
		r.tell(ctx, login, loss, joined)
	}
	return err
}

// loss counts what the homeserver has lost of a login.
type loss struct{ messages, rooms, roomsGone int }

// isLatestGone reports whether the homeserver does not have the latest message, although
// it is too recent to be purged and the bot is in its room. A homeserver with none of the
// bridge's rooms is new.
func (r *restored) isLatestGone(ctx context.Context) (bool, error) {
	rows, keys, err := r.latest(ctx, nil, latestRows)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	joined, err := r.rooms.Joined(ctx, 0)
	if err != nil {
		return false, err
	}
	for i, row := range rows {
		portal, err := r.br.GetExistingPortalByKey(ctx, keys[i])
		if err != nil {
			return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		if portal == nil || !joined[portal.MXID] || time.Since(row.at) > restoredAge {
			continue
		}
		there, err := r.isThere(ctx, portal.MXID, row.evt)
		return !there, err
	}
	known, err := r.rooms.Known(ctx)
	if err != nil {
		return false, err
	}
	delete(known, r.rooms.SelfTestRoom(ctx)) // each start creates it when it is missing
	for room := range known {
		if joined[room] {
			return false, nil
		}
	}
	return true, nil
}

// isThere asks the homeserver for an event. One answer that it is not there is not
// believed when the room's timeline still ends with it: a proxy can answer 404 too.
func (r *restored) isThere(ctx context.Context, room id.RoomID, evt id.EventID) (bool, error) {
	bot := r.matrix.Bot()
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
func (r *restored) room(ctx context.Context, row *database.Portal, there bool, lost *loss) error {
	account, conversationID, err := mimirid.ParsePortal(row.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	conversation := store.Conversation{Account: account, ID: conversationID}
	if !there {
		lost.roomsGone++
		return r.ask(conversation, &rebuilding{gone: row.MXID, limit: max(r.config.Backfill.MaxCatchupMessages, 1)})
	}
	if _, err := r.matrix.Bot().Members(ctx, row.MXID); err != nil { // also replaces the table
		return fmt.Errorf("read the members of a restored room: %w", err)
	}
	rows, _, err := r.latest(ctx, &row.PortalKey, maxMissingRows)
	if err != nil {
		return err
	}
	count, err := r.missing(ctx, row.MXID, rows)
	if err != nil || count == 0 {
		return err
	}
	lost.rooms++
	messages := make(map[networkid.MessageID]bool)
	for _, row := range rows[:count] {
		if _, id, _, err := mimirid.ParseMessage(row.id); err == nil { // others are notices
			messages[mimirid.Message(conversationID, id, 0)] = true
		}
	}
	lost.messages += len(messages)
	return r.ask(conversation, &rebuilding{missing: slices.Clone(rows[:count])})
}

// ask gives a conversation the job to show what is missing. The job of a user without a
// login begins with the next login.
func (r *restored) ask(conversation store.Conversation, job *rebuilding) error {
	if r.deliver.OfferRebuild(conversation, r.rebuildJob(job)) || r.br.GetCachedUserLoginByID(mimirid.Login(conversation.Account)) == nil {
		return nil
	}
	return errNotAttached
}

var errNotAttached = errors.New("a login is starting")

// missing returns how many of the latest rows have no event any more. A restored
// homeserver has lost the end of a room, a purge the beginning.
func (r *restored) missing(ctx context.Context, room id.RoomID, rows []shownRow) (int, error) {
	if len(rows) == 0 {
		return 0, nil
	}
	begin, end := 0, len(rows) // all before begin are missing, the one at end is there
	for begin < end {
		middle := begin
		if begin > 0 { // the latest first: as a rule it is there
			middle = (begin + end) / 2
		}
		there, err := r.isThere(ctx, room, rows[middle].evt)
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
		for begin < len(rows) && time.Since(rows[begin].at) < restoredAge {
			begin++
		}
	}
	return begin, nil
}

// tell tells the user of a login what was lost.
func (r *restored) tell(ctx context.Context, login networkid.UserLoginID, lost *loss, joined map[id.RoomID]bool) {
	made := r.br.GetCachedUserLoginByID(login)
	if made == nil || *lost == (loss{}) {
		return
	}
	r.log.Warn("messages lost by the homeserver", "account", mimirAccount(login), "count", lost.messages)
	r.forgetGone(ctx, made, joined)
	text := fmt.Sprintf("The homeserver was restored from an older copy: %d messages of %d rooms were not there any more, and %d rooms were gone. "+
		"They are shown again, with the time they had.", lost.messages, lost.rooms, lost.roomsGone)
	r.telling.Go(func() { r.retryTellUser(ctx, made.User, "a restored homeserver", text) })
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
func (r *restored) forgetGone(ctx context.Context, login *bridgev2.UserLogin, joined map[id.RoomID]bool) {
	if space, err := r.rooms.SpaceOf(ctx, login); err == nil && space != "" && !joined[space] {
		login.SpaceRoom = ""
		if err := login.Save(ctx); err != nil {
			r.log.Warn("lost Matrix space not deleted", "err", fault.OneLine(err))
		}
	}
	if room, err := r.rooms.ManagementRoom(ctx, login.UserMXID); err == nil && room != "" && !joined[room] {
		login.User.ManagementRoom = ""
		if err := login.User.Save(ctx); err != nil {
			r.log.Warn("lost management room not deleted", "err", fault.OneLine(err))
		}
	}
}
