// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

// tidyAfter is how long an idle store actor keeps its lookup iterator
// for the next operation.
const tidyAfter = time.Second

var (
	errStopping    = errors.New("store actor stops: not accepted")
	errNotAnAnswer = errors.New("store answered with another type")
)

// storeActor is the one writer: a thin shell around [writer] that gives it turns.
type storeActor struct {
	store  *Store
	writer *writer
	begins bool // beginCommit is in the mailbox
	tidies bool // the timer of tidy runs
}

// Messages of the actor to itself.
type (
	// beginCommit comes behind the operations that were in the mailbox when it was
	// sent. waiting is how much was to be committed then.
	beginCommit struct{ waiting int }
	// committed says that the batch in flight is on the disk.
	committed struct{}
	// tidy frees what was not used for tidyAfter.
	tidy struct{}
)

// NewActor returns the store actor, for the New of a [kernel.Spec]. It takes
// [Write] and answers with [Written]. There must be one at a time for a Store,
// and it must have stopped before [Store.Close].
//
// It may be restarted around the same Store: what was being committed is
// answered by its commit, what waited behind it is answered with an error, and
// the new incarnation reads its counters from the database. It fails with a fatal
// error when the store has failed.
func NewActor(s *Store) kernel.Actor {
	return &storeActor{store: s, writer: newWriter(s)}
}

// Started implements [kernel.Starter].
func (a *storeActor) Started(c *kernel.Context) error {
	if err := a.store.Err(); err != nil {
		return kernel.Fatal(err)
	}
	if a.store.committing() {
		return errUnderWay // the kernel has waited for it, but not for ever
	}
	c.Go("watch", a.watch)
	return nil
}

// watch reports that the store has failed. When the actor stops, it waits for the
// commit that is under way, so that no other incarnation begins beside it.
func (a *storeActor) watch(ctx context.Context) error {
	select {
	case <-a.store.Failed():
	case <-ctx.Done():
		a.store.settled()
	}
	return a.store.failure()
}

// Receive implements [kernel.Actor].
func (a *storeActor) Receive(c *kernel.Context, msg any) {
	switch m := msg.(type) {
	case Write:
		a.onWrite(c, m)
	case beginCommit:
		a.onBeginCommit(c, m)
	case committed:
		a.onCommitted(c)
	case tidy:
		a.onTidy(c)
	case kernel.TaskDone:
		c.Fail(kernel.Fatal(m.Err)) // of watch: the store has failed
	default:
		c.Log().Warn("unexpected message", "type", fmt.Sprintf("%T", msg))
	}
}

// Stopping implements [kernel.Stopper].
func (a *storeActor) Stopping(*kernel.Context) { a.writer.abandon(errStopping) }

func (a *storeActor) onWrite(c *kernel.Context, m Write) {
	a.writer.submit(sender(c.Sender()), m)
	a.begin(c)
}

// begin schedules the next commit, for when nothing is in flight and the
// operations that are in the mailbox already have run: they share the commit.
func (a *storeActor) begin(c *kernel.Context) {
	if !a.begins && a.writer.inFlight == nil && a.writer.waitingOps() > 0 {
		a.begins = true
		c.Tell(c.Self(), beginCommit{waiting: a.writer.waitingOps()})
	}
}

func (a *storeActor) onBeginCommit(c *kernel.Context, m beginCommit) {
	if n := a.writer.waitingOps(); n > m.waiting && n < maxBatchOps {
		c.Tell(c.Self(), beginCommit{waiting: n}) // operations keep coming in
		return
	}
	a.begins = false
	b := a.writer.next()
	if b == nil {
		return
	}
	inbox := c.Inbox()
	if err := a.store.startCommit(b, func() { inbox.Tell(committed{}) }); err != nil {
		b.answer(err)
		c.Fail(err) // two actors for one store
	}
}

func (a *storeActor) onCommitted(c *kernel.Context) {
	a.writer.ended()
	a.begin(c)
	if !a.tidies {
		a.tidies = true
		c.After(tidyAfter, tidy{})
	}
}

func (a *storeActor) onTidy(c *kernel.Context) {
	a.tidies = a.writer.busy()
	if a.tidies {
		c.After(tidyAfter, tidy{})
		return
	}
	a.writer.refresh()
}

// sender is a caller that is answered by message.
type sender kernel.Ref

func (s sender) answer(w Written) { kernel.Ref(s).Tell(w) }

// Do has the store actor carry out an operation and waits for its result, which
// must be of type R (see the operation's comment). It is for goroutines outside
// actors. When ctx ends first, the operation may or may not happen.
func Do[R any](ctx context.Context, store kernel.Ref, op Op) (R, error) {
	var none R
	written, err := kernel.Ask[Written](ctx, store, Write{Op: op})
	if err != nil {
		return none, fmt.Errorf("%T: %w", op, err)
	}
	if written.Err != nil {
		return none, written.Err
	}
	result, ok := written.Result.(R)
	if !ok && written.Result != nil {
		return none, fmt.Errorf("%T: %w: %T, not %T", op, errNotAnAnswer, written.Result, none)
	}
	return result, nil
}
