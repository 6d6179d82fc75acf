// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"sync"
	"time"

	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
)

// StatusRequest asks the bridge actor for its [Status].
type StatusRequest struct{}

// Status is the status of the bridge.
type Status struct {
	// State says whether the bridge runs.
	State State `json:"state"`
	// Homeserver says whether the homeserver answers requests.
	Homeserver homeserver.Health `json:"homeserver"`
	// Listener says whether our listener answers at its address, and whether the
	// homeserver pushes events to it.
	Listener homeserver.Health `json:"listener"`
	// Error says why the bridge does not run, in one sentence for people, and Since when
	// it stopped. Both are zero while it runs.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Problems names the registration files that differed from the configuration at the
	// start, in a sentence each.
	Problems []string `json:"problems,omitempty"`
	// Encryption says whether the bridge encrypts. It is known while the bridge runs.
	Encryption botcrypto.Status `json:"encryption"`
	// Logins counts the accounts that Matrix users use.
	Logins int `json:"logins"`
	// Transactions counts the Matrix events in the journal: stored and not yet handled.
	Transactions int `json:"transactions"`
	// Inbound lists the rooms whose first event is being handled for a minute or longer:
	// at most 100, oldest first.
	Inbound []WaitingRoom `json:"inbound,omitempty"`
	// Waiting lists the conversations with undelivered events, at most 100. Conversations
	// counts all of them.
	Waiting       []Waiting `json:"waiting,omitempty"`
	Conversations int       `json:"conversations"`
}

// State says whether the bridge runs.
type State string

// The states of the bridge.
const (
	// StateStarting means that the bridge starts, or restarts, and has not reached the
	// homeserver yet.
	StateStarting State = "starting"
	// StateRunning means that messages are bridged both ways, as far as we know.
	StateRunning State = "running"
	// StateDegraded means that the bridge runs, and the homeserver or the listener does
	// not answer.
	StateDegraded State = "degraded"
	// StateFailed means that a start has failed, and that the bridge backs off before the
	// next one.
	StateFailed State = "failed"
)

// Waiting is a conversation with undelivered events.
type Waiting = deliver.Waiting

// WaitingRoom is a room with Matrix events that were not handled yet.
type WaitingRoom = appservice.WaitingRoom

// liveStatus is the part of the status that the actor and the runner share. It is safe for
// concurrent use.
type liveStatus struct {
	homeserver, listener homeserver.Monitor
	problems             []string // not changed after the start

	mu    sync.Mutex
	state State
	err   error
	since time.Time
	now   *instance // nil unless the bridge runs
}

// set notes a state, the error that caused it, and the instance that runs.
func (c *liveStatus) set(state State, err error, now *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.since = time.Time{}
	} else if c.err == nil {
		c.since = time.Now()
	}
	c.state, c.err, c.now = state, err, now
}

// starting notes that the bridge restarts. The error of the last start stays.
func (c *liveStatus) starting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.now = StateStarting, nil
}

// status collects the status. It reads the store, so it must not be called in an actor's
// Receive.
func (c *liveStatus) status(node Node) Status {
	c.mu.Lock()
	s := Status{State: c.state, Since: c.since, Problems: c.problems}
	if c.err != nil {
		s.Error = fault.OneLine(c.err)
	}
	in := c.now
	c.mu.Unlock()
	s.Homeserver, s.Listener = c.homeserver.Health(), c.listener.Health()
	if s.State == StateRunning && (!s.Homeserver.OK || !s.Listener.OK) {
		s.State = StateDegraded
	}
	if n, err := node.CountJournal(appservice.JournalQueue); err == nil {
		s.Transactions = n
	}
	if in != nil {
		s.Logins, s.Conversations, s.Waiting = in.Waiting()
		s.Encryption = in.matrix.Encryption()
		if d := in.inbound.Load(); d != nil {
			s.Inbound = d.Waiting()
		}
	}
	return s
}
