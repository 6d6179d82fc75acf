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
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/msgconv"
)

const (
	// journalPage is how many journal entries are read at once.
	journalPage = 64
	// journalPoll is how often the journal is read when nothing wakes the dispatcher.
	journalPoll = time.Minute
	// maxHeld bounds the events in lanes that are held in memory, in bytes. The others are
	// read again when it is their turn.
	maxHeld = 16 << 20
	// maxPanics is how often the handling of an event may panic before it is dropped.
	maxPanics = 3
	// maxQueuedEphemeral is how many tasks a lane may have before typing notices of its room
	// are dropped, and maxQueuedReceipts how many receipts of a room may wait.
	maxQueuedEphemeral = 16
	maxQueuedReceipts  = 64
	// receiptLane begins the name of a lane for the receipts of a room.
	receiptLane = "receipts of "
)

// Dispatcher hands the events of the journal to bridgev2: those of a room in order, one at
// a time, and the rooms beside each other. A journal entry is removed when all its events
// have been handled. After a crash an event may be handled again: the connector recognises
// messages by their event id.
type Dispatcher struct {
	deps DispatcherDeps

	lanes      *lanes[*task]
	finished   finished
	held       atomic.Int64 // bytes of events in lanes
	deferred   deferredEvents
	missing    missingSessions
	noDevice   sync.Map      // the users who were told that the bridge does not encrypt, by id.UserID
	downloads  chan struct{} // a place for each download that is under way
	parkedOnce chan struct{} // the same for parked ones
	stop, work context.Context
	cancel     context.CancelFunc // of stop
	// levels are for events that change power levels.
	levels previousLevels
}

// DispatcherDeps is what a [Dispatcher] uses.
type DispatcherDeps struct {
	Node Node
	Log  *slog.Logger
	// Library is the logger that bridgev2 gets with each event.
	Library zerolog.Logger
	Bridge  *bridgev2.Bridge
	Matrix  library.Matrix
	Status  *library.StatusSender
	// Deduper sees each event before it is handled.
	Deduper *homeserver.Deduper
	Rooms   Rooms
	Relay   Relay
	// Attachments is where downloaded files are put for the connector.
	Attachments *Attachments
	// Wake says that the journal has something new.
	Wake  <-chan struct{}
	Retry kernel.Backoff
	// SideSync is set when redactions come in two ways.
	SideSync bool
	// Keys says that keys of encrypted events have come.
	Keys *Broadcast
	// Trust is what the device of a sender needs at least.
	Trust id.TrustState
}

// Rooms decides about events that the tables of the bridge do not explain. Its errors
// have the event handled again.
type Rooms interface {
	// ManagementRoom returns the room in which a user talks with the bot, "" for none.
	ManagementRoom(ctx context.Context, user id.UserID) (id.RoomID, error)
	// HoldManagementRoom keeps everything else from giving a user a management room until
	// release is called. It fails only when ctx ends.
	HoldManagementRoom(ctx context.Context, user id.UserID) (release func(), err error)
	// UnknownRoom reports whether an event of a room that is in no table is to be handled.
	UnknownRoom(ctx context.Context, evt *event.Event) (handle bool, err error)
	// Tombstone handles the end of a room that was upgraded, and reports whether evt was
	// one.
	Tombstone(ctx context.Context, evt *event.Event) (handled bool, err error)
	// BotInvited is called after the library has handled an event, which may be an
	// invitation of the bot.
	BotInvited(ctx context.Context, evt *event.Event) error
}

// Relay decides about what people write who have no login. Its errors have the event handled
// again.
type Relay interface {
	// Handles reports whether the library is to handle an event.
	Handles(ctx context.Context, evt *event.Event) (bool, error)
}

