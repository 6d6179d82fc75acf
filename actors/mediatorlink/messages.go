// SPDX-License-Identifier: MPL-2.0

package mediatorlink

import (
	"errors"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

var (
	// ErrNotConnected says that there is no connection to the mediator: nothing was sent.
	ErrNotConnected = errors.New("not connected to the mediator")
	// ErrLost says that the connection ended before the answer: the mediator may have
	// fulfilled the request.
	ErrLost = errors.New("connection to the mediator lost before the answer")
	// ErrTooLarge says that the answer is larger than Deps.MaxAnswer, and was not read. Ask
	// for less. The connection has ended if it is larger than wire.MaxMediatorAnswer, too.
	ErrTooLarge = errors.New("answer of the mediator is too large")
	// ErrBusy says that too many requests wait already: nothing was sent.
	ErrBusy = errors.New("too many requests to the mediator")
	// ErrUnresponsive ends a connection on which the mediator does not answer.
	ErrUnresponsive = errors.New("mediator does not answer")
)

// Request is a question to a link, from an actor or from a goroutine (kernel.Ask). The
// reply is the mediator.Answer, which may be a refusal, or one of [ErrNotConnected],
// [ErrBusy], [ErrLost] and [ErrTooLarge]. The link gives up a mediator that does not
// answer; the asker has a deadline of its own all the same. A request whose asker has
// given up is sent nevertheless.
type Request struct{ Request mediator.Request }

// Nudge asks a link to connect now instead of at its next attempt, and to find out at
// once whether a connection is alive. It is for the moment when the network is back.
type Nudge struct{}

// Connected tells the parent that the link has logged in. There are no subscriptions.
type Connected struct{ Mediator identity.NodeKey }

// Disconnected tells the parent that a connection has ended, or could not be opened.
// All requests under way have been answered.
type Disconnected struct {
	Mediator identity.NodeKey
	Err      error
	// RetryIn is when the link tries again.
	RetryIn time.Duration
}

// Pushed hands a push to the parent, which passes it on to those it concerns. The one
// who has handled it, or stored what it says, calls Release once.
type Pushed struct {
	Mediator identity.NodeKey
	Push     mediator.Push

	credits *kernel.Credits
	size    int64
}

// Release says that the push has been dealt with. Any goroutine may call it.
func (p Pushed) Release() {
	if p.credits != nil {
		p.credits.Release(p.size)
	}
}

// Missed tells the parent that pushes were dropped, because too many had not been
// released. Groups fetch what they lack, and members' profiles.
type Missed struct {
	Mediator identity.NodeKey
	// Invites is how many invites were among them. The mediator does not push them again.
	Invites int
}
