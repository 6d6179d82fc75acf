// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
)

// delivery shows one entry of the event log in its room.
type delivery struct {
	*Events
	at *deliver.Position
	ev store.Event
	// old means that the entry belongs to the history of a room, see backfill.go.
	old bool
}

// Show shows one entry of the event log in its room; it is [deliver.Deps].Show.
func (e *Events) Show(ctx context.Context, at *deliver.Position, ev store.Event) error {
	d := &delivery{Events: e, at: at, ev: ev}
	if at.ID.Kind() == store.KindContact {
		hold := e.deps.Ghosts.Share
		if at.Exclusive {
			hold = e.deps.Ghosts.Hold
		}
		release, err := hold(ctx, mimirid.User(at.Contact()))
		if err != nil {
			return err
		}
		defer release()
	}
	if at.ID.Kind() == store.KindGroup {
		release, err := e.uses.Share(ctx, d.portalKey())
		if err != nil {
			return err
		}
		defer release()
	}
	if err := d.resetGhost(ctx); err != nil {
		at.GhostStable = false
		return err
	}
	err := d.handle(ctx)
	at.GhostStable = d.settleProfile(ctx) && !at.NeedsExclusive
	if err == nil || ctx.Err() != nil || errors.Is(err, deliver.ErrAwaitExclusive) {
		return err
	}
	switch {
	case errors.Is(err, homeserver.ErrProfile):
		if d.tries("look") >= maxTries {
			e.deps.Log.Warn("name or picture of a contact not changed, retrying with their next message",
				"contact", at.ID.Short(), "err", fault.OneLine(err))
			return nil
		}
	case errors.Is(err, fault.ErrPanic):
		if d.tries("panic") >= maxTries {
			e.deps.Log.Error("event cannot be converted, a notice replaces it",
				"contact", at.ID.Short(), "event", ev.Seq, "kind", ev.Kind, "err", fault.OneLine(err))
			return d.insteadOf(ctx, err)
		}
	case homeserver.AnswerOf(err) == homeserver.AnswerRoom:
		if at.Repairs++; at.Repairs%maxTries == 1 {
			d.repairRoom(ctx)
		}
	}
	return err
}

// tries counts a failure of the whole entry.
func (d *delivery) tries(what string) int {
	key := fmt.Sprintf("%s %d %s", d.ev.Kind, d.ev.Seq, what)
	if d.at.Trial.Key != key {
		d.at.Trial = deliver.Trial{Key: key}
	}
	d.at.Trial.Tries++
	return d.at.Trial.Tries
}

// handle does the work of show. A panic is an error of this entry.
func (d *delivery) handle(ctx context.Context) error {
	return fault.Guard(d.deps.Log, "bring something into its room", func() error { return d.handleKind(ctx) })
}

func (d *delivery) handleKind(ctx context.Context) error {
	if d.ev.Conversation.IsZero() {
		return d.accountEvent(ctx)
	}
	if d.isGroup() && d.deps.Groups == nil {
		return nil // the node takes part in none
	}
	d.deps.Prepare(ctx, d.at.Login)
	if d.isGroup() {
		return d.groupEvent(ctx)
	}
	switch d.ev.Kind {
	case store.MessageReceived, store.MessageQueued:
		if err := d.retryProfile(ctx); err != nil {
			return err
		}
		return d.message(ctx)
	case store.MessageEdited:
		return d.edited(ctx)
	case store.MessageDelivered:
		return d.delivered(ctx)
	case store.MessageFailed:
		return d.failed(ctx)
	case store.MediaChanged:
		return d.mediaChanged(ctx)
	case store.ContactAdded, store.ContactChanged:
		return d.contactChanged(ctx)
	case store.ContactAnswered:
		return d.answered(ctx)
	case store.CallMissed:
		return d.callMissed(ctx)
	case store.NodeKeyChanged, store.DeviceRefused:
		return d.deviceChanged(ctx)
	case store.ConversationRead:
		d.deps.Marks.Want(d.at.Conversation)
		return nil
	case store.RequestReceived: // shown with the contact, at the event before
		return nil
	default: // nothing that a room shows, or newer than this program
		return nil
	}
}

func (d *delivery) portalKey() networkid.PortalKey {
	return mimirid.Portal(d.at.Account, d.at.ID)
}

// notice returns the id of a notice about an event of the log, see mimirid.Notice.
func (d *delivery) notice(event uint64, part int) networkid.MessageID {
	return mimirid.Notice(d.at.Account, d.at.ID, event, part)
}

