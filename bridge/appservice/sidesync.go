// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
)

const (
	// syncTimeout is how long the homeserver holds a request without news.
	syncTimeout = 30 * time.Second
	// syncEvents is how many redactions of a room come with an answer. Older ones are
	// fetched in pages as large as can be: Dendrite leaves out events between pages.
	syncEvents   = 100
	syncPage     = 1000
	maxSyncPages = 100
	// idleNote is how old the stored position may become while nothing comes that must not
	// be read twice: some homeservers answer at every message.
	idleNote = time.Minute
)

// SideSync reads the bot's /sync, for what the homeserver does not push: Dendrite v0.15.2
// pushes neither redactions nor receipts nor typing notices, and no homeserver pushes the
// keys of encrypted rooms without MSC3202. It may go when they do. Its position is stored
// when what came is on the disk: redactions are in the journal of transactions, under an
// id that makes them one with those that are pushed all the same; keys are in the tables
// of the bridge. The others may be lost. During a backlog it polls about once a second.
type SideSync struct {
	deps  SideSyncDeps
	noted time.Time
}

// SideSyncDeps is what a [SideSync] uses.
type SideSyncDeps struct {
	Node Node
	Log  *slog.Logger
	// Library is the logger that bridgev2 gets.
	Library zerolog.Logger
	Bridge  *bridgev2.Bridge
	Matrix  library.Matrix
	Backlog *homeserver.Backlog
	// Wake is called when the journal has something new.
	Wake func()
	// Keys is told when keys of encrypted events have come.
	Keys *Broadcast
	// Ephemeral takes receipts and typing notices, and does not wait.
	Ephemeral func(*event.Event)
	Retry     kernel.Backoff
	// Rooms says whether anything of rooms is wanted, and not the keys alone.
	Rooms bool
}

// NewSideSync returns a side sync that does nothing before Run.
func NewSideSync(deps SideSyncDeps) *SideSync { return &SideSync{deps: deps} }

// filter returns the filter of the requests, inline.
func (s *SideSync) filter() string {
	everything := map[string]any{"not_types": []string{"*"}}
	room := map[string]any{"state": everything, "account_data": everything, "timeline": everything, "ephemeral": everything}
	if s.deps.Rooms {
		room["timeline"] = map[string]any{"types": []string{event.EventRedaction.Type}, "limit": syncEvents}
		room["ephemeral"] = map[string]any{"types": []string{event.EphemeralEventReceipt.Type, event.EphemeralEventTyping.Type}}
	}
	filter, _ := json.Marshal(map[string]any{"presence": everything, "account_data": everything, "room": room}) // cannot fail
	return string(filter)
}

// Run consumes until stop ends.
func (s *SideSync) Run(stop context.Context) error {
	client, key := s.client()
	since := s.deps.Bridge.DB.KV.Get(stop, key)
	for try := 0; ; {
		timeout := syncTimeout
		if since == "" || s.deps.Backlog.Yield(stop) {
			timeout = 0
		}
		next, err := s.once(stop, client, key, since, timeout)
		if err == nil {
			since, try = next, 0
			continue
		}
		select {
		case <-stop.Done():
			return nil
		default:
		}
		if errors.Is(err, mautrix.MUnknownToken) {
			return fmt.Errorf("the homeserver has logged the bridge's bot out: %w", err) // logs in again at the next start
		}
		s.deps.Log.Log(stop, fault.RetryLevel(try), "side sync failed, retrying", "err", fault.OneLine(err))
		timer := time.NewTimer(s.deps.Retry.Delay(try))
		try++
		select {
		case <-timer.C:
		case <-stop.Done():
			timer.Stop()
			return nil
		}
	}
}

// client returns the client that syncs, and the key of its position: another device gets
// other keys.
func (s *SideSync) client() (*mautrix.Client, database.Key) {
	client := s.deps.Matrix.Bot().Client
	if device := s.deps.Matrix.Device(); device != nil {
		client = device.Client()
	}
	return client, database.Key("im.mimir.sync." + client.DeviceID.String())
}

