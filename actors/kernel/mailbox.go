// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"runtime"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is the kernel's implementation of the library's Mailbox, with three
// lanes: the library's own messages, then the kernel's events, then user
// messages, which wait while the lane is shut. A goroutine runs only while there
// is something to do. It is a part of its cell; mu also guards what a cell shares
// with other goroutines.
type mailbox struct {
	mu      sync.Mutex
	system  []any   // from the library, few
	events  []event // from the kernel, few
	user    queue
	open    bool // user messages may be handled
	closed  bool // user messages are refused
	running bool // a goroutine is in run

	// Of a resident actor only: where its goroutine waits in run for work, and
	// whether it does.
	wake   chan struct{}
	parked bool

	lib     libraryContext
	current envelope // the user message of this turn

	// Of run: the user messages handled since began, which Stats does not show yet.
	handled uint64
	began   time.Time
}

// libraryContext is what the library has for each actor. Fixed before the first
// turn, used only in turns.
type libraryContext interface {
	actor.Context
	actor.MessageInvoker
}

var _ actor.Mailbox = (*cell)(nil)

// event is something the kernel has to do in the actor's turn.
type event struct {
	kind eventKind
	ctx  *Context // when set, the incarnation it is about
	err  error
	step int
}

type eventKind uint8

const (
	eventBegin    eventKind = iota + 1 // the back-off is over
	eventStop                          // somebody wants the actor stopped
	eventAdvance                       // an ending incarnation may be able to go on
	eventWatchdog                      // an ending incarnation's goroutines take too long
	eventStep                          // a step of StopChildren takes too long
)

// userTurn is what the library is given in place of a message, which is in current.
type userTurn struct{}

// post queues a user message. It reports false when the mailbox takes none any more.
func (c *cell) post(e envelope) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.user.push(e)
	depth := c.user.len
	start := c.startLocked(c.open)
	c.mu.Unlock()
	c.kind.reached(depth)
	if start {
		go c.run()
	}
	return true
}

// signal queues an event.
func (c *cell) signal(e event) {
	c.mu.Lock()
	c.events = append(c.events, e)
	start := c.startLocked(true)
	c.mu.Unlock()
	if start {
		go c.run()
	}
}

// startLocked reports whether the caller has to start run.
func (c *cell) startLocked(work bool) bool {
	if c.running || !work {
		if c.parked && work {
			c.parked = false
			c.wake <- struct{}{}
		}
		return false
	}
	c.running = true
	return true
}

// openUser lets user messages through or holds them back; only in a turn.
func (c *cell) openUser(open bool) {
	c.mu.Lock()
	c.open = open
	c.mu.Unlock()
}

// closeUser refuses user messages from now on and returns what was queued.
func (c *cell) closeUser() (rest queue) {
	c.mu.Lock()
	rest, c.user = c.user, queue{}
	c.closed = true
	c.mu.Unlock()
	return rest
}

// run handles what is queued until nothing is left. User code may leave it by
// runtime.Goexit, which cannot be stopped: then another goroutine goes on.
func (c *cell) run() {
	c.began = time.Now()
	idle := false
	defer func() {
		if !idle {
			c.flushCounts()
			if value := recover(); value != nil {
				c.broken(recovered(value))
			}
			go c.run()
		}
	}()
	for {
		c.mu.Lock()
		switch {
		case len(c.system) > 0:
			msg := c.system[0]
			c.system = dequeue(c.system)
			c.mu.Unlock()
			c.lib.InvokeSystemMessage(msg)
		case len(c.events) > 0:
			e := c.events[0]
			c.events = dequeue(c.events)
			c.mu.Unlock()
			c.handleEvent(e)
		case c.open && c.user.len > 0:
			c.current = c.user.pop()
			c.mu.Unlock()
			c.handled++
			c.lib.InvokeUserMessage(userTurn{})
			if c.handled >= flushEvery {
				c.flushCounts()
			}
		case c.wake != nil && !c.ended:
			c.rest()
			c.began = time.Now()
		default:
			c.flushCounts()
			c.running, idle = false, true
			c.mu.Unlock()
			return
		}
	}
}

// rest is what a resident actor does when nothing is queued, with mu locked, which
// it unlocks. Who was just answered may have more to say: others run first, and
// only when nothing has come then does it wait.
func (c *cell) rest() {
	if c.handled > 0 {
		c.mu.Unlock()
		c.flushCounts()
		runtime.Gosched()
		return
	}
	c.parked = true
	c.mu.Unlock()
	<-c.wake
}

// flushEvery bounds how many messages a busy actor handles before they show in Stats.
const flushEvery = 256

// flushCounts shows in Stats what was handled; only in run.
func (c *cell) flushCounts() {
	now := time.Now()
	c.kind.handled(c.handled, now.Sub(c.began))
	c.handled, c.began = 0, now
}

// dequeue drops the first element and gives the memory back with the last.
func dequeue[T any](s []T) []T {
	var zero T
	s[0] = zero
	if len(s) == 1 {
		return nil
	}
	return s[1:]
}

// The library's side of the mailbox.

// PostUserMessage is not used by the kernel, whose messages never pass through
// the library's processes. It is there for the interface.
func (c *cell) PostUserMessage(msg any) {
	if msg == nil || !c.post(envelope{msg: msg}) {
		c.sys.lost.Add(1)
	}
}

// PostSystemMessage takes what the library has to tell the actor.
func (c *cell) PostSystemMessage(msg any) {
	c.mu.Lock()
	c.system = append(c.system, msg)
	start := c.startLocked(true)
	c.mu.Unlock()
	if start {
		go c.run()
	}
}

// RegisterHandlers is called once, by the spawner, before the first message.
func (c *cell) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	c.lib = invoker.(libraryContext)
	c.pid = c.lib.Self()
}

// Start is part of the interface; the mailbox starts with its first message.
func (c *cell) Start() {}

// UserMessageCount returns the depth of the user lane.
func (c *cell) UserMessageCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user.len
}