// contactSender is the sender of events for what the contact wrote; in a group, of which
// no member is meant, the bot.
func (d *delivery) contactSender() bridgev2.EventSender {
	if d.isGroup() {
		return bridgev2.EventSender{}
	}
	return bridgev2.EventSender{Sender: mimirid.User(d.at.Contact())}
}

// ownSender is the sender of events for what our user wrote elsewhere: the user, if the
// bridge may act as them.
func (d *delivery) ownSender() bridgev2.EventSender {
	if d.isGroup() {
		return d.memberSender(d.at.Account)
	}
	return bridgev2.EventSender{IsFromMe: true, Sender: mimirid.User(d.at.Account), SenderLogin: d.at.Login.ID}
}

// storedMessage reads the message of the entry, nil when it is gone.
func (d *delivery) storedMessage() (*store.Message, error) {
	m, err := d.deps.Conversations.Message(d.at.Account, d.at.ID, d.ev.Message)
	if nodeapi.IsGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &m, nil
}

func (d *delivery) message(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	if msgconv.IsMatrixSource(m.Source) {
		return nil // it was written in the room
	}
	if hidden, err := d.isHidden(ctx, *m); hidden || err != nil {
		return err
	}
	return d.showMessage(ctx, *m)
}

// showMessage shows a message according to its type.
func (d *delivery) showMessage(ctx context.Context, m store.Message) (err error) {
	sender := d.senderOf(m)
	content, other := d.insteadOfContent(ctx, m)
	switch {
	case other && content == nil:
		return nil
	case other:
		return d.send(ctx, 0, mimirid.Message(d.at.ID, m.ID, 0), sender, msgconv.ShownTime(m), msgconv.Single(content))
	case eventlog.HasFile(m):
		return d.file(ctx, m)
	case eventlog.IsReaction(m):
		return d.reaction(ctx, m)
	}
	for part, content := range msgconv.TextToMatrix(m) {
		converted := &bridgev2.ConvertedMessage{Parts: []*bridgev2.ConvertedMessagePart{{
			Type: event.EventMessage, Content: content,
		}}}
		if part == 0 {
			if converted.ReplyTo, err = d.reply(ctx, m.ReplyTo, content); err != nil {
				return err
			}
		}
		if err := d.send(ctx, part, mimirid.Message(d.at.ID, m.ID, part), sender, msgconv.ShownTime(m), converted); err != nil {
			return err
		}
	}
	return d.reactionsTo(ctx, m.ID)
}

// send puts one event into the room, once, or a notice in its place.
func (d *delivery) send(
	ctx context.Context, part int, id networkid.MessageID, sender bridgev2.EventSender, at time.Time, converted *bridgev2.ConvertedMessage,
) error {
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	return d.unit(ctx, portal, unit{
		key: string(id), sender: sender,
		send: func(ctx context.Context) error { return d.put(ctx, portal, part, id, sender, at, converted) },
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			return d.putNotice(ctx, portal, id, sender, at, d.refusalText(why))
		},
	})
}

// put is send without a notice in place of a refused event. In a group it does nothing for a
// message that another account has brought.
func (d *delivery) put(
	ctx context.Context, portal *bridgev2.Portal, part int, id networkid.MessageID, sender bridgev2.EventSender, at time.Time,
	converted *bridgev2.ConvertedMessage,
) error {
	for _, p := range converted.Parts {
		p.Extra = map[string]any{mimirid.MarkerKey: mimirid.Marker(id)}
	}
	if d.isGroup() {
		if err := d.unlessSkipped(d.settleRoom(ctx, portal)); err != nil {
			return err
		}
	}
	if shown, err := d.isShown(ctx, id); shown || err != nil {
		return err
	}
	if d.at.InDoubt {
		found, err := d.recover(ctx, portal, id, sender, at)
		if err = d.unlessSkipped(err); err != nil || found {
			return err
		}
	}
	crashpoint.At(crashpoint.BeforeRoom)
	if d.isGroup() {
		d.doubts.begin(d.at.ID)
	}
	scope := d.scopeOf(id, part)
	err := d.queueIn(ctx, scope, &simplevent.PreConvertedMessage{
		EventMeta: d.meta(bridgev2.RemoteEventMessage, sender, at),
		ID:        id,
		Data:      converted,
	})
	if err != nil {
		return err
	}
	if d.isGroup() {
		d.doubts.end(d.at.ID, portal.MXID)
	}
	if shown := scope.Sent(); shown != "" { // and its row is there, else there would be an error
		return d.unlessSkipped(d.deps.Deduper.KeepOnly(ctx, portal.MXID, &database.Message{ID: id, MXID: shown, Timestamp: at}))
	}
	// "Ignored" can also mean that the room was deleted meanwhile.
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, id)
	if err != nil {
		return fmt.Errorf("look for what was shown: %w", err)
	}
	if len(rows) == 0 {
		return fmt.Errorf("%w: the event was ignored", homeserver.ErrRoom)
	}
	return d.unlessSkipped(d.deps.Deduper.KeepOnly(ctx, portal.MXID, rows[0]))
}

