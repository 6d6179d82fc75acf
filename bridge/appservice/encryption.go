// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
)

const (
	// undecryptable is the journal of events whose keys have not come.
	undecryptable = "matrix-undecryptable"
	// keyWait is how long an event, and those behind it, waits for its keys, which come
	// separately.
	keyWait = 3 * time.Second
	// giveUpKeys is how long an event waits for its keys in all.
	giveUpKeys = 7 * 24 * time.Hour
)

var errUntrusted = errors.New("the device that sent this message is not trusted")

// echo reports whether the bridge has sent an event itself.
func (d *Dispatcher) echo(evt *event.Event) bool {
	if evt.Sender == d.deps.Matrix.Bot().UserID || d.deps.Bridge.IsGhostMXID(evt.Sender) {
		return true
	}
	return evt.Content.Raw[appservice.DoublePuppetKey] == d.deps.Matrix.AppService().DoublePuppetValue
}

// encrypted handles an encrypted event. One without keys is deferred, so that the events
// behind it need not wait; only the order is lost.
func (d *Dispatcher) encrypted(ctx context.Context, dev botcrypto.Device, evt *event.Event, raw []byte) error {
	if d.echo(evt) {
		return nil
	}
	deadline := time.Now().Add(keyWait)
	session := evt.Content.AsEncrypted().SessionID
	for {
		arrived := d.deps.Keys.next() // before trying, so that none is missed
		decrypted, err := dev.Decrypt(ctx, evt)
		if err == nil {
			return d.decrypted(ctx, decrypted)
		}
		if !errors.Is(err, botcrypto.ErrNoKeys) {
			return d.cannotDecrypt(ctx, evt, err)
		}
		wait := time.Until(deadline)
		if d.missing.has(session) || wait <= 0 { // one event per session waits
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-arrived:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	d.missing.add(session)
	switch err := d.deferEvent(ctx, undecryptable, evt, raw); {
	case errors.Is(err, store.ErrJournalFull):
		return d.cannotDecrypt(ctx, evt, botcrypto.ErrNoKeys)
	case err != nil:
		return err
	}
	d.deps.Log.Warn("keys of a Matrix event have not come, deferred", "event_id", evt.ID)
	dev.Request(ctx, evt)
	d.deps.Status.Send(ctx, &bridgev2.MessageStatus{
		Step: status.MsgStepDecrypted, Status: event.MessageStatusPending, ErrorReason: event.MessageStatusUndecryptable,
		InternalError: botcrypto.ErrNoKeys, Message: botcrypto.ErrNoKeys.Error() + "; the bridge waits for them",
	}, bridgev2.StatusEventInfoFromEvent(evt))
	return nil
}

// decrypted dispatches the content of an encrypted event.
func (d *Dispatcher) decrypted(ctx context.Context, evt *event.Event) error {
	if evt.Mautrix.TrustState < d.deps.Trust {
		return d.cannotDecrypt(ctx, evt, fmt.Errorf("%w (%s)", errUntrusted, evt.Mautrix.TrustState))
	}
	evt.Mautrix.CheckpointSent = true
	return d.dispatch(ctx, evt)
}

// cannotDecrypt tells the sender that an event is dropped, unless the reason is the
// bridge's own database.
func (d *Dispatcher) cannotDecrypt(ctx context.Context, evt *event.Event, why error) error {
	if fault.IsDatabaseError(why) || ctx.Err() != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, why)
	}
	d.deps.Log.Warn("dropping a Matrix event that cannot be decrypted", "event_id", evt.ID, "err", fault.OneLine(why))
	text := "the bridge cannot decrypt it"
	if errors.Is(why, errUntrusted) || errors.Is(why, botcrypto.ErrNoKeys) || errors.Is(why, errEncryptionOff) {
		text = why.Error()
	}
	d.deps.Status.Send(ctx, &bridgev2.MessageStatus{
		Step: status.MsgStepDecrypted, Status: event.MessageStatusRetriable, ErrorReason: event.MessageStatusUndecryptable,
		InternalError: why, Message: text, IsCertain: true, SendNotice: true,
	}, bridgev2.StatusEventInfoFromEvent(evt))
	return nil
}

// retryUndecryptable puts the events without keys into their lanes again.
func (d *Dispatcher) retryUndecryptable() {
	d.missing.clear()
	for _, at := range d.deferred.takeIdle(undecryptable) {
		d.lanes.add(string(at.room), &task{entry: at.entry})
	}
}

// retryOne decrypts an event that was kept for its keys. The error is botcrypto.ErrNoKeys
// when they are not there yet; failures is how many attempts in a row had another one.
func (d *Dispatcher) retryOne(work context.Context, raw []byte, entry *journaled, failures int) error {
	evt := d.read(raw)
	if evt == nil {
		return nil
	}
	ctx := d.context(work)
	dev := d.deps.Matrix.Device()
	if dev == nil {
		if d.deps.Matrix.Encryption().State != botcrypto.Off && time.Since(entry.time) <= giveUpKeys {
			return botcrypto.ErrNoKeys // the homeserver may support encryption again
		}
		return d.encryptionOff(ctx, evt, entry, failures)
	}
	decrypted, err := dev.Decrypt(ctx, evt)
	switch {
	case err == nil:
		return d.decrypted(ctx, decrypted)
	case !errors.Is(err, botcrypto.ErrNoKeys), time.Since(entry.time) > giveUpKeys:
		return d.cannotDecrypt(ctx, evt, err)
	default:
		return err
	}
}

var errEncryptionOff = errors.New("the bridge does not encrypt any more")

// encryptionOff drops an event that was kept for its keys by a bridge that encrypted. A
// notice in plaintext must not be sent into its room, so the sender is told where they
// talk with the bot, once for all their events.
func (d *Dispatcher) encryptionOff(ctx context.Context, evt *event.Event, entry *journaled, failures int) error {
	room, err := d.deps.Rooms.ManagementRoom(ctx, evt.Sender)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if _, told := d.noDevice.Load(evt.Sender); room != "" && !told {
		text := "⚠️ What you wrote on " + entry.time.UTC().Format(time.DateOnly) + " in " + evt.RoomID.URI().MatrixToURL() +
			" was not sent, because its keys never came and the bridge does not encrypt any more. The same is true of everything else " +
			"that still waited for its keys."
		if err := d.unlessRefused(d.note(ctx, "encryption off/"+string(evt.ID), room, text), failures, room, evt.ID); err != nil {
			return err
		}
		d.noDevice.Store(evt.Sender, true)
	}
	return d.cannotDecrypt(ctx, evt, errEncryptionOff)
}

// missingSessions are the sessions whose keys did not come in time. The zero value is
// ready for use, by many goroutines.
type missingSessions struct {
	mu       sync.Mutex
	sessions map[id.SessionID]bool
}

// maxMissing bounds the sessions that are remembered.
const maxMissing = 1024

func (m *missingSessions) has(session id.SessionID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[session]
}

func (m *missingSessions) add(session id.SessionID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil || len(m.sessions) >= maxMissing {
		m.sessions = make(map[id.SessionID]bool)
	}
	m.sessions[session] = true
}

func (m *missingSessions) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = nil
}
