// SPDX-License-Identifier: MPL-2.0

package mediatorlink

import (
	"context"
	"errors"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// maxInFlight requests are sent before the first of them is answered. A mediator works
	// off the requests of a connection one after the other.
	maxInFlight = 16
	// maxInFlightBytes bounds their payloads together; a single larger one goes alone.
	maxInFlightBytes = 4 << 20
	// maxQueue requests wait behind those.
	maxQueue = 1000
	// checkTime is how often a connection is looked at.
	checkTime = 5 * time.Second
	// pingTime is after how much silence a connection is kept alive: the reference
	// mediator closes one after 300 s, the reference client pings after 50 s.
	pingTime = 50 * time.Second
	// silenceTime is how long nothing at all arrives while an answer is due.
	silenceTime = 30 * time.Second
	// answerTime is how long the next answer takes, also when pushes arrive meanwhile.
	answerTime = 3 * time.Minute
	// reconnectMin and reconnectMax bound the pause between attempts, steadyTime is how
	// long a connection lives that makes it the shortest again.
	reconnectMin = 2 * time.Second
	reconnectMax = 2 * time.Minute
	steadyTime   = time.Minute

	defaultMaxAnswer = 8 << 20
)

// Bounds of the pushes that nobody has released. Invites are rare, have pictures, and are
// not pushed again.
const (
	maxPushes      = 256
	maxPushBytes   = 4 << 20
	maxInvites     = 64
	maxInviteBytes = 8 << 20
)

// Carriers finds the carrier that runs at this moment, as uplink.Cell does.
type Carriers interface {
	Carrier(kind overlay.Kind) (overlay.Carrier, bool)
}

// Deps is what a link uses.
type Deps struct {
	Network  Carriers
	Mediator identity.NodeKey
	// Key is the account's. It signs the nonces of the mediator that Guard permits.
	Key   identity.PrivateKey
	Guard identity.Guard
	// MaxAnswer bounds an answer or a push, in bytes: at most wire.MaxMediatorAnswer.
	// Default 8 MiB.
	MaxAnswer int
}

// NewSpec returns the link of an account to a mediator. Its name is unique among the
// links of an account.
func NewSpec(deps Deps) kernel.Spec {
	if deps.MaxAnswer <= 0 {
		deps.MaxAnswer = defaultMaxAnswer
	}
	deps.MaxAnswer = min(deps.MaxAnswer, wire.MaxMediatorAnswer)
	return kernel.Spec{
		Name: "mediator-" + deps.Mediator.String(), Kind: "mediatorlink",
		New:     func() kernel.Actor { return newLink(deps) },
		Backoff: kernel.Backoff{Forever: true},
	}
}

// link is a state machine with three phases.
//
//	waiting     no connection; the retry timer runs
//	connecting  the task dials and logs in
//	live        logged in: requests are sent, answers and pushes arrive
//
// The task's end leads from the others back to waiting.
type link struct {
	deps    Deps
	phase   phase
	retry   kernel.Timer
	backoff kernel.Backoff
	tries   int

	pushes, invites *kernel.Credits

	// live
	connection *connection
	since      time.Time
	check      kernel.Timer
	queue      []pending
	flight     []pending // sent, in this order
	bytes      int       // of flight
	lastID     uint16
	// seen is how many bytes had arrived at the last check, heard when the last ones
	// arrived, answered when the last answer did.
	seen            int64
	heard, answered time.Time
	cause           error // why this actor ended the connection
}

type phase uint8

const (
	waiting phase = iota
	connecting
	live
)

// pending is a request that has no answer yet.
type pending struct {
	request mediator.Request
	from    kernel.Ref // zero for a ping of the link itself
	id      uint16
	encoded []byte // while it waits for room
	size    int
}

type (
	retryNow   struct{}
	checkAlive struct{}
)

func newLink(deps Deps) *link {
	return &link{
		deps: deps, backoff: kernel.Backoff{Min: reconnectMin, Max: reconnectMax},
		pushes: kernel.NewCredits(maxPushes, maxPushBytes), invites: kernel.NewCredits(maxInvites, maxInviteBytes),
	}
}

// Started implements kernel.Starter.
func (l *link) Started(c *kernel.Context) error {
	l.connect(c)
	return nil
}

// Stopping implements kernel.Stopper.
func (l *link) Stopping(c *kernel.Context) {
	if l.connection != nil {
		_ = l.connection.conn.Abort() // ends the task
	}
	l.fail(c, ErrLost)
}

// Receive implements kernel.Actor.
func (l *link) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case Request:
		l.request(c, msg)
	case Nudge:
		l.nudge(c)
	case retryNow:
		l.connect(c)
	case loggedIn:
		l.loggedIn(c, msg.connection)
	case answered:
		msg.answers.Release(int64(msg.answer.Size()))
		l.reply(c, msg.answer.ID, msg.answer)
	case oversized:
		c.Log().Warn("answer of mediator is too large, not read", "server", l.deps.Mediator.Short(), "bytes", msg.size, "limit", l.deps.MaxAnswer)
		l.reply(c, msg.id, ErrTooLarge)
	case pushed:
		credits := l.pushes
		if _, invite := msg.push.(*mediator.GotInvite); invite {
			credits = l.invites
		}
		c.Tell(c.Parent(), Pushed{Mediator: l.deps.Mediator, Push: msg.push, credits: credits, size: msg.size})
	case dropped:
		msg.missing.Store(false)
		invites := int(msg.missed.Swap(0))
		c.Log().Warn("dropped pushes of mediator", "server", l.deps.Mediator.Short(), "count", invites)
		c.Tell(c.Parent(), Missed{Mediator: l.deps.Mediator, Invites: invites})
	case checkAlive:
		l.checkAlive(c)
	case kernel.TaskDone:
		l.ended(c, msg.Err)
	}
}

