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

// An event that cannot be handled soon is put aside, into a journal of its own, so
// that the events behind it need not wait: one whose keys are not here yet, and one
// whose file the homeserver does not serve. The order is lost then, and nothing
// else.

// asideEvents are the events that were put aside. The zero value is ready for use,
// by many goroutines.
type asideEvents struct {
	mu     sync.Mutex
	events map[id.EventID]*asideEvent
	read   map[string]uint64 // the last entry of each journal that is in events
}

type asideEvent struct {
	entry  *journaled
	room   id.RoomID
	queued bool // in a lane
}

// load notes the new entries of a journal.
func (a *asideEvents) load(node Node, queue string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events == nil {
		a.events, a.read = make(map[id.EventID]*asideEvent), make(map[string]uint64)
	}
	for {
		entries, err := node.Journal(queue, a.read[queue], journalPage)
		if err != nil {
			return fmt.Errorf("read the events that were put aside: %w", err)
		}
		for _, entry := range entries {
			a.read[queue] = entry.Seq
			at := &asideEvent{entry: &journaled{queue: queue, id: entry.ID, seq: entry.Seq, time: entry.Time.Time()}}
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

// awake returns the events of a journal that are in no lane, oldest first, and
// notes that they are in one from now on.
func (a *asideEvents) awake(queue string) []*asideEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []*asideEvent
	for _, at := range a.events {
		if at.entry.queue == queue && !at.queued {
			at.queued = true
			found = append(found, at)
		}
	}
	slices.SortFunc(found, func(a, b *asideEvent) int { return int(min(max(int64(a.entry.seq)-int64(b.entry.seq), -1), 1)) })
	return found
}

// sleep notes that an event has left its lane and is still put aside.
func (a *asideEvents) sleep(entry *journaled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[id.EventID(entry.id)]; at != nil && at.entry == entry {
		at.queued = false
	}
}

// forget drops an event that was handled.
func (a *asideEvents) forget(entry *journaled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[id.EventID(entry.id)]; at != nil && at.entry == entry {
		delete(a.events, id.EventID(entry.id))
	}
}

// find returns the entry of an event, nil when it is not put aside.
func (a *asideEvents) find(evt id.EventID) *journaled {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.events[evt]; at != nil {
		return at.entry
	}
	return nil
}

// putAside stores an event in another journal, once.
func (d *Dispatcher) putAside(ctx context.Context, queue string, evt *event.Event, raw []byte) error {
	body, err := json.Marshal(content{Events: []json.RawMessage{raw}})
	if err != nil {
		return err
	}
	if _, err := d.deps.Node.AppendJournal(ctx, queue, string(evt.ID), body); err != nil {
		return err
	}
	return d.aside.load(d.deps.Node, queue)
}

// withdraw drops an event that was put aside when it is redacted: what was deleted
// in the room must not be sent later.
func (d *Dispatcher) withdraw(ctx context.Context, evt *event.Event) (bool, error) {
	if evt.Type != event.EventRedaction {
		return false, nil
	}
	target := evt.Redacts
	if target == "" { // where it is from room version 11 on
		target = evt.Content.AsRedaction().Redacts
	}
	entry := d.aside.find(target)
	if entry == nil {
		return false, nil
	}
	if err := d.deps.Node.FinishJournalBatch(ctx, entry.queue, []uint64{entry.seq}); err != nil {
		return false, fmt.Errorf("drop a redacted event: %w", err)
	}
	d.aside.forget(entry)
	return true, nil
}

// finished collects the entries of journals whose events have been handled.
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

// take returns some entries of one journal; none when there are none.
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

// removeFinished removes the finished entries from their journals, those that come
// up meanwhile together. It returns after close.
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
			continue // they are handled again at the next start
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

// keyedMutex is a mutex per key. The zero value is ready for use.
type keyedMutex[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock locks a key and returns what unlocks it.
func (k *keyedMutex[K]) lock(key K) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[K]*keyedLock)
	}
	l := k.locks[key]
	if l == nil {
		l = new(keyedLock)
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}
