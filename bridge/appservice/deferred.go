// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

// An event that cannot be handled soon is deferred, in a journal of its own, so that the
// events behind it need not wait: one whose keys have not come, and one whose file the
// homeserver does not serve. Only the order is lost.

// deferredEvents are the events in those journals. The zero value is ready for use, by
// many goroutines.
type deferredEvents struct {
	mu     sync.Mutex
	events map[id.EventID]*deferredEvent
	read   map[string]uint64 // the last entry of each journal that is in events
}

type deferredEvent struct {
	entry  *journaled
	room   id.RoomID
	queued bool // in a lane
}

// load reads the new entries of a journal.
func (a *deferredEvents) load(node Node, queue string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events == nil {
		a.events, a.read = make(map[id.EventID]*deferredEvent), make(map[string]uint64)
	}
	for {
		entries, err := node.Journal(queue, a.read[queue], journalPage)
		if err != nil {
			return fmt.Errorf("read the deferred events: %w", err)
		}
		for _, entry := range entries {
			a.read[queue] = entry.Seq
			at := &deferredEvent{entry: &journaled{queue: queue, id: entry.ID, seq: entry.Seq, time: entry.Time.Time()}}
			at.entry.left.Store(1)
			var c content
			if json.Unmarshal(entry.Body, &c) == nil && len(c.Events) == 1 {
				e, _ := readEnvelope(c.Events[0])
				at.room = e.Room
			}
			a.events[id.EventID(entry.ID)] = at
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

// takeIdle returns the events of a journal that are not in a lane, oldest first, and
// notes that they are in one from now on.
func (a *deferredEvents) takeIdle(queue string) []*deferredEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []*deferredEvent
	for _, at := range a.events {
		if at.entry.queue == queue && !at.queued {
			at.queued = true
			found = append(found, at)
		}
	}
	slices.SortFunc(found, func(a, b *deferredEvent) int { return int(min(max(int64(a.entry.seq)-int64(b.entry.seq), -1), 1)) })
	return found
}

// setIdle notes that an event has left its lane and stays deferred.
func (a *deferredEvents) setIdle(entry *journaled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[id.EventID(entry.id)]; at != nil && at.entry == entry {
		at.queued = false
	}
}

// forget drops an event that was handled.
func (a *deferredEvents) forget(entry *journaled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[id.EventID(entry.id)]; at != nil && at.entry == entry {
		delete(a.events, id.EventID(entry.id))
	}
}

// find returns the entry of an event, nil when it is not deferred.
func (a *deferredEvents) find(evt id.EventID) *journaled {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[evt]; at != nil {
		return at.entry
	}
	return nil
}

// deferEvent stores an event in another journal, once. The error is store.ErrJournalFull
// when its room has too many there.
func (d *Dispatcher) deferEvent(ctx context.Context, queue string, evt *event.Event, raw []byte) error {
	body, err := json.Marshal(content{Events: []json.RawMessage{raw}})
	if err != nil {
		return err
	}
	entry := store.NewEntry{ID: string(evt.ID), Body: body, Budget: roomBudget(evt.RoomID)}
	if _, err := d.deps.Node.AppendJournal(ctx, queue, entry); err != nil {
		return err
	}
	return d.deferred.load(d.deps.Node, queue)
}

// withdraw drops a deferred event when it is redacted: a message that was deleted in the
// room must not be sent later.
func (d *Dispatcher) withdraw(ctx context.Context, evt *event.Event) (bool, error) {
	if evt.Type != event.EventRedaction {
		return false, nil
	}
	target := evt.Redacts
	if target == "" { // where it is from room version 11 on
		target = evt.Content.AsRedaction().Redacts
	}
	entry := d.deferred.find(target)
	if entry == nil {
		return false, nil
	}
	if err := d.deps.Node.FinishJournalBatch(ctx, entry.queue, []uint64{entry.seq}); err != nil {
		return false, fmt.Errorf("drop a redacted event: %w", err)
	}
	d.deferred.forget(entry)
	return true, nil
}

// finished collects the journal entries whose events have been handled.
type finished struct {
	mu     sync.Mutex
	seqs   map[string][]uint64
	closed bool
	wake   chan struct{} // capacity 1
}

func (f *finished) add(queue string, seqs ...uint64) {
	f.mu.Lock()
	if f.seqs == nil {
		f.seqs = make(map[string][]uint64)
	}
	f.seqs[queue] = append(f.seqs[queue], seqs...)
	f.mu.Unlock()
	f.signal()
}

func (f *finished) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.signal()
}

func (f *finished) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns some entries of one journal, none when there are none.
func (f *finished) take() (queue string, seqs []uint64, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for queue, all := range f.seqs {
		n := min(len(all), store.MaxJournalBatch)
		seqs, rest := all[:n:n], all[n:]
		if len(rest) == 0 {
			delete(f.seqs, queue)
		} else {
			f.seqs[queue] = rest
		}
		return queue, seqs, f.closed
	}
	return "", nil, f.closed
}

// removeFinished removes the finished entries from their journals, in batches. It returns
// after close.
func (d *Dispatcher) removeFinished() {
	for failures := 0; ; {
		queue, seqs, closed := d.finished.take()
		if len(seqs) == 0 {
			if closed {
				return
			}
			<-d.finished.wake
			continue
		}
		err := fault.Guard(d.deps.Log, "remove journal entries", func() error {
			return d.deps.Node.FinishJournalBatch(d.work, queue, seqs)
		})
		switch {
		case err == nil:
			failures = 0
			continue
		case closed, d.work.Err() != nil:
			continue // the next start handles them again
		}
		d.finished.add(queue, seqs...)
		if !errors.Is(err, context.Canceled) {
			d.deps.Log.Log(d.work, fault.RetryLevel(failures), "removing journal entries failed, retrying", "err", fault.OneLine(err))
		}
		timer := time.NewTimer(d.deps.Retry.Delay(failures))
		failures++
		select {
		case <-timer.C:
		case <-d.stop.Done():
			timer.Stop()
		}
	}
}
