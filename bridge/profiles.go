// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/bridgev2/database"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// profileEvery is how often a change of a contact's profile is shown, in units of the
// shortest back-off: a minute. Each change is several requests and an upload, and a
// contact may make any number. Of those within a minute the last one is shown.
const profileEvery = 60

const profilesDueKey database.Key = "im.mimir.profiles_due"

// profiles says when the profile of a contact may be shown again. It is safe for use
// by many goroutines.
type profiles struct {
	every time.Duration
	// save notes the conversations with a change that is not shown, for the next start.
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

// mayShow reports whether a change may be shown now. If not, the profile is due
// later; the first time the caller is told after which time, to look at the
// conversation then.
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

// noteShown notes that the profile is shown as it is. changed says whether it was
// shown otherwise before.
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

// restore makes what the last run has left due now.
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

// keepProfiles has the changes that are not shown kept in the bridge's tables.
func (c *connector) keepProfiles(ctx context.Context) {
	var left []store.Conversation
	for _, name := range readNames(c.br.DB.KV.Get(ctx, profilesDueKey)) {
		account, err1 := identity.ParsePublicKey(name[0])
		id, err2 := store.ParseConversationID(name[1])
		if err1 == nil && err2 == nil {
			left = append(left, store.Conversation{Account: account, ID: id})
		}
	}
	c.deliver.profiles.restore(left)
	c.deliver.profiles.save = func(due []store.Conversation) {
		names := make([][2]string, len(due))
		for i, conversation := range due {
			names[i] = [2]string{conversation.Account.String(), conversation.ID.String()}
		}
		text, _ := json.Marshal(names) // cannot fail
		c.br.DB.KV.Set(c.br.BackgroundCtx, profilesDueKey, string(text))
	}
}

func readNames(text string) (names [][2]string) {
	_ = json.Unmarshal([]byte(text), &names) // nothing is due in what cannot be read
	return names
}

// showProfile shows the profile of a contact as it is now.
func (c *connector) showProfile(ctx context.Context, at *position) error {
	err := c.show(ctx, at, store.Event{
		Account: at.Account, Conversation: at.ID, Kind: store.ContactChanged, Time: store.MillisOf(time.Now()),
	})
	if err == nil { // also when the contact is gone, or the homeserver refuses it
		c.deliver.profiles.noteShown(at.Conversation, time.Now(), false)
	}
	return err
}

// profileTurn reports whether the profile of a contact looks otherwise than it is
// shown, and whether it has changed again so soon that this is shown later.
func (d *delivery) profileTurn(ctx context.Context, contact store.Contact) (changed, early bool, err error) {
	ghost, err := d.br.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return false, false, err
	}
	info := d.userInfo(contact)
	changed = *info.Name != ghost.Name || info.Avatar == nil && ghost.AvatarID != "" || info.Avatar != nil && info.Avatar.ID != ghost.AvatarID
	if !changed {
		return false, false, nil
	}
	wait, ok := d.deliver.profiles.mayShow(d.at.Conversation, time.Now())
	if wait > 0 {
		d.deliver.lookLater(d.at.Conversation, wait)
	}
	return true, !ok, nil
}

// lookLater marks a conversation after a while.
func (d *deliverer) lookLater(conversation store.Conversation, wait time.Duration) {
	time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.mark(conversation)
	})
}

// profileIfDue shows the profile of a contact whose change had to wait.
func (d *deliverer) profileIfDue(work context.Context, at *position) error {
	if d.profile == nil || !d.profiles.isDue(at.Conversation, time.Now()) {
		return nil
	}
	return d.profile(work, at)
}
