// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
)

// A homeserver, or a proxy before it, that answers with an error does not say whether
// the fault is the event, the room or the homeserver. The deliverer finds out by a
// test: it sends an empty event of its own, the probe, into the same room as the same
// user, then the event again, then a notice in its place. Only when the homeserver
// works before and after the event is refused, and accepts the notice, the event is at
// fault: the notice stays, and the next event follows. Otherwise the event is retried,
// for as long as it takes.

// maxTries is how often a refused event is sent before it is tested, or before a
// notice replaces it.
const maxTries = 3

// unit is the smallest thing that the homeserver accepts or refuses as a whole.
type unit struct {
	// key names the unit within its conversation.
	key string
	// sender is who sends it.
	sender bridgev2.EventSender
	// send sends it. It is called again after an error.
	send func(ctx context.Context) error
	// exists, when set, is called after the homeserver has said that the room has the
	// unit already.
	exists func(ctx context.Context) error
	// replace sends a notice in place of the unit, as the given user, who may be
	// another one than the sender. why is the refusal.
	replace func(ctx context.Context, sender bridgev2.EventSender, why error) error
}

// unit sends a unit into the room of a portal. It returns nil when the unit, or a
// notice in its place, is in the room.
func (d *delivery) unit(ctx context.Context, portal *bridgev2.Portal, u unit) error {
	err := u.send(ctx)
	kind := homeserver.AnswerOf(err)
	if err == nil || ctx.Err() != nil || kind == homeserver.AnswerNone || kind == homeserver.AnswerAway {
		return err
	}
	if kind == homeserver.AnswerDone {
		if u.exists != nil {
			return u.exists(ctx)
		}
		return nil
	}
	t := &d.at.Trial
	if t.Key != u.key {
		*t = deliver.Trial{Key: u.key}
	}
	if t.Tries++; t.Tries < maxTries || kind == homeserver.AnswerRoom {
		return err
	}
	if kind == homeserver.AnswerRefused && !errors.Is(err, homeserver.ErrSearch) {
		if failed := d.replace(ctx, u, u.sender, err); failed != nil {
			return d.stuck(ctx, err, failed)
		}
		return nil
	}
	var first error // what became of the probe of the sender
	for _, sender := range d.standIns(u.sender) {
		failed := d.probe(ctx, portal, sender)
		// A refusal of the probe may be about its type, which is ours alone.
		if failed == nil || homeserver.AnswerOf(failed) == homeserver.AnswerRefused || homeserver.AnswerOf(failed) == homeserver.AnswerDoubtful && !homeserver.IsServerFault(failed) {
			// The first attempt may have reached the room although its answer was an error.
			d.at.Doubt()
			d.at.SkipSearch = true
			err := u.send(ctx)
			d.at.SkipSearch = false
			if kind := homeserver.AnswerOf(err); err == nil || ctx.Err() != nil || kind == homeserver.AnswerNone || kind == homeserver.AnswerAway {
				return err
			}
			failed = d.replace(ctx, u, sender, err)
		}
		if failed == nil {
			return nil
		}
		if first == nil {
			first = failed
		}
	}
	return d.stuck(ctx, err, first)
}

// replace puts a notice in place of a unit.
func (d *delivery) replace(ctx context.Context, u unit, sender bridgev2.EventSender, why error) error {
	if err := u.replace(ctx, sender, why); err != nil {
		return err
	}
	d.deps.Log.Error("event refused by the homeserver, a notice replaces it",
		"contact", d.at.ID.Short(), "event", d.ev.Seq, "kind", d.ev.Kind, "err", fault.OneLine(why))
	return nil
}

// stuck is the outcome of a unit that was refused together with its notice: the room or
// the homeserver is at fault.
func (d *delivery) stuck(ctx context.Context, err, notice error) error {
	wait := (*homeserver.RetryAfter)(nil)
	switch kind := homeserver.AnswerOf(notice); {
	case ctx.Err() != nil:
		return err
	case errors.As(notice, &wait):
		return &homeserver.RetryAfter{Delay: wait.Delay, Err: err}
	case kind == homeserver.AnswerNone, kind == homeserver.AnswerAway, homeserver.IsServerFault(notice):
		return err
	}
	return fmt.Errorf("%w: %w", homeserver.ErrRoom, err)
}

// standIns returns the senders that may speak in a room in place of a user: the user
// first. The bot speaks for our user, whose access token may be invalid. The contact
// speaks for the bot, whose notices must not stop a conversation. There is none for the
// contact: a room in which the contact must not write is broken.
func (d *delivery) standIns(sender bridgev2.EventSender) []bridgev2.EventSender {
	switch {
	case sender.IsFromMe, sender.SenderLogin != "":
		return []bridgev2.EventSender{sender, {}}
	case sender.Sender == "" && !d.isGroup():
		return []bridgev2.EventSender{sender, d.contactSender()}
	default:
		return []bridgev2.EventSender{sender}
	}
}

// probe sends an event that clients do not show, a new one each time, because a
// homeserver answers a known transaction without checking the room.
func (d *delivery) probe(ctx context.Context, portal *bridgev2.Portal, sender bridgev2.EventSender) error {
	library, cancel := homeserver.Once(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	intent, ok := portal.GetIntentFor(library, sender, d.at.Login, bridgev2.RemoteEventUnknown)
	if !ok {
		return bridgev2.ErrFailedToGetIntent
	}
	_, err := intent.SendMessage(library, portal.MXID, homeserver.BarrierEvent, &event.Content{Raw: map[string]any{}},
		&bridgev2.MatrixSendExtra{Timestamp: time.Now()})
	return homeserver.WithRetryAfter(err)
}
