// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/mimirid"
)

const (
	// searchEvents is how many events at the end of a room are searched for one of which
	// it is unknown whether it was sent. It is nearly always among the last searchPage.
	searchEvents = 1000
	searchPage   = 100
	// barrierTries is how often a room is read until it lists a barrier: with two reads
	// in the first pause of the back-off, for half a minute.
	barrierTries = 60
)

// BarrierEvent is put into a room to find out when the homeserver lists it, and to test
// whether the room accepts events at all. Clients show nothing of it.
var BarrierEvent = event.Type{Type: "im.mimir.barrier", Class: event.MessageEventType}

// Search looks at the end of a room for events that the bridge may have sent without
// knowing it: the process was killed, or the homeserver's answer was lost. It exists
// because homeservers forget transaction ids: all of them after some time, Dendrite
// v0.15.2 at each restart. It may go when every supported homeserver keeps them on disk.
type Search struct {
	// Bot reads the room.
	Bot *appservice.IntentAPI
	// Pause is the time between two reads of awaitListing, at least 1 ms.
	Pause time.Duration
	Log   *slog.Logger
}

// AwaitListing returns when the homeserver lists what it has accepted before: it sends a
// barrier event in a scope and waits until the room lists it. Homeservers process the
// events of a room one after the other. The exception is what Dendrite was processing
// when it was killed, see [deduper]. After barrierTries reads awaitListing returns nil
// although the event is not listed. The error is errSearch when nothing is known.
func (s Search) AwaitListing(ctx context.Context, scope *Scope, room id.RoomID) error {
	scoped, cancel := scope.With(ctx, ctx)
	defer cancel()
	barrier, err := s.Bot.SendMessageEvent(scoped, room, BarrierEvent, struct{}{})
	if err != nil {
		return fmt.Errorf("%w: send a barrier: %w", ErrSearch, WithRetryAfter(err))
	}
	ctx = mautrix.WithMaxRetries(ctx, 0)
	pause := time.NewTicker(max(s.Pause, time.Millisecond))
	defer pause.Stop()
	for range barrierTries {
		page, err := s.lastEvents(ctx, room, searchPage)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(page.Chunk, func(e *event.Event) bool { return e.ID == barrier.EventID }) {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.Log.Warn("homeserver does not list an accepted event", "room_id", room, "event_id", barrier.EventID)
	return nil
}

// lastEvents returns the end of a room. Dendrite accepts a limit above 100 only in the
// filter.
func (s Search) lastEvents(ctx context.Context, room id.RoomID, limit int) (*mautrix.RespMessages, error) {
	filter := &mautrix.FilterPart{Limit: limit}
	page, err := s.Bot.Messages(ctx, room, "", "", mautrix.DirectionBackward, filter, limit)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSearch, WithRetryAfter(err))
	}
	return page, nil
}

// LastMarked returns the events at the end of a room that have a marker and whose sender
// isOurs accepts, oldest first. The error is errSearch when nothing is known.
func (s Search) LastMarked(ctx context.Context, room id.RoomID, isOurs func(id.UserID) bool) ([]*event.Event, error) {
	page, err := s.lastEvents(mautrix.WithMaxRetries(ctx, 0), room, searchPage)
	if err != nil {
		return nil, err
	}
	var found []*event.Event
	for _, evt := range slices.Backward(page.Chunk) {
		if marker, ok := evt.Content.Raw[mimirid.MarkerKey].(string); ok && marker != "" && isOurs(evt.Sender) {
			_ = evt.Content.ParseRaw(evt.Type) // or it is parsed already
			found = append(found, evt)
		}
	}
	return found, nil
}

// FindMarked searches the end of a room for the events with a marker whose sender isOurs
// accepts and returns them, oldest first. The events of a conversation are sent in order,
// but for those that a homeserver processes late, so the search ends where other events
// of ours are. It never reads a second page: Dendrite leaves out events between pages,
// and the message would be sent again. The error is errSearch when nothing is known.
func (s Search) FindMarked(ctx context.Context, room id.RoomID, marker string, isOurs func(id.UserID) bool) ([]*event.Event, error) {
	ctx = mautrix.WithMaxRetries(ctx, 0)
	for _, limit := range []int{searchPage, searchEvents} {
		page, err := s.lastEvents(ctx, room, limit)
		if err != nil {
			return nil, err
		}
		var found []*event.Event
		others := false
		for _, evt := range page.Chunk {
			switch has, ok := evt.Content.Raw[mimirid.MarkerKey].(string); {
			case !ok || !isOurs(evt.Sender):
			case has == marker:
				found = append(found, evt)
			default:
				others = true
			}
		}
		if len(found) > 0 || others || page.End == "" || len(page.Chunk) == 0 {
			slices.Reverse(found)
			return found, nil
		}
	}
	return nil, nil
}
