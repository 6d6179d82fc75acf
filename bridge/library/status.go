// SPDX-License-Identifier: MPL-2.0

package library

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/msgconv"
)

// statusTimeout bounds the sending of a status that nothing depends on.
const statusTimeout = 15 * time.Second

// StatusSender tells rooms what becomes of their messages. It stands in for the
// library's own, which sends in goroutines nobody waits for: statuses could
// overtake each other, and one that meets a dead homeserver is gone.
type StatusSender struct {
	config bridgeconfig.MatrixConfig
	bot    func() *appservice.IntentAPI
	// notice has the bot say something, encrypted where the room is.
	notice func(ctx context.Context, room id.RoomID, content *event.MessageEventContent) error
	verdict
}

// Send sends a status. What belongs to an entry of the event log is sent in its
// [homeserver.Scope], which then has the error; the rest is told at most once.
func (s *StatusSender) Send(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	if evt.EventType.IsEphemeral() || evt.SourceEventID == "" || errors.Is(ms.InternalError, bridgev2.ErrNoPortal) {
		// In rooms that are no portals, and perhaps none of ours, we say nothing.
		return
	}
	ms = explained(ms)
	if fault.IsDatabaseError(ms.InternalError) && s.Retry(evt.SourceEventID, ms.InternalError) {
		return // the event is handled again
	}
	scope := homeserver.ScopeOf(ctx)
	if scope == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, statusTimeout)
		defer cancel()
	}
	if err := s.tell(ctx, ms, evt); err != nil {
		if scope != nil {
			scope.Fail(err)
			return
		}
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("room_id", evt.RoomID).Stringer("event_id", evt.SourceEventID).
			Msg("Failed to send a message status")
	}
}

// Note has the bot say something about a message that waits, where users want to be
// told. Nothing depends on it.
func (s *StatusSender) Note(ctx context.Context, room id.RoomID, text string) {
	if !s.config.MessageErrorNotices {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := s.notice(ctx, room, msgconv.Notice(text)); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("room_id", room).Msg("Failed to send a notice")
	}
}

// explained gives what the library refuses by itself, because a room's features do
// not have it, the words and the notice that other refusals have.
func explained(ms *bridgev2.MessageStatus) *bridgev2.MessageStatus {
	for _, refused := range [...]struct{ library, ours error }{
		{bridgev2.ErrEditsNotSupportedInPortal, msgconv.ErrNoEdits},
		{bridgev2.ErrPollsNotSupported, msgconv.ErrNoPolls},
	} {
		if ms.InternalError != nil && errors.Is(refused.library, ms.InternalError) {
			status := bridgev2.WrapErrorInStatus(refused.ours)
			return &status
		}
	}
	return ms
}

func (s *StatusSender) tell(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) error {
	if s.config.MessageStatusEvents && !ms.DisableMSS {
		if _, err := s.bot().SendMessageEvent(ctx, evt.RoomID, event.BeeperMessageStatus, ms.ToMSSEvent(evt)); err != nil {
			return err
		}
	}
	failed := ms.Status == event.MessageStatusFail || ms.Status == event.MessageStatusRetriable
	if failed && ms.SendNotice && s.config.MessageErrorNotices && evt.MessageType != event.MsgNotice {
		if err := s.notice(ctx, evt.RoomID, ms.ToNoticeEvent(evt)); err != nil {
			return err
		}
	}
	if len(ms.DeliveredTo) > 0 && s.config.DeliveryReceipts {
		return s.bot().SendReceipt(ctx, evt.RoomID, evt.SourceEventID, event.ReceiptTypeRead, nil)
	}
	return nil
}

// verdict is what became of the Matrix events that are being handled, as far as
// the library does not say.
type verdict struct {
	mu      sync.Mutex
	handled map[id.EventID]error // why each has to be handled again
}

// Begin says that an event is being handled from now on.
func (v *verdict) Begin(evt id.EventID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.handled == nil {
		v.handled = make(map[id.EventID]error)
	}
	v.handled[evt] = nil
}

// Retry says that an event has to be handled again later. It reports false for an
// event that is not being handled.
func (v *verdict) Retry(evt id.EventID, err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.handled[evt]; !ok {
		return false
	}
	v.handled[evt] = err
	return true
}

// End returns why an event has to be handled again, or nil.
func (v *verdict) End(evt id.EventID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.handled[evt]
	delete(v.handled, evt)
	return err
}
