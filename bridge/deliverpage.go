// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"sync"

	"github.com/mimird/mimird/bridge/fault"

	"github.com/mimird/mimird/actors/store"
)

// page delivers the next events of a conversation and reports whether there may
// be more.
func (d *deliverer) page(stop, work context.Context, at *position) (more bool, err error) {
	if !at.loaded {
		if at.cursor, err = d.node.Cursor(consumer, at.Account, at.ID); err != nil {
			return false, err
		}
		at.loaded = true
	}
	if err := d.rebuildIfAsked(work, at); err != nil {
		return false, err
	}
	if err := d.redoIfAsked(work, at); err != nil {
		return false, err
	}
	if err := d.profileIfDue(work, at); err != nil {
		return false, err
	}
	events, err := d.node.ConversationEvents(at.Account, at.ID, at.cursor, deliveryPage)
	if err != nil {
		return false, err
	}
	moved := func() error { return nil } // waits for the cursor
	defer func() {
		if failed := moved(); failed != nil {
			at.loaded, at.inDoubt, at.again, at.begun = false, true, true, true
			more, err = false, errors.Join(err, failed)
		}
	}()
	for i, ev := range events {
		if !d.mayGoOn(stop, at) {
			break
		}
		if at.alone && at.settled && i > 0 {
			return true, nil // the others with this contact need not wait any more
		}
		d.begins(at)
		if err := d.show(work, at, ev); err != nil {
			at.inDoubt, at.begun = true, true
			return false, err
		}
		if moved() != nil {
			break
		}
		moved = d.moveCursor(work, at.Conversation, ev.Seq)
		d.backlog.Note(len(events) - i - 1)
		at.cursor, at.trial, at.repairs = ev.Seq, trial{}, 0
		at.inDoubt, at.again, at.begun = at.again, false, at.begun && at.again
	}
	return len(events) == deliveryPage, nil
}

// moveCursor notes that an event was dealt with, beside what comes next. The caller
// has to wait for it.
func (d *deliverer) moveCursor(work context.Context, c store.Conversation, seq uint64) (wait func() error) {
	done := make(chan error, 1)
	go func() {
		done <- fault.Guard(d.log, "move a cursor", func() error { return d.node.MoveCursor(work, consumer, c.Account, c.ID, seq) })
	}()
	return sync.OnceValue(func() error { return <-done })
}

// rebuildIfAsked makes the room anew when somebody has asked for it.
func (d *deliverer) rebuildIfAsked(work context.Context, at *position) error {
	d.mu.Lock()
	job := at.rebuild
	at.rebuild = nil
	d.mu.Unlock()
	if job == nil {
		return nil
	}
	err := fault.Guard(d.log, "make a room anew", func() error { return d.remake(work, at, job) })
	if err == nil {
		return nil
	}
	at.inDoubt, at.begun = true, true
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.rebuild == nil && !errors.Is(err, fault.ErrPanic) { // which would come again
		at.rebuild = job // it was promised
	}
	return err
}

func (d *deliverer) mayGoOn(stop context.Context, at *position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return stop.Err() == nil && d.logins[at.Account] == at.login
}