// scopeOf returns the scope of an event that shows a message. In a group it is the same for
// all accounts that have the message.
func (d *delivery) scopeOf(id networkid.MessageID, part int) *homeserver.Scope {
	_, _, _, err := mimirid.ParseMessage(id)
	if !d.isGroup() || d.ev.Kind == redoEntry || err != nil {
		return homeserver.NewScope(d.ev, part)
	}
	return homeserver.NewNamedScope(fmt.Sprintf("group/%s/%d/%t", id, part, d.old))
}

// unlessSkipped drops an error of the search for an event in doubt, once it is known that
// the homeserver works and refuses the search.
func (d *delivery) unlessSkipped(err error) error {
	if kind := homeserver.AnswerOf(err); d.at.SkipSearch && (kind == homeserver.AnswerDoubtful || kind == homeserver.AnswerRefused) {
		d.deps.Log.Warn("room cannot be searched, an event may be shown twice", "contact", d.at.ID.Short(), "err", fault.OneLine(err))
		return nil
	}
	return err
}

func (d *delivery) meta(kind bridgev2.RemoteEventType, sender bridgev2.EventSender, at time.Time) simplevent.EventMeta {
	return simplevent.EventMeta{
		Type: kind, PortalKey: d.portalKey(), Sender: sender, Timestamp: at,
		LogContext: func(c zerolog.Context) zerolog.Context { return c.Uint64("count", d.ev.Seq) },
	}
}

// queue hands an event to bridgev2 and waits for the outcome.
func (d *delivery) queue(ctx context.Context, part int, evt bridgev2.RemoteEvent) error {
	return d.queueIn(ctx, homeserver.NewScope(d.ev, part), evt)
}

// queueIn is queue in a given scope.
func (d *delivery) queueIn(ctx context.Context, scope *homeserver.Scope, evt bridgev2.RemoteEvent) error {
	release, err := d.holdAuthor(ctx, evt)
	if err != nil {
		return err
	}
	defer release()
	var cancel context.CancelFunc
	setContext(evt, func(library context.Context) context.Context {
		library, cancel = scope.With(library, ctx)
		return library
	})
	source, err := d.source(ctx)
	if err != nil {
		return err
	}
	res := d.deps.Bridge.QueueRemoteEvent(source, evt)
	if cancel != nil {
		cancel()
	}
	switch {
	case res.Queued || errors.Is(res.Error, bridgev2.ErrHandlerBackgrounded):
		return errors.New("bridgev2 has not handled the event yet")
	case !res.Success && res.Error == nil:
		return errors.New("bridgev2 did not handle the event")
	case !res.Success:
		return homeserver.WithRetryAfter(res.Error)
	}
	return homeserver.WithRetryAfter(scope.Err())
}

// setContext makes the library handle the event in a context that mutate returns.
func setContext(evt bridgev2.RemoteEvent, mutate func(context.Context) context.Context) {
	switch e := evt.(type) {
	case *simplevent.PreConvertedMessage:
		e.MutateContextFunc = mutate
	case *simplevent.Message[string]:
		e.MutateContextFunc = mutate
	case *simplevent.Receipt:
		e.MutateContextFunc = mutate
	case *simplevent.ChatResync:
		e.MutateContextFunc = mutate
	case *simplevent.ChatInfoChange:
		e.MutateContextFunc = mutate
	case *simplevent.Reaction:
		e.MutateContextFunc = mutate
	case *simplevent.EventMeta:
		e.MutateContextFunc = mutate
	default:
		panic(fmt.Sprintf("bridge: no context for %T", evt))
	}
}

// noticePart is the part of an entry that a notice in its place is.
const noticePart = -1

