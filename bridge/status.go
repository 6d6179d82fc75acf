// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"sync"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// StatusRequest asks the bridge actor how it is. The answer is a [Status].
type StatusRequest struct{}

// Status is how the bridge is.
type Status struct {
	// State is where in its life the bridge is.
	State State
	// Homeserver is whether the homeserver answers.
	Homeserver Health
	// Listener is whether the homeserver could reach us: whether what listens at our
	// address is us.
	Listener Health
	// Error is why the bridge does not run, in one sentence for people, and Since
	// when that is so. Both are zero while it runs.
	Error string
	Since time.Time
	// Encryption is whether the bridge can take part in encrypted rooms, known while
	// it runs.
	Encryption Encryption
	// Logins is how many accounts are used from Matrix.
	Logins int
	// Transactions is how many transactions of the homeserver are stored and not yet
	// dealt with, counted up to 100.
	Transactions int
	// Waiting are the conversations with events that are not in their room yet, at
	// most 100 of them; Conversations is how many there are.
	Waiting       []Waiting
	Conversations int
}

// State is where in its life the bridge is.
type State string

// The states of the bridge.
const (
	// StateStarting is until the homeserver was reached for the first time, and while
	// the bridge is being started again.
	StateStarting State = "starting"
	// StateRunning is while messages go both ways, as far as we know.
	StateRunning State = "running"
	// StateDegraded is while the bridge runs, and the homeserver or the listener does
	// not.
	StateDegraded State = "degraded"
	// StateFailed is between a failed start and the next one.
	StateFailed State = "failed"
)

// Encryption is whether the bridge can take part in encrypted rooms.
type Encryption struct {
	State EncryptionState
	// Error is why it cannot although it should, and what to do, in a sentence or two
	// for people.
	Error string `json:",omitempty"`
}

// EncryptionState is whether the bridge can take part in encrypted rooms.
type EncryptionState string

// The states of encryption.
const (
	// EncryptionOff is when the configuration does not want it.
	EncryptionOff EncryptionState = "off"
	// EncryptionOn is when rooms are encrypted.
	EncryptionOn EncryptionState = "on"
	// EncryptionUnavailable is when the configuration wants it, and the homeserver or
	// this program cannot: rooms are not encrypted.
	EncryptionUnavailable EncryptionState = "unavailable"
)

// Waiting is a conversation with events that are not in their room yet.
type Waiting struct {
	Account, Contact identity.PublicKey
	// Events is how many, counted up to 1000.
	Events int
	// Error is why the first of them is not, when that was tried, and Since when.
	Error string
	Since time.Time
}

const (
	maxWaiting      = 100
	maxCountEvents  = 1000
	maxCountJournal = 100
)

// condition is what the actor and its goroutine share. It is safe for use by
// both.
type condition struct {
	homeserver, listener health

	mu    sync.Mutex
	state State
	err   error
	since time.Time
	live  *incarnation // while the bridge runs
}

func (c *condition) set(state State, err error, live *incarnation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.since = time.Time{}
	} else if c.err == nil {
		c.since = time.Now()
	}
	c.state, c.err, c.live = state, err, live
}

// starting says that another start is tried; what the last one died of stays.
func (c *condition) starting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.live = StateStarting, nil
}

// status collects the status. It reads the store, so it is not for a turn.
func (c *condition) status(node Node) Status {
	c.mu.Lock()
	s := Status{State: c.state, Since: c.since}
	if c.err != nil {
		s.Error = oneLine(c.err)
	}
	live := c.live
	c.mu.Unlock()
	s.Homeserver, s.Listener = c.homeserver.get(), c.listener.get()
	if s.State == StateRunning && (!s.Homeserver.OK || !s.Listener.OK) {
		s.State = StateDegraded
	}
	if entries, err := node.Journal(journalQueue, 0, maxCountJournal); err == nil {
		s.Transactions = len(entries)
	}
	if live != nil {
		s.Logins, s.Conversations, s.Waiting = live.deliver.waiting()
		s.Encryption = live.matrix.encryption()
	}
	return s
}

// waiting says what is not delivered yet.
func (d *deliverer) waiting() (logins, conversations int, list []Waiting) {
	d.mu.Lock()
	accounts := make([]identity.PublicKey, 0, len(d.logins))
	for account := range d.logins {
		accounts = append(accounts, account)
	}
	d.mu.Unlock()
	for _, account := range accounts {
		pending, err := d.node.Pending(consumer, account)
		if err != nil {
			continue
		}
		conversations += len(pending)
		for _, p := range pending {
			if len(list) == maxWaiting {
				break
			}
			w := Waiting{Account: account, Contact: p.Conversation}
			if events, err := d.node.ConversationEvents(account, p.Conversation, p.Cursor, maxCountEvents); err == nil {
				w.Events = len(events)
			}
			w.Error, w.Since = d.problem(account, p.Conversation)
			list = append(list, w)
		}
	}
	return len(accounts), conversations, list
}

func (d *deliverer) problem(account, contact identity.PublicKey) (text string, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conversation, at := range d.known {
		if conversation.Account == account && conversation.Contact == contact && at.err != nil {
			return oneLine(at.err), at.since
		}
	}
	return "", time.Time{}
}
