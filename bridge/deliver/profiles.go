// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// profileEvery is how often a change of a contact's profile is shown, in units of the
// shortest back-off: a minute. Each change is several requests and an upload, and a
// contact may make any number. Of those within a minute the last one is shown.
const profileEvery = 60

// profiles spaces out the changes of profiles. It is safe for use by many goroutines.
type profiles struct {
	every time.Duration
	// save stores the conversations with a change that is not shown, for the next start.
	save func([]store.Conversation)

	mu    sync.Mutex
	shown map[store.Conversation]time.Time
	due   map[store.Conversation]time.Time
}

func newProfiles(every time.Duration) *profiles {
	return &profiles{
		every: every, save: func([]store.Conversation) {},
		shown: make(map[store.Conversation]time.Time), due: make(map[store.Conversation]time.Time),
	}
}

// mayShow reports whether a change may be shown now. If not, the profile is due later;
// the first time wait is how much later.
func (p *profiles) mayShow(conversation store.Conversation, now time.Time) (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.shown, func(_ store.Conversation, at time.Time) bool { return now.Sub(at) >= p.every })
	at, recent := p.shown[conversation]
	if !recent {
		return 0, true
	}
	if _, known := p.due[conversation]; known {
		return 0, false
	}
	p.due[conversation] = at.Add(p.every)
	p.saveDue()
	return at.Add(p.every).Sub(now), false
}

// isDue reports whether the profile of a contact has to be shown now.
func (p *profiles) isDue(conversation store.Conversation, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, known := p.due[conversation]
	return known && !now.Before(at)
}

// noteShown notes that the room shows the profile as it is. changed says whether it was
// different before.
func (p *profiles) noteShown(conversation store.Conversation, now time.Time, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if changed {
		p.shown[conversation] = now
	}
	if _, known := p.due[conversation]; known {
		delete(p.due, conversation)
		p.saveDue()
	}
}

func (p *profiles) saveDue() { p.save(slices.Collect(maps.Keys(p.due))) }

// restore makes what an earlier run did not show due now.
func (p *profiles) restore(left []store.Conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conversation := range left {
		p.due[conversation] = time.Time{}
	}
}

// of returns the conversations of an account with a change that is not shown.
func (p *profiles) of(account identity.PublicKey) (found []store.Conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conversation := range p.due {
		if conversation.Account == account {
			found = append(found, conversation)
		}
	}
	return found
}

// RestoreProfiles gives the Deliverer the conversations whose profile an earlier run did
// not show, and a function that stores the current ones. It is called before Run.
func (d *Deliverer) RestoreProfiles(left []store.Conversation, save func([]store.Conversation)) {
	d.profiles.restore(left)
	d.profiles.save = save
}

// MayShowProfile reports whether a changed profile may be shown now. Otherwise the
// Deliverer calls ShowProfile later.
func (d *Deliverer) MayShowProfile(conversation store.Conversation) bool {
	wait, ok := d.profiles.mayShow(conversation, time.Now())
	if wait > 0 {
		time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.mark(conversation)
		})
	}
	return ok
}

// ProfileShown notes that a room shows the profile as it is. changed says whether it was
// different before.
func (d *Deliverer) ProfileShown(conversation store.Conversation, changed bool) {
	d.profiles.noteShown(conversation, time.Now(), changed)
}

// showProfile shows a profile whose change had to wait.
func (d *Deliverer) showProfile(work context.Context, at *Position) error {
	if d.deps.ShowProfile == nil || !d.profiles.isDue(at.Conversation, time.Now()) {
		return nil
	}
	return d.deps.ShowProfile(work, at)
}
