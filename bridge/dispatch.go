// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

const (
	// journalPage is how many transactions are read at once.
	journalPage = 16
	// journalPoll is how often the journal is looked at when nobody says that there
	// is something.
	journalPoll = time.Minute
)

// dispatcher hands the stored transactions to bridgev2, one event at a time, in
// their order, and forgets a transaction when all its events have been dealt
// with. What a crash interrupts is handled again: messages are known by their
// event id, see handlematrix.go.
type dispatcher struct {
	node    Node
	log     *slog.Logger
	library zerolog.Logger
	br      *bridgev2.Bridge
	matrix  matrixConnector
	status  *statusSender
	copies  *copies
	lost    *lostRooms
	wake    <-chan struct{}
	retry   kernel.Backoff
	// sideSync is set when redactions come in two ways.
	sideSync bool

	keys    *broadcast    // keys of encrypted events have come
	trust   id.TrustState // what the device of a sender needs at least
	missing id.SessionID  // the last session without keys
}

// run dispatches until stop ends. What is being handled then is finished, unless
// work ends first. It returns an error only when the journal cannot be read.
func (d *dispatcher) run(stop, work context.Context) error {
	poll := time.NewTicker(journalPoll)
	defer poll.Stop()
	keys := d.keys.next()
	if !d.retryUndecryptable(stop, work) {
		return nil
	}
	finished := uint64(0) // to look for more behind it passes over what was removed
	for {
		entries, err := d.node.Journal(journalQueue, finished, journalPage)
		if err != nil {
			return fmt.Errorf("read the transactions of the homeserver: %w", err)
		}
		for _, entry := range entries {
			if !d.transaction(stop, work, entry) {
				return nil
			}
			if !d.finish(stop, work, entry.Seq) {
				return nil
			}
			finished = entry.Seq
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-stop.Done():
			return nil
		case <-d.wake:
			continue
		case <-keys:
		case <-poll.C:
		}
		keys = d.keys.next()
		if !d.retryUndecryptable(stop, work) {
			return nil
		}
	}
}

// finish takes a transaction out of the journal. It reports false when it is time
// to stop; the transaction is then handled again at the next start.
func (d *dispatcher) finish(stop, work context.Context, seq uint64) bool {
	for try := 0; ; try++ {
		err := d.node.FinishJournal(work, journalQueue, seq)
		if err == nil {
			return true
		}
		d.log.Warn("a transaction cannot be finished, it is tried again", "error", err)
		if !d.pause(stop, try) {
			return false
		}
	}
}