// once makes one request, which the homeserver may hold, and handles the answer.
func (s *SideSync) once(
	ctx context.Context, client *mautrix.Client, key database.Key, since string, timeout time.Duration,
) (next string, err error) {
	resp, err := client.FullSyncRequest(mautrix.WithMaxRetries(ctx, 0), mautrix.ReqSync{
		Timeout: int(timeout.Milliseconds()), Since: since, FilterID: s.filter(), SetPresence: event.PresenceOffline,
	})
	if err != nil {
		return "", err
	}
	ctx = s.deps.Library.WithContext(ctx)
	if since != "" { // what is older was handled before
		for room, joined := range resp.Rooms.Join {
			if err := s.room(ctx, client, room, joined, since); err != nil {
				return "", err
			}
		}
	}
	done := func(ctx context.Context) error {
		if !isNews(resp) && time.Since(s.noted) < idleNote {
			return nil
		}
		return s.noteSync(ctx, key, resp.NextBatch)
	}
	if device := s.deps.Matrix.Device(); device != nil {
		if err := device.Receive(ctx, resp, done); err != nil {
			return "", err
		}
		if len(resp.ToDevice.Events) > 0 {
			s.deps.Keys.happened()
		}
		return resp.NextBatch, nil
	}
	return resp.NextBatch, done(ctx)
}

// noteSync stores the position. The library's own function only logs a failure.
func (s *SideSync) noteSync(ctx context.Context, key database.Key, token string) error {
	_, err := s.deps.Bridge.DB.Exec(ctx, `INSERT INTO kv_store (bridge_id, key, value) VALUES ($1, $2, $3)
		ON CONFLICT (bridge_id, key) DO UPDATE SET value=excluded.value`, s.deps.Bridge.ID, key, token)
	if err != nil {
		return fmt.Errorf("store the position of the side sync: %w", err)
	}
	s.noted = time.Now()
	return nil
}

// isNews reports whether there is something in an answer that costs work when it is read
// again.
func isNews(resp *mautrix.RespSync) bool {
	for _, joined := range resp.Rooms.Join {
		if len(joined.Timeline.Events) > 0 {
			return true
		}
	}
	return len(resp.ToDevice.Events) > 0 || len(resp.DeviceLists.Changed) > 0
}

// room handles the events of a room.
func (s *SideSync) room(ctx context.Context, client *mautrix.Client, room id.RoomID, joined *mautrix.SyncJoinedRoom, since string) error {
	redactions := joined.Timeline.Events
	if joined.Timeline.Limited {
		older, err := s.older(ctx, client, room, joined.Timeline.PrevBatch, since)
		if err != nil {
			return err
		}
		redactions = append(older, redactions...)
	}
	for _, evt := range redactions {
		if evt.Type.Type != event.EventRedaction.Type || !strings.HasPrefix(string(evt.ID), "$") {
			continue
		}
		evt.RoomID = room
		raw, err := json.Marshal(evt)
		if err != nil {
			return err
		}
		if err := journalRedaction(ctx, s.deps.Node, evt.ID, raw); err != nil {
			return err
		}
		s.deps.Wake()
	}
	for _, evt := range joined.Ephemeral.Events {
		evt.RoomID = room
		evt.Mautrix.ReceivedAt, evt.Mautrix.EventSource = time.Now(), event.SourceEphemeral
		evt.Type.Class = event.EphemeralEventType
		if err := evt.Content.ParseRaw(evt.Type); err == nil || errors.Is(err, event.ErrContentAlreadyParsed) {
			s.deps.Ephemeral(evt) // not here: a slow room would hold up the keys of all others
		}
	}
	return nil
}

// older fetches the redactions that an answer has left out, oldest first.
func (s *SideSync) older(ctx context.Context, client *mautrix.Client, room id.RoomID, from, since string) ([]*event.Event, error) {
	filter := &mautrix.FilterPart{Types: []event.Type{event.EventRedaction}, Limit: syncPage}
	var found []*event.Event
	for range maxSyncPages {
		page, err := client.Messages(mautrix.WithMaxRetries(ctx, 0), room, from, since, mautrix.DirectionBackward, filter, syncPage)
		if err != nil {
			return nil, fmt.Errorf("fetch older redactions: %w", err)
		}
		found = append(found, page.Chunk...)
		if page.End == "" || page.End == from || len(page.Chunk) == 0 {
			break
		}
		from = page.End
	}
	slices.Reverse(found)
	return found, nil
}

// redactionEntry is the id of the journal entry of a redaction, pushed or fetched.
func redactionEntry(redaction id.EventID) string { return "redaction/" + string(redaction) }

// journalRedaction stores a redaction as a transaction of its own, once.
func journalRedaction(ctx context.Context, node Node, redaction id.EventID, raw []byte) error {
	body, err := json.Marshal(content{Events: []json.RawMessage{raw}})
	if err != nil {
		return err
	}
	if _, err := node.AppendJournal(ctx, JournalQueue, store.NewEntry{ID: redactionEntry(redaction), Body: body}); err != nil {
		return fmt.Errorf("store a redaction: %w", err)
	}
	return nil
}
