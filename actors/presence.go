// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
)

// pair names a conversation of this node.
type pair struct{ account, contact identity.PublicKey }

// Presence is what is known of the way to a contact at this moment.
type Presence struct {
	// Online says that there is a live session, since Since, to the device at Node.
	Online bool
	Since  time.Time
	Node   identity.NodeKey
	// While there is none: when the next attempt is made (zero when nothing waits
	// to be sent), and why the last one failed.
	NextAttempt time.Time
	LastError   string
}

// presence is written by contact actors and read by whoever shows a status. It
// has one entry per contact actor.
type presence struct {
	mu      sync.RWMutex
	entries map[pair]Presence
}

func newPresence() *presence { return &presence{entries: make(map[pair]Presence)} }

func (p *presence) get(account, contact identity.PublicKey) Presence {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.entries[pair{account, contact}]
}

func (p *presence) set(account, contact identity.PublicKey, entry Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[pair{account, contact}] = entry
}

// update changes the entry in place.
func (p *presence) update(account, contact identity.PublicKey, change func(*Presence)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.entries[pair{account, contact}]
	change(&entry)
	p.entries[pair{account, contact}] = entry
}

func (p *presence) forget(account, contact identity.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, pair{account, contact})
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

// sessionTable finds the session that a data stream belongs to: such a stream
// names nobody, it is known by the node it comes from alone. Sessions enter and
// leave it themselves.
type sessionTable struct {
	mu     sync.RWMutex
	byNode map[identity.NodeKey][]kernel.Ref // the newest last
}

func newSessionTable() *sessionTable {
	return &sessionTable{byNode: make(map[identity.NodeKey][]kernel.Ref)}
}

func (t *sessionTable) add(node identity.NodeKey, session kernel.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byNode[node] = append(t.byNode[node], session)
}

func (t *sessionTable) remove(node identity.NodeKey, session kernel.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.byNode[node][:0:0]
	for _, s := range t.byNode[node] {
		if s != session {
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		delete(t.byNode, node)
	} else {
		t.byNode[node] = kept
	}
}

// newest returns the session with a node that came last.
func (t *sessionTable) newest(node identity.NodeKey) (kernel.Ref, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sessions := t.byNode[node]
	if len(sessions) == 0 {
		return kernel.Ref{}, false
	}
	return sessions[len(sessions)-1], true
}
