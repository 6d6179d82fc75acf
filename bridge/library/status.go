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

// statusTimeout bounds the sending of a status that belongs to no event of the event log.
const statusTimeout = 15 * time.Second

// StatusSender sends message statuses: events, notices and receipts that tell a room
// whether its messages were delivered. It replaces the library's own, which sends in
// goroutines that nobody waits for: statuses could overtake each other, or get lost with
// an unreachable homeserver. It is safe for concurrent use.
type StatusSender struct {
	config bridgeconfig.MatrixConfig
	bot    func() *appservice.IntentAPI
	// notice sends a notice of the bot, encrypted if the room is.
	notice func(ctx context.Context, room id.RoomID, content *event.MessageEventContent) error
	verdict
}

// Send sends a status. If ctx has the [homeserver.Scope] of an event of the event log, the
// scope gets the error, so that the event is retried. Otherwise the status is sent at most
// once.
func (s *StatusSender) Send(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	if evt.EventType.IsEphemeral() || evt.SourceEventID == "" || errors.Is(ms.InternalError, bridgev2.ErrNoPortal) {
		// The room may not belong to the bridge.
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

// Note sends a notice of the bot about an undelivered message, only if
// matrix.message_error_notices is set. An error goes to the scope of ctx; without one the
// notice is sent at most once.
func (s *StatusSender) Note(ctx context.Context, room id.RoomID, text string) {
	if !s.config.MessageErrorNotices {
		return
	}
	scope := homeserver.ScopeOf(ctx)
	if scope == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, statusTimeout)
		defer cancel()
	}
	if err := s.notice(ctx, room, msgconv.Notice(text)); err != nil {
		if scope != nil {
			scope.Fail(err)
			return
		}
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("room_id", room).Msg("Failed to send a notice")
	}
}

// explained replaces the status for an event that the library refuses itself, because
// the features of the room lack it, by one with our words and a notice.
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

// tell sends the event, the notice and the receipt of a status.
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

// verdict has the Matrix events that are being handled and have to be retried, which the
// library does not report.
type verdict struct {
	mu      sync.Mutex
	handled map[id.EventID]error // why an event has to be retried, or nil
}

// Begin notes that the handling of an event begins.
func (v *verdict) Begin(evt id.EventID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.handled == nil {
		v.handled = make(map[id.EventID]error)
	}
	v.handled[evt] = nil
}

// Retry notes that an event has to be retried because of err. It returns false for an
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

// End notes that the handling of an event has ended, and returns why it has to be retried,
// or nil.
func (v *verdict) End(evt id.EventID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.handled[evt]
	delete(v.handled, evt)
	return err
}
