// SPDX-License-Identifier: MPL-2.0

package bridge

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
)

// statusTimeout bounds the sending of a status that nothing depends on.
const statusTimeout = 15 * time.Second

// statusSender tells rooms what becomes of their messages. It stands in for the
// library's own, which sends in goroutines nobody waits for: statuses could
// overtake each other, and one that meets a dead homeserver is gone.
type statusSender struct {
	config bridgeconfig.MatrixConfig
	bot    func() *appservice.IntentAPI
	// notice has the bot say something, encrypted where the room is.
	notice func(ctx context.Context, room id.RoomID, content *event.MessageEventContent) error
	verdict
}

// send sends a status. What belongs to an entry of the event log is sent in its
// [sendScope], which then has the error; the rest is told at most once.
func (s *statusSender) send(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) {
	if evt.EventType.IsEphemeral() || evt.SourceEventID == "" || errors.Is(ms.InternalError, bridgev2.ErrNoPortal) {
		// In rooms that are no portals, and perhaps none of ours, we say nothing.
		return
	}
	ms = explained(ms)
	if isDatabaseError(ms.InternalError) && s.retry(evt.SourceEventID, ms.InternalError) {
		return // the event is handled again
	}
	scope := scopeOf(ctx)
	if scope == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, statusTimeout)
		defer cancel()
	}
	if err := s.tell(ctx, ms, evt); err != nil {
		if scope != nil {
			scope.fail(err)
			return
		}
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("room_id", evt.RoomID).Stringer("event_id", evt.SourceEventID).
			Msg("Failed to send a message status")
	}
}

// explained gives what the library refuses by itself, because a room's features do
// not have it, the words and the notice that other refusals have.
func explained(ms *bridgev2.MessageStatus) *bridgev2.MessageStatus {
	for _, refused := range [...]struct{ library, ours error }{
		{bridgev2.ErrEditsNotSupportedInPortal, errNoEdits},
		{bridgev2.ErrPollsNotSupported, errNoPolls},
	} {
		if ms.InternalError != nil && errors.Is(refused.library, ms.InternalError) {
			status := bridgev2.WrapErrorInStatus(refused.ours)
			return &status
		}
	}
	return ms
}

func (s *statusSender) tell(ctx context.Context, ms *bridgev2.MessageStatus, evt *bridgev2.MessageStatusEventInfo) error {
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

// verdict is what became of the Matrix event that is being handled, as far as the
// library does not say. Events are handled one at a time.
type verdict struct {
	mu      sync.Mutex
	current id.EventID
	again   error
}

// begin names the event that is handled from now on.
func (v *verdict) begin(evt id.EventID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.again = evt, nil
}

// retry says that the event has to be handled again later. It reports false for
// any event but the current one.
func (v *verdict) retry(evt id.EventID, err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if evt == "" || evt != v.current {
		return false
	}
	v.again = err
	return true
}

// end returns why the current event has to be handled again, or nil.
func (v *verdict) end() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = ""
	return v.again
}
