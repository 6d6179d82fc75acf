// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"slices"
	"sync"
	"sync/atomic"
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
	// While there is none: the time of the next attempt (zero while one is under way,
	// and when the outbox is empty), and why the last one failed.
	NextAttempt time.Time
	LastError   string
}

// Table has what the contact actors of a node show to others, and what they
// count together. It is safe for concurrent use.
type Table struct {
	presence   *presence
	held       heldDevices
	suspicions suspicions
	requests   *requestGuard
}

// NewTable returns an empty table, for one node.
func NewTable() *Table {
	return &Table{presence: newPresence(), requests: newRequestGuard()}
}

// Presence returns what is known of the way to a contact.
func (t *Table) Presence(conversation store.Conversation) Presence {
	return t.presence.get(conversation)
}

// Online counts the live sessions.
func (t *Table) Online() int { return t.presence.online() }

// PresenceVersion grows whenever the presence of a contact changes.
func (t *Table) PresenceVersion() uint64 { return t.presence.version.Load() }

// OnlineOf returns the contacts of an account with a live session, in no order.
func (t *Table) OnlineOf(account identity.PublicKey) []identity.PublicKey {
	return t.presence.onlineOf(account)
}

// HeldDevices returns the nodes of a contact that are held or refused, the oldest
// first.
func (t *Table) HeldDevices(conversation store.Conversation) []HeldDevice {
	return t.held.get(conversation)
}

// Suspicions returns the attempts of the last day to be somebody else, and counts all
// since the start.
func (t *Table) Suspicions(now time.Time) (recent []Suspicion, total uint64) {
	return t.suspicions.current(now)
}

// presence has one entry per contact actor, which writes it.
type presence struct {
	version atomic.Uint64
	mu      sync.RWMutex
	entries map[store.Conversation]Presence
}

func newPresence() *presence { return &presence{entries: make(map[store.Conversation]Presence)} }

func (p *presence) get(conversation store.Conversation) Presence {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.entries[conversation]
}

func (p *presence) set(conversation store.Conversation, entry Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[conversation] = entry
	p.version.Add(1)
}

// update changes the entry in place.
func (p *presence) update(conversation store.Conversation, change func(*Presence)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.entries[conversation]
	change(&entry)
	p.entries[conversation] = entry
	p.version.Add(1)
}

func (p *presence) forget(conversation store.Conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, conversation)
	p.version.Add(1)
}

func (p *presence) onlineOf(account identity.PublicKey) []identity.PublicKey {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found []identity.PublicKey
	for conversation, e := range p.entries {
		if e.Online && conversation.Account == account {
			found = append(found, conversation.Contact())
		}
	}
	return found
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

// HeldDevice is a node that authenticated as a contact for the first time.
type HeldDevice struct {
	Node  identity.NodeKey
	Since time.Time
	// Refused says that it was refused, see deviceHold.
	Refused bool
}

// heldDevices has the held nodes of all contacts, for the status. It is safe for
// concurrent use.
type heldDevices struct {
	mu     sync.Mutex
	byPair map[store.Conversation][]HeldDevice
}

func (t *heldDevices) set(p store.Conversation, nodes []HeldDevice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(nodes) == 0 {
		delete(t.byPair, p)
		return
	}
	if t.byPair == nil {
		t.byPair = make(map[store.Conversation][]HeldDevice)
	}
	t.byPair[p] = nodes
}

func (t *heldDevices) get(p store.Conversation) []HeldDevice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.byPair[p])
}