// Node is what this package uses of the node.
type Node interface {
	// AppendJournal stores an entry of a queue, once per id. It is durable when
	// AppendJournal returns. The error is store.ErrJournalFull when the queue or the budget
	// of the entry has no place.
	AppendJournal(ctx context.Context, queue string, entry store.NewEntry) (duplicate bool, err error)
	// AppendJournalBatch stores entries of a queue in their order, once per id. They are
	// durable when AppendJournalBatch returns. Those whose budget is used are left out, and
	// the entry before them says so, see store.JournalEntry.
	AppendJournalBatch(ctx context.Context, queue string, entries []store.NewEntry) (leftOut int, err error)
	// Journal returns unfinished entries of a queue, oldest first, after one of them.
	Journal(queue string, after uint64, limit int) ([]store.JournalEntry, error)
	// FinishJournalBatch removes entries; their ids stay known.
	FinishJournalBatch(ctx context.Context, queue string, seqs []uint64) error
	// MaxFile returns the largest file that can be sent, in bytes.
	MaxFile() int64
}

// task is an event in the lane of its room.
type task struct {
	entry     *journaled
	index     int    // of the event in the entry
	raw       []byte // nil when it has to be read from the journal
	ephemeral *event.Event
}

// journaled is a journal entry whose events are in lanes.
type journaled struct {
	queue, id string
	seq       uint64
	time      time.Time
	overflow  bool         // later events of the room were left out
	left      atomic.Int32 // events that have not been handled
}

// NewDispatcher returns a dispatcher that accepts ephemeral events; the stored ones are
// dispatched by Run. After the end of stop nothing new begins, and work is the context of
// what is being handled.
func NewDispatcher(stop, work context.Context, deps DispatcherDeps) *Dispatcher {
	d := &Dispatcher{
		deps: deps, work: work,
		downloads: make(chan struct{}, downloadsAtOnce), parkedOnce: make(chan struct{}, parkedAtOnce),
	}
	d.stop, d.cancel = context.WithCancel(stop)
	d.lanes = newLanes(d.handle)
	d.finished.wake = make(chan struct{}, 1)
	return d
}

// Run dispatches until stop ends, and returns when the events that are being handled have
// been, or when work ends. The error means that the journal cannot be read. It is called
// once.
func (d *Dispatcher) Run() error {
	removed := make(chan struct{})
	go func() {
		defer close(removed)
		d.removeFinished()
	}()
	defer func() {
		d.cancel() // also when the journal cannot be read
		d.lanes.close(d.work.Done())
		d.finished.close()
		<-removed
	}()
	if err := d.resumeParked(); err != nil {
		return err
	}
	return d.readJournal()
}

// readJournal puts the events of the journal into lanes, in their order, until
// stop ends.
func (d *Dispatcher) readJournal() error {
	poll := time.NewTicker(journalPoll)
	defer poll.Stop()
	keys := d.deps.Keys.next()
	d.retryUndecryptable()
	for read := uint64(0); d.stop.Err() == nil; {
		entries, err := d.deps.Node.Journal(JournalQueue, read, journalPage)
		if err != nil {
			return fmt.Errorf("read the journal of transactions: %w", err)
		}
		for _, entry := range entries {
			d.enqueue(entry)
			read = entry.Seq
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-d.stop.Done():
			return nil
		case <-d.deps.Wake:
			continue
		case <-keys:
		case <-poll.C:
		}
		keys = d.deps.Keys.next()
		d.retryUndecryptable()
	}
	return nil
}

// enqueue puts the events of an entry into the lanes of their rooms, and handles the rest
// of it.
func (d *Dispatcher) enqueue(entry store.JournalEntry) {
	at := &journaled{queue: entry.Queue, id: entry.ID, seq: entry.Seq, time: entry.Time.Time(), overflow: entry.Overflow}
	at.left.Store(1) // released below
	defer d.release(at)
	var c content
	if err := json.Unmarshal(entry.Body, &c); err != nil {
		d.deps.Log.Error("dropping an unreadable journal entry", "err", err, "bytes", len(entry.Body))
		return
	}
	_ = fault.Guard(d.deps.Log, "hand on keys and receipts", func() error {
		d.toDevice(append(c.ToDevice, c.OldToDevice...))
		d.ephemeral(append(c.Ephemeral, c.OldEphemeral...))
		d.encryption(d.work, &c)
		return nil
	})
	for i, raw := range c.Events { // several in an entry of an earlier version
		e, ok := readEnvelope(raw)
		if !ok {
			d.deps.Log.Warn("dropping an event without an id or a room")
			continue
		}
		at.left.Add(1)
		d.lanes.add(string(e.Room), d.newTask(at, i, raw))
	}
}