// putNotice shows a notice, under an id that may be that of the event it replaces.
func (d *delivery) putNotice(
	ctx context.Context, portal *bridgev2.Portal, id networkid.MessageID, sender bridgev2.EventSender, at time.Time, text string,
) error {
	return d.put(ctx, portal, noticePart, id, sender, at, msgconv.Single(msgconv.Notice(text)))
}

// refusalText is the text of the notice in place of a message.
func (d *delivery) refusalText(why error) string {
	return fmt.Sprintf("A message is here that cannot be shown in Matrix (%s). You can read it with the Mimir app, or with `mimird tail`; "+
		"`%s retry` as a reply to this tries again to show it.", notices.ReasonOf(why), d.deps.Bridge.Config.CommandPrefix)
}

// insteadOf shows a notice in place of an entry that cannot be converted.
func (d *delivery) insteadOf(ctx context.Context, why error) error {
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	sender, id := d.contactSender(), d.notice(d.ev.Seq, 0)
	switch d.ev.Kind {
	case store.MessageReceived, store.MessageQueued, store.MessageSynced, historyEntry, redoEntry:
		id = mimirid.Message(d.at.ID, d.ev.Message, 0)
		if d.ev.Message.Dir == store.Out {
			sender = d.ownSender()
		} else if m, err := d.storedMessage(); err == nil && m != nil {
			sender = d.senderOf(*m)
		}
	}
	return d.putNotice(ctx, portal, id, sender, d.ev.Time.Time(), d.refusalText(why))
}

// queueExisting hands an event to bridgev2 that creates no room.
func (d *delivery) queueExisting(ctx context.Context, part int, evt bridgev2.RemoteEvent) error {
	portal, err := d.existingRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	return d.queue(ctx, part, evt)
}

// deviceChanged tells the room that the contact has a new device, or that one was
// refused.
func (d *delivery) deviceChanged(ctx context.Context) error {
	contact, err := d.deps.Node.Contact(d.at.Account, d.at.Contact())
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	name := d.deps.Names.OfContact(contact)
	text := fmt.Sprintf("%s is reachable at a new device (%s).", name, d.ev.NodeKey.Short())
	switch {
	case d.ev.Kind == store.DeviceRefused:
		text = fmt.Sprintf("Somebody connected as %s from a device that nothing speaks for (%s), and was turned away: it may be somebody in between. "+
			"If %s has a new device, the operator lets it in with: mimird contact trust %s %s", name, d.ev.NodeKey.Short(), name, d.at.Contact(), d.ev.NodeKey)
	case d.ev.Reason == store.Unconfirmed:
		text = fmt.Sprintf("%s is connected from a new device (%s), which nothing but their key speaks for. Ask them whether it is theirs.", name, d.ev.NodeKey.Short())
	}
	return d.sayIfThere(ctx, text)
}

// accountChanged updates the name of the login.
func (d *delivery) accountChanged(ctx context.Context) error {
	account, err := d.deps.Node.Account(d.at.Account)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.deps.Rename(ctx, d.at.Login, account)
}

// changeNotice is the part of an entry that the notice in place of a change is.
const changeNotice = 1_000_040

// change sends a change of an event in the room: an edit, a reaction, a receipt. Without
// a room there is nothing to change. When the change is refused, a notice with the given
// words, in which %s is the reason, replaces it; without words it is dropped.
func (d *delivery) change(
	ctx context.Context, what string, sender bridgev2.EventSender, words string, send func(context.Context) error,
) error {
	portal, err := d.existingRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	return d.unit(ctx, portal, unit{
		key: fmt.Sprintf("%s %d", what, d.ev.Seq), sender: sender, send: send,
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			if words == "" {
				return nil // the probe was accepted
			}
			id := d.notice(d.ev.Seq, changeNotice)
			return d.putNotice(ctx, portal, id, sender, d.ev.Time.Time(), fmt.Sprintf(words, notices.ReasonOf(why)))
		},
	})
}

func (d *delivery) edited(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	parts := msgconv.TextToMatrix(*m)
	edit := &simplevent.Message[string]{
		EventMeta:     d.meta(bridgev2.RemoteEventEdit, d.contactSender(), msgconv.EditTime(*m)),
		TargetMessage: mimirid.Message(d.at.ID, m.ID, 0),
		ConvertEditFunc: func(_ context.Context, _ *bridgev2.Portal, _ bridgev2.MatrixAPI, existing []*database.Message, _ string) (*bridgev2.ConvertedEdit, error) {
			content := *parts[0]
			if len(parts) > 1 {
				content.Body += "…"
			}
			return &bridgev2.ConvertedEdit{ModifiedParts: []*bridgev2.ConvertedEditPart{{
				Part: existing[0], Type: event.EventMessage, Content: &content,
			}}}, nil
		},
	}
	return d.change(ctx, "edit", d.contactSender(), "The contact has changed a message, and the new text cannot be shown in Matrix (%s).",
		func(ctx context.Context) error { return d.queue(ctx, 0, edit) })
}

