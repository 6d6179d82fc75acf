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

// StatusRequest asks the bridge actor how it is. The answer is a [Status].
type StatusRequest struct{}

// Status is how the bridge is.
type Status struct {
	// State is where in its life the bridge is.
	State State
	// Homeserver is whether the homeserver answers.
	Homeserver homeserver.Health
	// Listener is whether the homeserver could reach us: whether what listens at our
	// address is us.
	Listener homeserver.Health
	// Error is why the bridge does not run, in one sentence for people, and Since
	// when that is so. Both are zero while it runs.
	Error string
	Since time.Time
	// Problems are files of the bridge that were not as they should be at the start, a
	// sentence each.
	Problems []string `json:",omitempty"`
	// Encryption is whether the bridge can take part in encrypted rooms, known while
	// it runs.
	Encryption botcrypto.Status
	// Logins is how many accounts are used from Matrix.
	Logins int
	// Transactions is how many events of the homeserver are stored and not yet handled.
	Transactions int
	// Inbound are the rooms with an event that is being handled for a minute or
	// longer, at most 100 of them, the oldest first.
	Inbound []WaitingRoom
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

// Waiting is a conversation with events that are not in their room yet.
type Waiting = deliver.Waiting

// WaitingRoom is a room with events that have not been handled yet.
type WaitingRoom = appservice.WaitingRoom

// condition is what the actor and its goroutine share. It is safe for use by
// both.
type condition struct {
	homeserver, listener homeserver.Monitor
	problems             []string // not changed after the start

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
	s := Status{State: c.state, Since: c.since, Problems: c.problems}
	if c.err != nil {
		s.Error = fault.OneLine(c.err)
	}
	live := c.live
	c.mu.Unlock()
	s.Homeserver, s.Listener = c.homeserver.Health(), c.listener.Health()
	if s.State == StateRunning && (!s.Homeserver.OK || !s.Listener.OK) {
		s.State = StateDegraded
	}
	if n, err := node.CountJournal(appservice.JournalQueue); err == nil {
		s.Transactions = n
	}
	if live != nil {
		s.Logins, s.Conversations, s.Waiting = live.Waiting()
		s.Encryption = live.matrix.Encryption()
		if d := live.inbound.Load(); d != nil {
			s.Inbound = d.Waiting()
		}
	}
	return s
}
