// SPDX-License-Identifier: MPL-2.0

package group

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Table is what the actors of a node know about groups and do not store. Its methods are
// safe for concurrent use and do not block.
type Table struct {
	mu        sync.Mutex
	presence  map[store.Conversation]map[identity.PublicKey]Presence
	progress  map[store.Conversation]Progress
	mediators map[mediatorOf]*MediatorStatus
	missed    uint64
}

// Presence says whether a member is online, as the mediator says.
type Presence struct {
	Online   bool
	LastSeen time.Time // zero when that is unknown
}

// Progress is how far a group has come that is being created or read.
type Progress struct {
	Stage Stage
	// Tried counts the signatures that were tried, in StageWork; 65,000 are needed on
	// average.
	Tried uint32
	// Position is the number of the last message that was read, and Last that of the
	// last one there is, as far as the mediator has said.
	Position, Last int64
	// Incomplete says what is lacking because the mediator's answer was too large, in
	// sentences for people; "" for nothing.
	Incomplete string
}

// Stage says what a group is doing.
type Stage string

// The stages.
const (
	// StageOffline has no connection to the mediator.
	StageOffline Stage = "offline"
	// StageWork searches the proof of work that a mediator demands for a new group.
	StageWork Stage = "proof of work"
	// StageAnswer waits for the mediator's answer to a new group, or to an invite.
	StageAnswer Stage = "waiting for the mediator"
	// StageHistory reads the history.
	StageHistory Stage = "reading history"
	// StageLive has read everything and is told of what is new.
	StageLive Stage = "live"
	// StagePolling has read everything and asks for what is new now and then, because the
	// account may only read.
	StagePolling Stage = "polling"
	// StageOutside is not a member.
	StageOutside Stage = "not a member"
)

// MediatorStatus is the connection of an account to a mediator.
type MediatorStatus struct {
	Account   identity.PublicKey
	Mediator  identity.NodeKey
	Connected bool
	Since     time.Time // when it was connected, or lost
	LastError string    // why the last connection ended, or was not opened
	// NextAttempt is when it is dialled again; zero while it is connected or dialled.
	NextAttempt time.Time
	Groups      int // that need it
}

type mediatorOf struct {
	account  identity.PublicKey
	mediator identity.NodeKey
}

// NewTable makes an empty table.
func NewTable() *Table {
	return &Table{
		presence: make(map[store.Conversation]map[identity.PublicKey]Presence), progress: make(map[store.Conversation]Progress),
		mediators: make(map[mediatorOf]*MediatorStatus),
	}
}

// Presence returns who is online in a group, and when the others were last, as far as the
// mediator has said since the connection was opened.
func (t *Table) Presence(group store.Conversation) map[identity.PublicKey]Presence {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.presence[group])
}

// Progress returns how far a group has come.
func (t *Table) Progress(group store.Conversation) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.progress[group]; ok {
		return p
	}
	return Progress{Stage: StageOffline}
}

// Mediators returns the connections of all accounts to mediators.
func (t *Table) Mediators() []MediatorStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]MediatorStatus, 0, len(t.mediators))
	for _, m := range t.mediators {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b MediatorStatus) int {
		return cmp.Or(slices.Compare(a.Account[:], b.Account[:]), slices.Compare(a.Mediator[:], b.Mediator[:]))
	})
	return all
}

// MissedInvites counts, since the start, the invites that were not stored: because too many
// waited already, or came at once.
func (t *Table) MissedInvites() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missed
}

func (t *Table) missInvites(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed += uint64(max(n, 0)) //nolint:gosec // not negative
}

func (t *Table) setProgress(group store.Conversation, p Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress[group] = p
}

// setTried notes the progress of a proof of work.
func (t *Table) setTried(group store.Conversation, tried uint32) {
	t.setProgress(group, Progress{Stage: StageWork, Tried: tried})
}

// setAllPresent replaces what is known of the members of a group.
func (t *Table) setAllPresent(group store.Conversation, all map[identity.PublicKey]Presence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.presence[group] = all
}

// setPresent notes one member, if the group has space for another one.
func (t *Table) setPresent(group store.Conversation, member identity.PublicKey, p Presence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.presence[group]
	if all == nil {
		all = make(map[identity.PublicKey]Presence)
		t.presence[group] = all
	}
	if _, known := all[member]; known || len(all) < store.MaxMembers {
		all[member] = p
	}
}

// forget removes a group whose actor ends.
func (t *Table) forget(group store.Conversation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.presence, group)
	delete(t.progress, group)
}

// setMediator changes what is known of a connection.
func (t *Table) setMediator(account identity.PublicKey, mediator identity.NodeKey, change func(*MediatorStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := mediatorOf{account, mediator}
	m := t.mediators[key]
	if m == nil {
		m = &MediatorStatus{Account: account, Mediator: mediator}
		t.mediators[key] = m
	}
	change(m)
}

func (t *Table) forgetMediator(account identity.PublicKey, mediator identity.NodeKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mediators, mediatorOf{account, mediator})
}