// delivered shows that the contact has a message. When that is refused it is dropped.
func (d *delivery) delivered(ctx context.Context) error {
	receipt := &simplevent.Receipt{
		EventMeta: d.meta(bridgev2.RemoteEventDeliveryReceipt, d.contactSender(), d.ev.Time.Time()),
		Targets:   []networkid.MessageID{mimirid.Message(d.at.ID, d.ev.Message, 0)},
	}
	return d.change(ctx, "receipt", bridgev2.EventSender{}, "", func(ctx context.Context) error { return d.queue(ctx, 0, receipt) })
}

// failed shows that a message is not delivered.
func (d *delivery) failed(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil {
		return err
	}
	id, err := d.shownAs(ctx, *m)
	if err != nil {
		return err
	}
	meta := d.meta(bridgev2.RemoteEventUnknown, d.contactSender(), d.ev.Time.Time())
	reason := d.ev.Reason
	if reason == "" {
		reason = "it was given up"
	}
	meta.PostHandleFunc = func(ctx context.Context, portal *bridgev2.Portal) {
		rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, portal.Receiver, id)
		if err != nil {
			homeserver.ScopeOf(ctx).Fail(err)
		}
		for _, row := range visible(rows) {
			status := bridgev2.WrapErrorInStatus(errors.New(reason)).WithStatus(event.MessageStatusFail).
				WithErrorReason(event.MessageStatusTooOld).WithMessage(reason).WithIsCertain(true).WithSendNotice(true)
			d.deps.Status.Send(ctx, &status, &bridgev2.MessageStatusEventInfo{
				RoomID: portal.MXID, SourceEventID: row.MXID, Sender: row.SenderMXID, EventType: event.EventMessage,
			})
		}
	}
	words := "A message of yours was not delivered: " + strings.ReplaceAll(reason, "%", "%%") + " (its status: %s)."
	return d.change(ctx, "failure", bridgev2.EventSender{}, words, func(ctx context.Context) error { return d.queue(ctx, 0, &meta) })
}

// alarmAge is how old an alarm may be to be told: a new login reads the log from its
// beginning.
const alarmAge = 7 * 24 * time.Hour

// accountEvent shows an event of the whole account.
func (d *delivery) accountEvent(ctx context.Context) error {
	switch d.ev.Kind {
	case store.ForeignNodeAnnounced:
		return d.tellOwner(ctx, fmt.Sprintf("Since %s trackers lead people who look for your identity %s to the device %s, which is none of yours, and the "+
			"record has your signature: somebody may have tricked a device of yours into it. Messages for you may wait, and nobody "+
			"else can read them. If the device is yours, its operator adds it to security.own_devices; if not, mimird status says "+
			"when it is over.", d.eventTime(), d.at.Login.RemoteName, d.ev.NodeKey))
	case store.HandshakeRelayed:
		return d.tellOwner(ctx, fmt.Sprintf("At %s the device %s, which calls itself %s, wanted your identity %s to sign what was meant for another connection: "+
			"somebody tries to be in the middle of a conversation of yours. Nothing was signed. mimird status says whether it goes on.",
			d.eventTime(), d.ev.NodeKey, msgconv.CleanName(d.ev.Reason), d.at.Login.RemoteName))
	default:
		return d.accountChanged(ctx)
	}
}

func (d *delivery) eventTime() string { return d.ev.Time.Time().UTC().Format("2006-01-02 15:04 UTC") }

// tellOwner tells the user of an alarm in the management room. The node raises an alarm
// once each time it begins.
func (d *delivery) tellOwner(ctx context.Context, text string) error {
	if time.Since(d.ev.Time.Time()) > alarmAge {
		return nil
	}
	if err := d.deps.Teller.Tell(ctx, homeserver.NewScope(d.ev, 0), d.at.Login.User, text); err != nil {
		return fmt.Errorf("tell of an alarm: %w", err)
	}
	return nil
}
