// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// Page is all that has passed between a phone and one contact.
type Page struct {
	// Received are the messages that have come, in order, repetitions included.
	Received []Message
	// Files are the files that have come on a data stream, asked for or not.
	Files []Message
	// Acknowledged are the guids the phone has sent an OK for.
	Acknowledged []GUID
	// Told are the guids an OK has come for, in order, whatever they are.
	Told []GUID
	// Frames are the other frames that have come, in order, but for PING and PONG.
	Frames []Frame
	// Counts are the frames that have come, by type.
	Counts map[Type]int
	// Started and Ended are the sessions.
	Started, Ended int
	// Unanswered are handshakes of the contact that were not completed, because
	// another session or handshake was to be the one.
	Unanswered int
}

// Texts are the payloads of the messages that have come.
func (p Page) Texts() []string {
	var texts []string
	for _, m := range p.Received {
		texts = append(texts, string(m.Payload))
	}
	return texts
}

// Of returns the frames of one type that have come.
func (p Page) Of(t Type) []Frame {
	return slices.DeleteFunc(slices.Clone(p.Frames), func(f Frame) bool { return f.Type != t })
}

// ledger is what a phone remembers for tests.
type ledger struct {
	mu      sync.Mutex
	changed chan struct{}
	pages   map[Key]*Page
	// failures are handshakes and dials that came to nothing.
	failures  []error
	announced int
}

func newLedger() *ledger {
	return &ledger{changed: make(chan struct{}), pages: make(map[Key]*Page)}
}

// note changes a page and wakes who waits for it.
func (l *ledger) note(who Key, change func(*Page)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := l.pages[who]
	if page == nil {
		page = &Page{Counts: make(map[Type]int)}
		l.pages[who] = page
	}
	change(page)
	l.stirLocked()
}

// stir wakes all waiting calls: something has changed.
func (l *ledger) stir() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stirLocked()
}

func (l *ledger) stirLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, err)
	l.stirLocked()
}

func (l *ledger) noteAnnounced() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.announced++
	l.stirLocked()
}

// Page returns what has passed between the phone and a contact so far.
func (l *ledger) Page(contact Key) Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := l.pages[contact]
	if page == nil {
		return Page{}
	}
	return Page{
		Received: slices.Clone(page.Received), Files: slices.Clone(page.Files), Acknowledged: slices.Clone(page.Acknowledged),
		Told: slices.Clone(page.Told), Frames: slices.Clone(page.Frames), Counts: maps.Clone(page.Counts),
		Started: page.Started, Ended: page.Ended, Unanswered: page.Unanswered,
	}
}

// Failures are the dials and handshakes that came to nothing, in order.
func (l *ledger) Failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

// Announced is how often a tracker has taken note of the phone.
func (l *ledger) Announced() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.announced
}

// Await blocks until done reports true, or returns the context's error. done is
// called again whenever the phone has seen or done something.
func (l *ledger) Await(ctx context.Context, done func() bool) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Eventually waits until something is true of the phone, and fails the test when it
// is not in time. done is called again whenever the phone has seen or done
// something.
func (l *ledger) Eventually(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if l.Await(ctx, done) != nil {
		t.Fatalf("waited %v in vain: %s", within, what)
	}
}