// newTask makes a task that holds the event, within maxHeld.
func (d *Dispatcher) newTask(at *journaled, index int, raw []byte) *task {
	t := &task{entry: at, index: index}
	if d.held.Add(int64(len(raw))) <= maxHeld {
		t.raw = raw
	} else {
		d.held.Add(-int64(len(raw)))
	}
	return t
}

// eventOf returns the event of a task, nil when its journal entry is gone.
func (d *Dispatcher) eventOf(t *task) ([]byte, error) {
	if t.raw != nil {
		return t.raw, nil
	}
	entries, err := d.deps.Node.Journal(t.entry.queue, t.entry.seq-1, 1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if len(entries) == 0 || entries[0].Seq != t.entry.seq {
		return nil, nil
	}
	var c content
	if err := json.Unmarshal(entries[0].Body, &c); err != nil || t.index >= len(c.Events) {
		return nil, nil //nolint:nilerr // it was readable before
	}
	return c.Events[t.index], nil
}

// handle makes an attempt at a task. The lanes run it.
func (d *Dispatcher) handle(t *task, failures int) laneResult {
	if d.stop.Err() != nil {
		return laneResult{cut: true}
	}
	if t.ephemeral != nil {
		_ = fault.Guard(d.deps.Log, "handle a receipt", func() error {
			d.deps.Matrix.Processor().Dispatch(d.context(d.work), t.ephemeral)
			return nil
		})
		return laneResult{}
	}
	return d.outcome(t, failures, d.attempt(t, failures))
}

// attempt handles the event of a task.
func (d *Dispatcher) attempt(t *task, failures int) error {
	return fault.Guard(d.deps.Log, "handle a Matrix event", func() error {
		raw, err := d.eventOf(t)
		switch {
		case err != nil || raw == nil:
			return err
		case t.entry.queue == undecryptable:
			return d.retryOne(d.work, raw, t.entry, failures)
		default:
			if err := d.event(d.work, t.entry.id, raw, failures); err != nil || !t.entry.overflow {
				return err
			}
			return d.tellLeftOut(d.work, raw, failures)
		}
	})
}

// outcome decides what the lanes do after an attempt.
func (d *Dispatcher) outcome(t *task, failures int, err error) laneResult {
	var needs *NeededFile
	switch {
	case d.work.Err() != nil:
		return laneResult{cut: true} // the attempt may have been cut off
	case err == nil:
		d.done(t)
		return laneResult{}
	case errors.Is(err, botcrypto.ErrNoKeys):
		d.deferred.setIdle(t.entry) // until keys come
		return laneResult{}
	case errors.As(err, &needs):
		return laneResult{err: err, background: func() laneResult { return d.fetch(t, failures, needs) }}
	case errors.Is(err, fault.ErrPanic) && failures+1 >= maxPanics:
		d.deps.Log.Error("dropping a Matrix event that cannot be handled", "transaction", t.entry.id)
		d.refuseEvent(t)
		d.done(t)
		return laneResult{}
	default:
		d.deps.Log.Log(d.work, fault.RetryLevel(failures), "handling a Matrix event failed, retrying", "err", fault.OneLine(err))
		return laneResult{err: err, after: d.deps.Retry.Delay(failures)}
	}
}

// done notes that the event of a task has been handled.
func (d *Dispatcher) done(t *task) {
	if t.raw != nil {
		d.held.Add(-int64(len(t.raw)))
		t.raw = nil
	}
	d.deferred.forget(t.entry)
	d.release(t.entry)
}

// refuseEvent tells the sender that an event cannot be handled.
func (d *Dispatcher) refuseEvent(t *task) {
	_ = fault.Guard(d.deps.Log, "refuse a Matrix event", func() error {
		raw, err := d.eventOf(t)
		if err != nil || raw == nil {
			return err
		}
		if evt := d.read(raw); evt != nil {
			ctx := d.context(d.work)
			if ours, err := d.concernsUs(ctx, evt); err != nil || !ours {
				return err
			}
			status := bridgev2.WrapErrorInStatus(errUnhandled)
			d.deps.Status.Send(ctx, &status, bridgev2.StatusEventInfoFromEvent(evt))
		}
		return nil
	})
}

// leftOutText tells a room that it had too many events.
const leftOutText = "⚠️ Too many messages of this room waited for the bridge. Those that were written after this one, until now, " +
	"were not sent: write them again."

// tellLeftOut tells the room of an event that events after it were left out of the
// journal. After an error it has to be called again; failures is how often the event and
// this have failed.
func (d *Dispatcher) tellLeftOut(work context.Context, raw []byte, failures int) error {
	evt := d.read(raw)
	if evt == nil {
		return nil
	}
	ctx := d.context(work)
	if ours, err := d.concernsUs(ctx, evt); err != nil || !ours {
		return err
	}
	d.deps.Log.Warn("events of a room left out, telling the room", "room_id", evt.RoomID, "event_id", evt.ID)
	// State may be among what was left out: the tables take it from the homeserver.
	_, err := d.deps.Matrix.Bot().Client.State(mautrix.WithMaxRetries(ctx, 0), evt.RoomID)
	if err == nil {
		err = d.note(ctx, "left out/"+string(evt.ID), evt.RoomID, leftOutText)
	}
	return d.unlessRefused(err, failures, evt.RoomID, evt.ID)
}

// note sends a notice of the bot; name is that of the [homeserver.Scope].
func (d *Dispatcher) note(ctx context.Context, name string, room id.RoomID, text string) error {
	scope := homeserver.NewNamedScope(name)
	ctx, cancel := scope.With(ctx, ctx)
	defer cancel()
	d.deps.Status.Note(ctx, room, text)
	return scope.Err()
}

// unlessRefused returns the error of a notice about an event, so that the event is handled
// again, and nil when the homeserver refuses it and failures are many.
func (d *Dispatcher) unlessRefused(err error, failures int, room id.RoomID, evt id.EventID) error {
	err = homeserver.WithRetryAfter(err)
	switch homeserver.AnswerOf(err) {
	case homeserver.AnswerNone, homeserver.AnswerAway:
		return err
	}
	if failures >= maxTakeBack {
		d.deps.Log.Warn("room not told", "room_id", room, "event_id", evt, "err", fault.OneLine(err))
		return nil
	}
	return err
}

// release counts one event of an entry as handled, and has the entry removed after the
// last.
func (d *Dispatcher) release(at *journaled) {
	if at.left.Add(-1) == 0 {
		d.finished.add(at.queue, at.seq)
	}
}

// context returns the context for one event. Its logger is for that event alone, because
// the library adds to it.
func (d *Dispatcher) context(work context.Context) context.Context {
	return d.deps.Library.With().Logger().WithContext(work)
}

var errUnhandled = msgconv.Refusal("the bridge cannot handle it; its log says why")

// maxTakeBack is how often the redaction of a duplicate may fail before the event is
// handled all the same.
const maxTakeBack = 5

// event handles one event of a room; failures is how many attempts have failed. After an
// error the event has to be handled again.
func (d *Dispatcher) event(work context.Context, entry string, raw []byte, failures int) (err error) {
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
	if err := d.deps.Deduper.Observe(ctx, evt); err != nil {
		if errors.Is(err, homeserver.ErrDatabase) || failures < maxTakeBack {
			return err
		}
		d.deps.Log.Warn("leaving a duplicate event in its room", "event_id", evt.ID, "err", fault.OneLine(err))
	}
	if evt.Type == event.EventRedaction && d.deps.SideSync && entry != redactionEntry(evt.ID) {
		if err := journalRedaction(ctx, d.deps.Node, evt.ID, raw); !errors.Is(err, store.ErrJournalFull) {
			return err // the redaction is handled with its own entry
		}
	}
	if withdrawn, err := d.withdraw(ctx, evt); withdrawn || err != nil {
		return err
	}
	if evt.Type == event.EventEncrypted {
		if dev := d.deps.Matrix.Device(); dev != nil {
			return d.encrypted(ctx, dev, evt, raw)
		}
	}
	if evt.Type == event.StatePowerLevels {
		d.levels.fill(ctx, evt, d.deps.Matrix.AppService().StateStore.GetPowerLevels)
		defer func() {
			if err == nil {
				d.levels.handled(evt)
			}
		}()
	}
	if evt.Type.IsState() {
		mautrix.UpdateStateStore(ctx, d.deps.Matrix.AppService().StateStore, evt)
		release, err := d.acceptInvitation(ctx, evt, failures)
		if err != nil {
			return err
		}
		defer release()
	}
	if handled, err := d.deps.Rooms.Tombstone(ctx, evt); err != nil || handled {
		return err
	}
	return d.dispatch(ctx, evt)
}

// dispatch has the library handle an event, or refuses one that the library would ignore.
func (d *Dispatcher) dispatch(ctx context.Context, evt *event.Event) error {
	if handles, err := d.deps.Relay.Handles(ctx, evt); err != nil || !handles {
		return err
	}
	if why := msgconv.Unsupported(evt); why != nil && !d.echo(evt) {
		return d.refuse(ctx, evt, why)
	}
	msgconv.StickerToImage(evt)
	d.deps.Status.Begin(evt.ID)
	d.deps.Matrix.Processor().Dispatch(ctx, evt)
	if err := d.deps.Status.End(evt.ID); err != nil {
		return fmt.Errorf("event %s: %w", evt.ID, err)
	}
	return d.deps.Rooms.BotInvited(ctx, evt)
}

// concernsUs tells the events of the bridge's rooms from others: a registration with which
// the bridge acts as users makes the homeserver send every event of every room that they
// are in.
func (d *Dispatcher) concernsUs(ctx context.Context, evt *event.Event) (bool, error) {
	bot := d.deps.Matrix.Bot().UserID
	if evt.Type.Type == event.StateMember.Type {
		target := id.UserID(evt.GetStateKey())
		if target == bot || d.deps.Bridge.IsGhostMXID(target) {
			return true, nil
		}
	}
	portal, err := d.deps.Bridge.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if portal != nil {
		return true, nil
	}
	management, err := d.deps.Rooms.ManagementRoom(ctx, evt.Sender)
	if err != nil {
		return false, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	if management == evt.RoomID {
		return true, nil
	}
	return d.deps.Rooms.UnknownRoom(ctx, evt)
}

// toDevice hands messages between devices to the library, in order.
func (d *Dispatcher) toDevice(raws []json.RawMessage) {
	for _, raw := range raws {
		if evt := readEphemeral(raw, event.SourceToDevice, event.ToDeviceEventType); evt != nil {
			d.deps.Matrix.Processor().Dispatch(d.context(d.work), evt)
		}
	}
}

// ephemeral puts receipts and typing notices into the lanes for them.
func (d *Dispatcher) ephemeral(raws []json.RawMessage) {
	for _, raw := range raws {
		if evt := readEphemeral(raw, event.SourceEphemeral, event.EphemeralEventType); evt != nil {
			d.OfferEphemeral(evt)
		}
	}
}

// OfferEphemeral has an ephemeral event handled beside others of its room, unless too many
// wait. It does not wait.
func (d *Dispatcher) OfferEphemeral(evt *event.Event) {
	switch content := evt.Content.Parsed.(type) {
	case *event.ReceiptEventContent:
		// Not behind the events of the room: of those there may be many.
		if evt.RoomID != "" && d.keepReceipts(*content) {
			d.lanes.offer(receiptLane+string(evt.RoomID), &task{ephemeral: evt}, maxQueuedReceipts)
		}
	default:
		if evt.RoomID != "" {
			d.lanes.offer(string(evt.RoomID), &task{ephemeral: evt}, maxQueuedEphemeral)
		}
	}
}

// keepReceipts leaves the receipts of people with a login, and reports whether there are
// any. Their private receipts become public ones: bridgev2 (mautrix v0.30.0) knows no
// others, and homeservers send a private one only to whom its user trusts with it.
func (d *Dispatcher) keepReceipts(receipts event.ReceiptEventContent) (some bool) {
	ours := make(map[id.UserID]bool)
	for _, login := range d.deps.Bridge.GetAllCachedUserLogins() {
		ours[login.UserMXID] = true
	}
	for evt, types := range receipts {
		kept := make(event.UserReceipts)
		for _, kind := range []event.ReceiptType{event.ReceiptTypeRead, event.ReceiptTypeReadPrivate} {
			for user, receipt := range types[kind] {
				if ours[user] {
					kept.Set(user, receipt)
				}
			}
		}
		if len(kept) == 0 {
			delete(receipts, evt)
			continue
		}
		receipts[evt] = event.Receipts{event.ReceiptTypeRead: kept}
	}
	return len(receipts) > 0
}

func readEphemeral(raw []byte, source event.Source, class event.TypeClass) *event.Event {
	evt := new(event.Event)
	if json.Unmarshal(raw, evt) != nil {
		return nil
	}
	evt.Mautrix.ReceivedAt, evt.Mautrix.EventSource = time.Now(), source
	evt.Type.Class = class
	if evt.Content.ParseRaw(evt.Type) != nil {
		return nil
	}
	return evt
}

// encryption hands device lists and key counts to the library.
func (d *Dispatcher) encryption(work context.Context, c *content) {
	ctx := d.context(work)
	for _, lists := range []*mautrix.DeviceLists{c.DeviceLists, c.OldDeviceLists} {
		if lists != nil {
			d.deps.Matrix.Processor().DispatchDeviceList(ctx, lists)
		}
	}
	for _, counts := range []map[id.UserID]deviceOTKCounts{c.OTKCounts, c.OldOTKCounts, c.OlderOTKCounts} {
		for user, devices := range counts {
			for device, count := range devices {
				count.UserID, count.DeviceID = user, device
				d.deps.Matrix.Processor().DispatchOTK(ctx, &count)
			}
		}
	}
}

// WaitingRoom is a room with events that have not been handled yet.
type WaitingRoom struct {
	Room string `json:"room"`
	// Events is how many.
	Events int `json:"events"`
	// Error is why the first of them is not, when an attempt has failed.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// inboundPatience is how long an event of a room may take before the room is
// listed.
const inboundPatience = time.Minute

// maxWaitingRooms bounds the list of rooms.
const maxWaitingRooms = 100

// Waiting returns the rooms with an event that is being handled for a minute or longer, at
// most 100 of them, the oldest first.
func (d *Dispatcher) Waiting() (list []WaitingRoom) {
	rooms, _ := d.lanes.stuck(inboundPatience)
	rooms = slices.DeleteFunc(rooms, func(at laneState) bool { return strings.HasPrefix(at.name, receiptLane) })
	for _, at := range rooms[:min(len(rooms), maxWaitingRooms)] {
		w := WaitingRoom{Room: at.name, Events: at.tasks, Since: at.since}
		if at.err != nil {
			w.Error = fault.OneLine(at.err)
		}
		list = append(list, w)
	}
	return list
}
