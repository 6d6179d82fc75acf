// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Presence is what is known of the way to a contact at this moment.
type Presence struct {
	// Online says that there is a live session, since Since, to the device at Node.
	Online bool
	Since  time.Time
	Node   identity.NodeKey
	// While there is none: when the next attempt is made (zero while one is under way,
	// and when nothing waits to be sent), and why the last one failed.
	NextAttempt time.Time
	LastError   string
}

// presence is written by contact actors and read by whoever shows a status. It
// has one entry per contact actor.
type presence struct {
	mu      sync.RWMutex
	entries map[store.Conversation]Presence
}

func newPresence() *presence { return &presence{entries: make(map[store.Conversation]Presence)} }

func (p *presence) get(account, contact identity.PublicKey) Presence {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.entries[store.ConversationWith(account, contact)]
}

func (p *presence) set(account, contact identity.PublicKey, entry Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[store.ConversationWith(account, contact)] = entry
}

// update changes the entry in place.
func (p *presence) update(account, contact identity.PublicKey, change func(*Presence)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.entries[store.ConversationWith(account, contact)]
	change(&entry)
	p.entries[store.ConversationWith(account, contact)] = entry
}

func (p *presence) forget(account, contact identity.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, store.ConversationWith(account, contact))
}

// online counts live sessions.
func (p *presence) online() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	n := 0
	for _, e := range p.entries {
		if e.Online {
			n++
		}
	}
	return n
}
