// SPDX-License-Identifier: MPL-2.0

package notices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/msgconv"
)

// Teller has the bot talk to users in the room with it. It may be used from any goroutine.
type Teller struct {
	br    *bridgev2.Bridge
	log   *slog.Logger
	retry kernel.Backoff
}

// NewTeller returns a teller. retry is the back-off of Teller.Retry.
func NewTeller(br *bridgev2.Bridge, log *slog.Logger, retry kernel.Backoff) *Teller {
	return &Teller{br: br, log: log, retry: retry}
}

// Tell has the bot say something to a user in the management room, in a scope. It
// gives up a room that is gone, or in which the bot must not write, for another.
func (t *Teller) Tell(ctx context.Context, scope *homeserver.Scope, user *bridgev2.User, text string) error {
	scoped, cancel := scope.With(t.br.BackgroundCtx, ctx)
	defer cancel()
	content := msgconv.Notice(text)
	content.Mentions = &event.Mentions{}
	for fresh := false; ; fresh = true {
		room, err := user.GetManagementRoom(scoped)
		if err != nil {
			return fmt.Errorf("open the room with the bot: %w", homeserver.WithRetryAfter(err))
		}
		_, err = t.br.Bot.SendMessage(scoped, room, event.EventMessage, &event.Content{Parsed: content}, nil)
		if err == nil {
			return nil
		}
		if fresh || !errors.Is(err, mautrix.MForbidden) && !errors.Is(err, mautrix.MNotFound) {
			return fmt.Errorf("write to the user: %w", homeserver.WithRetryAfter(err))
		}
		t.log.Warn("management room closed to the bot, opening another", "room_id", room, "user_id", user.MXID)
		if _, err := library.SetManagementRoom(scoped, user, room, ""); err != nil {
			return fmt.Errorf("give up the room with the bot: %w", err)
		}
	}
}

// maxTellTries is how often a notice to a user may fail before it is given up.
const maxTellTries = 20

// Retry has the bot tell a user something. It retries until the homeserver
// accepts that, stop ends, or maxTellTries attempts have failed, so callers run it in a
// goroutine of its own.
func (t *Teller) Retry(stop context.Context, user *bridgev2.User, what, text string) {
	// The moment names the notice: sent again after a lost answer, it is the same one.
	name := what + "/" + string(user.MXID) + "/" + time.Now().Format(time.RFC3339Nano)
	for try := range maxTellTries {
		err := fault.Guard(t.log, "tell a user", func() error { return t.Tell(stop, homeserver.NewNamedScope(name), user, text) })
		if err == nil || stop.Err() != nil {
			return
		}
		t.log.Log(stop, fault.RetryLevel(try), "user not told, retrying", "user_id", user.MXID, "reason", what, "err", fault.OneLine(err))
		timer := time.NewTimer(t.retry.Delay(try))
		select {
		case <-timer.C:
		case <-stop.Done():
			timer.Stop()
			return
		}
	}
	t.log.Warn("user not told", "user_id", user.MXID, "reason", what)
}

// ReasonOf says in a few words, for people, what the homeserver answered.
func ReasonOf(err error) string {
	var failure mautrix.HTTPError
	switch {
	case errors.Is(err, fault.ErrPanic):
		return "the bridge cannot convert it"
	case errors.As(err, &failure) && failure.RespError != nil:
		return fmt.Sprintf("your homeserver answers %s", msgconv.CleanName(failure.RespError.ErrCode))
	case errors.As(err, &failure) && failure.Response != nil:
		return fmt.Sprintf("your homeserver, or a proxy before it, answers %d %s",
			failure.Response.StatusCode, http.StatusText(failure.Response.StatusCode))
	default:
		return msgconv.CleanName(fault.OneLine(err))
	}
}