func (l *link) connect(c *kernel.Context) {
	if l.phase != waiting {
		return
	}
	l.retry.Stop()
	l.phase, l.cause = connecting, nil
	deps, pushes, invites, inbox := l.deps, l.pushes, l.invites, c.Inbox()
	c.Go("connection", func(ctx context.Context) error { return serve(ctx, deps, pushes, invites, inbox) })
}

func (l *link) nudge(c *kernel.Context) {
	switch l.phase {
	case waiting:
		l.tries = 0
		l.connect(c)
	case connecting:
	case live:
		if len(l.flight) == 0 {
			l.ping(c)
		}
	}
}

func (l *link) loggedIn(c *kernel.Context, conn *connection) {
	now := time.Now()
	l.phase, l.connection, l.since = live, conn, now
	l.seen, l.heard, l.answered = conn.read.Load(), now, now
	l.check = c.Every(checkTime, checkAlive{})
	c.Log().Info("connected to mediator", "server", l.deps.Mediator.Short())
	c.Tell(c.Parent(), Connected{l.deps.Mediator})
}

// ended is called when the task of a connection has ended, with or without a login.
func (l *link) ended(c *kernel.Context, err error) {
	if l.cause != nil {
		err = l.cause
	}
	if err == nil {
		err = ErrLost
	}
	if l.phase == live && time.Since(l.since) >= steadyTime {
		l.tries = 0
	}
	l.check.Stop()
	l.phase, l.connection = waiting, nil
	if errors.Is(err, ErrTooLarge) {
		l.tooLarge(c)
	}
	l.fail(c, ErrLost)
	delay := l.backoff.Delay(l.tries)
	l.tries++
	l.retry = c.After(delay, retryNow{})
	c.Log().Info("no connection to mediator, retrying", "server", l.deps.Mediator.Short(), "err", err, "retry_in", delay)
	c.Tell(c.Parent(), Disconnected{Mediator: l.deps.Mediator, Err: err, RetryIn: delay})
}

// tooLarge tells the one whose answer was too large: mediators answer in order, so it is
// the oldest request.
func (l *link) tooLarge(c *kernel.Context) {
	if len(l.flight) > 0 && !l.flight[0].from.IsZero() {
		c.Tell(l.flight[0].from, ErrTooLarge)
		l.flight = l.flight[1:]
	}
}

// fail answers all requests that have no answer yet: those that were sent with err.
func (l *link) fail(c *kernel.Context, err error) {
	for _, p := range l.flight {
		if !p.from.IsZero() {
			c.Tell(p.from, err)
		}
	}
	for _, p := range l.queue {
		c.Tell(p.from, ErrNotConnected)
	}
	l.flight, l.queue, l.bytes = nil, nil, 0
}

func (l *link) request(c *kernel.Context, q Request) {
	switch {
	case l.phase != live:
		c.Reply(ErrNotConnected)
	case len(l.queue) >= maxQueue:
		c.Reply(ErrBusy)
	default:
		l.queue = append(l.queue, pending{request: q.Request, from: c.Sender()})
		l.send()
	}
}

func (l *link) ping(*kernel.Context) {
	l.queue = append(l.queue, pending{request: &mediator.Ping{}})
	l.send()
}

// send moves requests from the queue to the connection while there is room.
func (l *link) send() {
	for len(l.queue) > 0 && len(l.flight) < maxInFlight {
		p := &l.queue[0]
		if p.encoded == nil {
			p.id = l.nextID()
			p.encoded = mediator.AppendRequest(nil, p.id, p.request)
			p.size = len(p.encoded)
		}
		if len(l.flight) > 0 && l.bytes+p.size > maxInFlightBytes {
			return
		}
		if len(l.flight) == 0 { // nothing was due before
			l.answered = time.Now()
			l.heard, l.seen = l.answered, l.connection.read.Load()
		}
		l.connection.out <- p.encoded // there is room, see connection
		p.encoded, p.request = nil, nil
		l.lastID = p.id
		l.flight = append(l.flight, *p)
		l.bytes += p.size
		l.queue = l.queue[1:]
	}
	if len(l.queue) == 0 {
		l.queue = nil
	}
}

// nextID returns the id after the last one; 0 is none.
func (l *link) nextID() uint16 {
	if l.lastID == 1<<16-1 {
		return 1
	}
	return l.lastID + 1
}

// reply hands an answer, or an error in its place, to the one who asked. Answers may overtake
// each other.
func (l *link) reply(c *kernel.Context, id uint16, answer any) {
	for i, p := range l.flight {
		if p.id != id {
			continue
		}
		l.answered = time.Now()
		l.bytes -= p.size
		l.flight = append(l.flight[:i:i], l.flight[i+1:]...)
		if !p.from.IsZero() {
			c.Tell(p.from, answer)
		}
		l.send()
		return
	}
	l.end(wire.NewViolation(wire.CodeCommand, "answer %d to no request", id))
}

// end ends the connection; the task's end follows.
func (l *link) end(cause error) {
	if l.cause == nil && l.connection != nil {
		l.cause = cause
		_ = l.connection.conn.Abort()
	}
}

func (l *link) checkAlive(c *kernel.Context) {
	now := time.Now()
	if read := l.connection.read.Load(); read != l.seen {
		l.seen, l.heard = read, now
	}
	switch {
	case len(l.flight) == 0 && now.Sub(l.heard) >= pingTime-checkTime:
		l.ping(c)
	case len(l.flight) == 0:
	case now.Sub(l.heard) >= silenceTime, now.Sub(l.answered) >= answerTime:
		l.end(ErrUnresponsive)
	}
}