// pause waits before another try. It reports false when it is time to stop.
func (d *dispatcher) pause(stop context.Context, try int) bool {
	timer := time.NewTimer(d.retry.Delay(try, rand.Float64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop.Done():
		return false
	}
}

// content is a transaction, read as leniently as possible: an event that cannot
// be read does not spoil the others.
type content struct {
	Events         []json.RawMessage             `json:"events"`
	Ephemeral      []json.RawMessage             `json:"ephemeral"`
	OldEphemeral   []json.RawMessage             `json:"de.sorunome.msc2409.ephemeral"`
	ToDevice       []json.RawMessage             `json:"to_device"`
	OldToDevice    []json.RawMessage             `json:"de.sorunome.msc2409.to_device"`
	DeviceLists    *mautrix.DeviceLists          `json:"device_lists"`
	OldDeviceLists *mautrix.DeviceLists          `json:"org.matrix.msc3202.device_lists"`
	OTKCounts      map[id.UserID]deviceOTKCounts `json:"device_one_time_keys_count"`
	OldOTKCounts   map[id.UserID]deviceOTKCounts `json:"org.matrix.msc3202.device_one_time_keys_count"`
	OlderOTKCounts map[id.UserID]deviceOTKCounts `json:"org.matrix.msc3202.device_otk_count"`
}

type deviceOTKCounts map[id.DeviceID]mautrix.OTKCount

// transaction handles all events of a transaction. It reports false when it was
// not finished because it is time to stop.
func (d *dispatcher) transaction(stop, work context.Context, entry store.JournalEntry) bool {
	var c content
	if err := json.Unmarshal(entry.Body, &c); err != nil {
		d.log.Error("a stored transaction cannot be read, it is dropped", "error", err, "size", len(entry.Body))
		return true
	}
	d.ephemeral(work, append(c.Ephemeral, c.OldEphemeral...), event.EphemeralEventType)
	d.ephemeral(work, append(c.ToDevice, c.OldToDevice...), event.ToDeviceEventType)
	for _, raw := range c.Events {
		for try := 0; ; try++ {
			err := guarded(d.log, "handle a Matrix event", func() error { return d.event(work, entry.ID, raw) })
			if stop.Err() != nil && work.Err() != nil {
				return false // it may have been cut off
			}
			if err == nil {
				break
			}
			if errors.Is(err, errPanic) && try+1 >= maxTries {
				d.log.Error("a Matrix event cannot be handled, it is dropped", "transaction", entry.ID)
				break // or nothing that comes after it is ever handled
			}
			d.log.Warn("a Matrix event cannot be dealt with now, it is tried again", "error", err)
			if !d.pause(stop, try) {
				return false
			}
		}
		if stop.Err() != nil {
			return false
		}
	}
	d.encryption(work, &c)
	return true
}

// context returns the context for one event. Its logger is for that event alone:
// the library adds to it.
func (d *dispatcher) context(work context.Context) context.Context {
	return d.library.With().Logger().WithContext(work)
}

var errUnreadable = errors.New("the bridge's database cannot be read")

// event handles one event of a room. An error means that it has to be tried again.
func (d *dispatcher) event(work context.Context, entry string, raw []byte) error {
	evt := d.read(raw)
	if evt == nil {
		return nil
	}
	ours, err := d.concernsUs(d.context(work), evt)
	if err != nil {
		return err
	}
	if !ours {
		return nil
	}
	ctx := d.context(work)
	if err := d.copies.came(ctx, evt); err != nil {
		return err
	}
	if evt.Type == event.EventRedaction && d.sideSync && entry != redactionEntry(evt.ID) {
		if err := journalRedaction(ctx, d.node, evt.ID, raw); !errors.Is(err, store.ErrJournalFull) {
			return err // it is handled when its own entry is
		}
	}
	if evt.Type == event.EventEncrypted {
		if dev := d.matrix.device(); dev != nil {
			return d.encrypted(ctx, dev, evt, raw)
		}
	}
	if evt.Type.IsState() {
		mautrix.UpdateStateStore(ctx, d.matrix.appService().StateStore, evt)
	}
	if handled, err := d.lost.tombstone(ctx, evt); err != nil || handled {
		return err
	}
	stickerAsPicture(evt)
	d.status.begin(evt.ID)
	d.matrix.processor().Dispatch(ctx, evt)
	if err := d.status.end(); err != nil {
		return fmt.Errorf("event %s: %w", evt.ID, err)
	}
	return d.lost.botInvited(ctx, evt)
}

// read reads an event of a room; nil is one that cannot be read. It is read anew
// each time: the library's goroutines may still look at the one before.
func (d *dispatcher) read(raw []byte) *event.Event {
	evt := new(event.Event)
	if err := json.Unmarshal(raw, evt); err != nil {
		d.log.Warn("an event of the homeserver cannot be read, it is dropped", "error", err)
		return nil
	}
	if !strings.HasPrefix(string(evt.ID), "$") || evt.RoomID == "" {
		d.log.Warn("an event of the homeserver has no id or no room, it is dropped", "event_type", fmt.Sprintf("%.64q", evt.Type.Type))
		return nil
	}
	evt.Mautrix.ReceivedAt = time.Now()
	evt.Mautrix.EventSource = event.SourceTimeline
	evt.Type.Class = event.MessageEventType
	if evt.StateKey != nil {
		evt.Mautrix.EventSource |= event.SourceJoin
		evt.Type.Class = event.StateEventType
	}
	if err := evt.Content.ParseRaw(evt.Type); err != nil && !errors.Is(err, event.ErrUnsupportedContentType) &&
		!errors.Is(err, event.ErrContentAlreadyParsed) {
		d.log.Debug("the content of a Matrix event cannot be read", "event_id", evt.ID, "error", err)
	}
	return evt
}

// concernsUs tells the events of our rooms from those of others: a registration
// with which the bridge acts as users makes the homeserver send every event of
// every room they are in.
func (d *dispatcher) concernsUs(ctx context.Context, evt *event.Event) (bool, error) {
	bot := d.matrix.bot().UserID
	if evt.Type.Type == event.StateMember.Type {
		target := id.UserID(evt.GetStateKey())
		if target == bot || d.br.IsGhostMXID(target) {
			return true, nil
		}
	}
	portal, err := d.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	sender, err := d.br.GetExistingUserByMXID(ctx, evt.Sender)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if portal != nil || sender != nil && sender.ManagementRoom == evt.RoomID {
		return true, nil
	}
	return d.lost.event(ctx, evt)
}

// ephemeral handles what may be lost.
func (d *dispatcher) ephemeral(work context.Context, raws []json.RawMessage, class event.TypeClass) {
	for _, raw := range raws {
		evt := new(event.Event)
		if json.Unmarshal(raw, evt) != nil {
			continue
		}
		evt.Mautrix.ReceivedAt = time.Now()
		evt.Mautrix.EventSource = event.SourceEphemeral
		if class == event.ToDeviceEventType {
			evt.Mautrix.EventSource = event.SourceToDevice
		}
		evt.Type.Class = class
		if evt.Content.ParseRaw(evt.Type) == nil {
			d.matrix.processor().Dispatch(d.context(work), evt)
		}
	}
}

// encryption hands on what end-to-bridge encryption needs.
func (d *dispatcher) encryption(work context.Context, c *content) {
	ctx := d.context(work)
	for _, lists := range []*mautrix.DeviceLists{c.DeviceLists, c.OldDeviceLists} {
		if lists != nil {
			d.matrix.processor().DispatchDeviceList(ctx, lists)
		}
	}
	for _, counts := range []map[id.UserID]deviceOTKCounts{c.OTKCounts, c.OldOTKCounts, c.OlderOTKCounts} {
		for user, devices := range counts {
			for device, count := range devices {
				count.UserID, count.DeviceID = user, device
				d.matrix.processor().DispatchOTK(ctx, &count)
			}
		}
	}
}
